"""Samples beside the training images that are nearest to them, in a picture that is never part of a card."""

from pathlib import Path

import torch

from zoo.errors import InputError
from zoo.evaluation.bench import Bench
from zoo.hub import places as hub
from zoo.images import Images
from zoo.model import Model


def check_neighbours(path: Path, model: Model) -> None:
    """InputError unless neighbours can be shown there: not inside a card, for they are images of the data set."""
    if not {"sample", "translate"} & set(model.spec.capabilities):
        raise InputError(f"{model.name} makes no images, so there are no neighbours of them", "Leave --neighbours out.")
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"neighbours: {path} is no picture file", "Give one that ends in .png.")
    if any(path.resolve().is_relative_to(folder.resolve()) for folder in hub.bundled().values()):
        raise InputError(
            f"neighbours: {path} is inside a card, and cards hold no image of a data set", "Give a file elsewhere."
        )


def show_neighbours(bench: Bench, path: Path, samples: int = 12, each: int = 4) -> None:
    """Columns of a sample and below it its nearest training images or their mirror images, the nearest first, by pixel
    distance."""
    made = bench.samples[:samples]
    train = bench.images_like(bench.samples, bench.train)
    train = torch.cat([train, train.flip(3)])
    order = torch.cdist(made.flatten(1), train.flatten(1)).argsort(1)[:, :each]
    rows = [made, *(train[order[:, k]] for k in range(order.shape[1]))]
    Images(torch.cat(rows), columns=len(made)).save(path)
