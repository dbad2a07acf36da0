"""Time to sample by each backend of `zoo.load`, side by side, for one image and for many, with one thread and two.

    python benchmarks/backends.py [--cards dcgan-celeba,vae-mnist] [--backends torch,onnxruntime,compile]
        [--sizes 1,64] [--threads 1,2] [--turns 9] [--clock wall|cpu]

The backends run in turns on the same seeds, after a first try that is not counted, and their images are compared. The
table shows medians, and how many times faster than torch each is. `--clock cpu` counts the processor's time of all
threads of the process. On a machine with other work it tells more than the time on the wall, for one thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import zoo

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def measure(
    card: str, backends: list[str], sizes: list[int], turns: int, clock: Callable[[], float]
) -> dict[int, dict[str, float]]:
    """The median time of each backend in milliseconds, by number of images."""
    models = {backend: zoo.load(card, device="cpu", backend=backend) for backend in backends}
    found = {}
    for n in sizes:
        spent: dict[str, list[float]] = {backend: [] for backend in backends}
        for turn in range(-1, max(turns, 40 * turns if n == 1 else 0)):
            made = {}
            for backend, model in models.items():
                started = clock()
                made[backend] = model.sample(n, seed=max(turn, 0)).tensor
                if turn >= 0:
                    spent[backend].append(1000 * (clock() - started))
            far = max((images - made["torch"]).abs().max().item() for images in made.values())
            assert far < 1e-3, f"{card}: the images differ by {far}"
        found[n] = {backend: statistics.median(times) for backend, times in spent.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", default="dcgan-celeba,wgan-gp-celeba,cvae-gan-mnist,vae-mnist,realnvp-mnist")
    parser.add_argument("--backends", default="torch,onnxruntime")
    parser.add_argument("--sizes", default="1,64")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    asked = parser.parse_args()
    backends = ["torch", *(name for name in asked.backends.split(",") if name != "torch")]
    columns = [f"{name} ms" for name in backends] + [f"{name} faster" for name in backends[1:]]
    print(f"| card | images | threads | {' | '.join(columns)} |", flush=True)
    print("|---" * (3 + len(columns)) + "|", flush=True)
    for threads in map(int, asked.threads.split(",")):
        torch.set_num_threads(threads)
        for card in asked.cards.split(","):
            sizes = list(map(int, asked.sizes.split(",")))
            for n, times in measure(card, backends, sizes, asked.turns, CLOCKS[asked.clock]).items():
                ratios = [f"{times['torch'] / times[name]:.2f}" for name in backends[1:]]
                cells = [*(f"{times[name]:.2f}" for name in backends), *ratios]
                print(f"| `{card}` | {n} | {threads} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
