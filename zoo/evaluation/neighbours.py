"""A picture of samples with their nearest training images. It is never part of a card."""

from pathlib import Path

import torch

from zoo.errors import InputError
from zoo.evaluation.bench import Bench
from zoo.hub import places as hub
from zoo.images.batch import Images
from zoo.model import Model


def check_neighbours(path: Path, model: Model) -> None:
    """InputError unless a picture of neighbours can be written there. A card may not hold images of a data set."""
    if not {"sample", "translate"} & set(model.spec.capabilities):
        raise InputError(f"{model.name} makes no images, so they have no neighbours", "Leave out --neighbours.")
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(
            f"neighbours: {path} is not the name of a picture file", f"For example: --neighbours {path.stem}.png"
        )
    if any(path.resolve().is_relative_to(folder.resolve()) for folder in hub.bundled().values()):
        raise InputError(
            f"neighbours: {path} is inside a card, and a card holds no images of a data set",
            f"Give a file in another folder. For example: --neighbours {path.name}",
        )


def show_neighbours(bench: Bench, path: Path, samples: int = 12, each: int = 4) -> None:
    """Write the picture. Each column is a sample and below it its nearest training images or their mirror images. The
    nearest is first, by pixel distance."""
    made = bench.samples[:samples]
    train = bench.images_like(bench.samples, bench.train)
    train = torch.cat([train, train.flip(3)])
    order = torch.cdist(made.flatten(1), train.flatten(1)).argsort(1)[:, :each]
    rows = [made, *(train[order[:, k]] for k in range(order.shape[1]))]
    Images(torch.cat(rows), columns=len(made)).save(path)
