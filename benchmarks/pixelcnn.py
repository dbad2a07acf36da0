"""Sampling with kept features against one pass per pixel: seconds and ratios for batches of 1, 16 and 64.

    python benchmarks/pixelcnn.py [--channels 32|256] [--blocks 15] [--batches 1,16,64] [--pixels 784] [--threads N]

Untrained PixelCNNs of binary 28x28 images; `--channels` counts the feature maps between the blocks, 2h in the paper.
The two samplers run in turns on the same uniform numbers, and their pixels are compared. With fewer `--pixels` the
naive sampler draws only so many, spread over images that are given otherwise, and its time is extrapolated: each of its
pixels costs the same pass over the whole image.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor
from zoo_pixelcnn.model import PixelCNN
from zoo_pixelcnn.sampler import draw, quantile

import zoo

SIDE = 28
TURNS = 3


def naive(model: PixelCNN, u: Tensor, levels: Tensor, every: int) -> Tensor:
    """One pass over the whole image for every `every`-th pixel in raster order; the others stay as in `levels`."""
    levels = levels.clone()
    for place in range(0, SIDE * SIDE, every):
        i, j = divmod(place, SIDE)
        logits = model(model.values(levels))[:, 0, :, i, j]
        levels[:, 0, i, j] = quantile(logits, u[:, 0, i, j, None])
    return levels


def seconds(function: object, *arguments: object) -> tuple[float, Tensor]:
    started = time.perf_counter()
    result = function(*arguments)  # type: ignore[operator]
    return time.perf_counter() - started, result


def compare(model: PixelCNN, n: int, pixels: int) -> str:
    """A line of the table."""
    u = model.uniforms(zoo.Noise(0, 0, n))
    every = -(-SIDE * SIDE // pixels)
    share = len(range(0, SIDE * SIDE, every)) / SIDE**2
    drawn = draw(model.network(), u)
    start = torch.zeros_like(drawn) if every == 1 else drawn
    slow, fast, one_pass, wrong = [], [], [], 0
    for _ in range(TURNS if share < 0.2 else 1):
        took, result = seconds(naive, model, u, start, every)
        wrong += int((result != drawn).sum())
        slow.append(took / share)
        fast += [seconds(lambda: draw(model.network(), u))[0] for _ in range(TURNS)]
        one_pass += [seconds(model, model.values(drawn))[0] for _ in range(TURNS)]
    a, b, c = (statistics.median(times) for times in (slow, fast, one_pass))
    return f"{n:6}  {a:9.2f}  {b:9.4f}  {a / b:8.1f}  {b / c:13.1f}  {wrong} of {len(slow) * u.numel()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--batches", default="1,16,64")
    parser.add_argument("--pixels", type=int, default=SIDE * SIDE)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    model = PixelCNN(PixelCNN.Config(width=options.channels // 2, blocks=options.blocks))
    model = model.eval().to(memory_format=torch.channels_last)
    print(
        f"{options.blocks} blocks of {options.channels} channels, {options.threads} threads, torch {torch.__version__}"
    )
    if options.pixels < SIDE * SIDE:
        print(f"naive: extrapolated from about {options.pixels} of {SIDE * SIDE} pixels")
    print(f"{'images':6}  {'naive s':>9}  {'kept s':>9}  {'ratio':>8}  {'kept / 1 pass':>13}  pixels that differ")
    with torch.inference_mode():
        for n in map(int, options.batches.split(",")):
            print(compare(model, n, min(options.pixels, SIDE * SIDE)), flush=True)


if __name__ == "__main__":
    main()
