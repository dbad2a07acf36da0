"""Which of several InfoGAN runs is the best, told without the test split.

    zoo train infogan-mnist --data mnist --limit 55000 --set seed=0 --out runs/seed-0
    zoo train infogan-mnist --data mnist --limit 55000 --set seed=1 --out runs/seed-1
    python benchmarks/infogan_seeds.py runs/seed-0 runs/seed-1 --data mnist

Each run must have left the last training images out. Its categories are matched with classes on the images that it has
seen, and judged on those that it has not.
"""

import argparse

import torch

import zoo
from zoo.card.facts import read_facts
from zoo.data.source import load_dataset, some
from zoo.family.registry import resolve
from zoo.hub.places import locate


def held_out_accuracy(run: str, data: str) -> tuple[float, int]:
    """Accuracy of the categories, matched one to one, on the training images that the run has not seen."""
    model, training = zoo.load(run), read_facts(locate(run)).training
    assert training is not None
    whole = load_dataset(data, model.preparation, kind="labelled", columns=training.columns)
    if training.images >= len(whole):
        raise SystemExit(f"{run} has seen all {len(whole)} training images; train it with --limit")
    guess = model.infer(whole.images, batch_size=256)["category"].argmax(1)
    seen = some(len(whole), training.images)
    unseen = torch.ones(len(whole), dtype=torch.bool).index_fill(0, seen, False)
    contingency, matches = (resolve(f"zoo_infogan.evaluate:{name}") for name in ("contingency", "matches"))
    assert whole.labels is not None
    classes = int(whole.labels.max()) + 1
    counts = contingency(guess[seen], whole.labels[seen], model.config.categories, classes)
    right = (matches(counts)["one_to_one"][guess[unseen]] == whole.labels[unseen]).float()
    return right.mean().item(), len(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--data", default="ylecun/mnist")
    given = parser.parse_args()
    for run in given.runs:
        accuracy, n = held_out_accuracy(run, given.data)
        error = (accuracy * (1 - accuracy) / n) ** 0.5
        print(f"{run}: {accuracy:.4f} +- {error:.4f} on {n:,} training images that it has not seen")


if __name__ == "__main__":
    main()
