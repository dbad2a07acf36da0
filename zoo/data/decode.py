"""Decodes and checks the images of a data set, each once. After that they are in the cache."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data import cache
from zoo.errors import DataError, ZooError
from zoo.family.spec import Preparation
from zoo.images.prepare import crop_and_resize
from zoo.images.read import decode_image

DECODING = 1
"""Version of the decoding. Any change of the result needs a new number, so that no old images come from the cache."""


def state(folder: Path | None) -> str:
    """A text that changes whenever a file of a local folder changes. Empty for data of the Hub: they have a fingerprint
    of their own."""
    return "" if folder is None else cache.listing(folder)


@dataclass(frozen=True)
class Decoder:
    """Decodes the images of a split. Each is decoded once and then comes from the cache."""

    source: str
    folder: Path | None
    """Folder that the source names; None for a data set on the Hub."""
    state: str
    """State of the folder's files before any of them was read."""
    rows: Any
    """All rows of the split."""
    preparation: Preparation
    progress: bool

    def images(self, column: str, picked: Tensor) -> Tensor:
        """uint8 (n, c, size, size): the images of the rows with these numbers.

        The cache may hold the images of the whole split, or those of just these rows. If it has neither, they are
        decoded and stored.
        """
        side, channels = self.preparation.size, self.preparation.channels
        everything = len(picked) == len(self.rows)
        found = cache.read(self._key(column, None), (len(self.rows), channels, side, side))
        if found is not None:
            return found if everything else found[picked]
        name = self._key(column, None if everything else picked)
        found = None if everything else cache.read(name, (len(picked), channels, side, side))
        if found is not None:
            return found
        rows = self.rows if everything else self.rows.select(picked.tolist())
        images = _decode(rows, column, self.preparation, self.source, self.progress)
        if state(self.folder) == self.state:  # else files have changed, and it is not known which content was read
            cache.write(name, images)
        return images

    def _key(self, column: str, picked: Tensor | None) -> str:
        """The name for the cache, from all that the images depend on.

        The fingerprint of the library sees of a folder's files only their dates, so their state is added.
        """
        return cache.key(
            decoding=DECODING,
            pillow=version("pillow"),
            files=self.state,
            rows=self.rows._fingerprint,
            picked=None if picked is None else hashlib.sha256(picked.numpy().tobytes()).hexdigest(),
            column=column,
            size=self.preparation.size,
            mode=self.preparation.mode,
            crop=self.preparation.crop,
        )


def _decode(rows: Any, column: str, preparation: Preparation, source: str, progress: bool) -> Tensor:
    size = preparation.size
    images = np.empty((len(rows), size, size, preparation.channels), dtype=np.uint8)
    for i, cell in enumerate(_track(rows.select_columns([column]), progress, f"decoding {source}")):
        images[i] = _decode_one(cell[column], preparation, f"{source}, row {i} of column {column!r}")
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _decode_one(cell: Any, preparation: Preparation, where: str) -> "np.typing.NDArray[np.uint8]":
    if not isinstance(cell, dict) or not (cell.get("bytes") or cell.get("path")):
        raise DataError(
            f"{where} is not an image but {type(cell).__name__}", "Give the column of the images: --column image=NAME"
        )
    if cell.get("path"):
        where += f" ({cell['path']})"
    try:
        picture = decode_image(cell["bytes"] or Path(cell["path"]).read_bytes(), where)
    except (ZooError, OSError) as error:
        hint = "Remove or replace that file. Then give the same command again."
        raise DataError(f"data: broken image: {error}", hint) from error
    if min(picture.size) * preparation.crop * 2 < preparation.size:
        raise DataError(
            f"{where}: {picture.width}x{picture.height} pixels are too few for {preparation.size}x{preparation.size}",
            "Give larger images, or train for a smaller size: --image-size SIZE",
        )
    return crop_and_resize(picture, preparation)


def _track(rows: Any, progress: bool, title: str) -> Any:
    if not progress:
        return rows
    from rich.progress import track

    return track(rows, description=title, total=len(rows))
