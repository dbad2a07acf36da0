"""A part of the images that no training sees, chosen by what the images hold and by a seed.

The choice is one number, a threshold. So it is the same when the images have other names, when the folder has grown,
and at any size of the images.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.data.batches import domain_rows
from zoo.data.source import Dataset

MOST = 1000
"""Images that are held out at most."""
FEWEST = 10
"""Images that a data set must have for one to be held out."""


@dataclass(frozen=True)
class Held:
    """Which images are held out: those whose rank with this seed is at most the threshold."""

    seed: int
    threshold: str


def hold_out(dataset: Dataset, kind: str, share: float, seed: int) -> tuple[Dataset, Dataset | None, Held | None]:
    """The images to train on, those held out, and how to find the latter again; None if there are too few to hold out.

    At least one image of each domain is held out. Equal files are on the same side.
    """
    n, ranks = len(dataset), _ranks(dataset, seed)
    count = min(MOST, max(1, round(share * n)))
    if share == 0 or n < FEWEST:
        return dataset, None, None
    least = [min(ranks[int(row)] for row in rows) for rows in domain_rows(dataset, kind)]
    held = Held(seed, max(sorted(ranks)[count - 1], *least))
    test, train = parted(dataset, held)
    return train, test, held


def parted(dataset: Dataset, held: Held) -> tuple[Dataset, Dataset]:
    """The images that are held out, and the others."""
    out = torch.tensor([rank <= held.threshold for rank in _ranks(dataset, held.seed)])
    return dataset.rows(_numbers(out), "test"), dataset.rows(_numbers(~out), "train")


def _numbers(chosen: Tensor) -> Tensor:
    return chosen.nonzero().flatten()


def _ranks(dataset: Dataset, seed: int) -> list[str]:
    """16 hex digits for each image, which look random and depend on the image and the seed alone."""
    assert dataset.hashes is not None
    start = seed.to_bytes(8)
    return [hashlib.blake2b(start + row.tobytes(), digest_size=8).hexdigest() for row in dataset.hashes.numpy()]
