"""Whether an order of models hangs on the judge: class accuracy by several judges, each with its own seed.

zoo train judge-mnist --data mnist --set seed=1 --out runs/second-judge
python benchmarks/two_judges.py cvae-mnist cvae-gan-mnist --judge judge-mnist --judge runs/second-judge --data mnist
"""

import argparse

import zoo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cards", nargs="+")
    parser.add_argument("--judge", action="append", required=True)
    parser.add_argument("--data", required=True)
    given = parser.parse_args()
    for card in given.cards:
        for judge in given.judge:
            for metric in zoo.evaluate(card, data=given.data, judge=judge, progress=False):
                if metric.name in ("class_accuracy", "swap_accuracy"):
                    beside = "" if metric.ceiling is None else f" (real images: {metric.ceiling:.4f})"
                    print(f"{card} by {judge}: {metric.name} {metric.value:.4f} +- {metric.uncertainty:.4f}{beside}")


if __name__ == "__main__":
    main()
