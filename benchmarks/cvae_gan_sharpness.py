"""Asymmetric training against a plain CVAE: the same E, G, steps and data, with and without D's and C's features.

    python benchmarks/cvae_gan_sharpness.py --data FOLDER [--judge CARD] [--steps 2000] [--recipe cvae-gan-fashion]

For each arm: the detail of samples as a share of that of test images (variance of the Laplacian; 1 is as sharp), the
judged accuracy of samples asked for by class, and the error of reconstructions. The arms are trained one after the
other on one thread, a few minutes each.

The plain CVAE has the weight of the KL term at which its loss is the bound with a Gaussian likelihood of the deviation
that it reaches: the pixel term's weight times sigma^2 / pixels, about 2 x 0.2^2 / 784. With the CVAE-GAN's weight it
would be blurred on purpose.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo.data.source import Dataset, load_dataset
from zoo.evaluation.figures import detail
from zoo.family.registry import registry

ARMS: dict[str, dict[str, Any]] = {"CVAE-GAN": {}, "CVAE": {"adversarial": False, "kl": 1e-4}}
SAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the data set; by default the recipe's own from the Hub")
    parser.add_argument("--recipe", default="cvae-gan-fashion")
    parser.add_argument("--judge", help="card of the classifier; by default the recipe's")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="keep the two cards in this folder")
    chosen = parser.parse_args()
    torch.set_num_threads(1)

    spec, recipe = registry().recipe(chosen.recipe)
    source = chosen.data or recipe.data
    judge = zoo.load(chosen.judge or recipe.judge)
    test = load_dataset(source, recipe.preparation, split="test", kind=spec.batch, columns=recipe.columns)
    right = judged(judge, real(test), test.labels)
    print(f"{chosen.steps} steps; judge {judge.name}, whose accuracy on test images is {right:.4f}")
    print(f"{'':10}{'sharpness':>11}{'accuracy':>10}{'rmse':>8}{'minutes':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        for arm, settings in ARMS.items():
            started = time.perf_counter()
            out = (chosen.out or Path(temporary)) / arm.lower()
            model = zoo.train(chosen.recipe, data=source, out=out, steps=chosen.steps, progress=False, **settings)
            minutes = (time.perf_counter() - started) / 60
            print(f"{arm:10}{row(model, test, judge)}{minutes:9.1f}", flush=True)


def row(model: zoo.Model, test: Dataset, judge: zoo.Model) -> str:
    x = real(test)
    asked = torch.arange(SAMPLES) % len(model.config.names)
    made = model.sample(SAMPLES, seed=0, label=asked).tensor
    error = (model.reconstruct(x, label=test.labels).tensor - x).square().flatten(1).mean(1).sqrt().mean()
    return f"{detail(made) / detail(x):11.3f}{judged(judge, made, asked):10.4f}{error:8.4f}"


def judged(judge: zoo.Model, x: torch.Tensor, label: Any) -> float:
    return (judge.infer(x, batch_size=256)["label"].argmax(1) == label).float().mean().item()


def real(data: Dataset) -> torch.Tensor:
    return data.images.float() / 255


if __name__ == "__main__":
    main()
