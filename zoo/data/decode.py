"""Images of a data set, each decoded once through the checked door: then they lie in the cache."""

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
from zoo.images import crop_and_resize, decode_image

DECODING = 1
"""Version of what an encoded image becomes: a new number for any change of it, lest old images come from the cache."""


def state(folder: Path | None) -> str:
    """Changes whenever a file of a local source does; what the Hub gives has a fingerprint of its own."""
    return "" if folder is None else cache.listing(folder)


@dataclass(frozen=True)
class Decoder:
    """Images of a split, each decoded once: then they lie in the cache."""

    source: str
    folder: Path | None
    """That the source names; None for one on the Hub."""
    state: str
    """Of the source's files before anything was read."""
    rows: Any
    """Of the whole split."""
    preparation: Preparation
    progress: bool

    def images(self, column: str, picked: Tensor) -> Tensor:
        """uint8 (n, c, size, size) of the rows picked by number: from the whole split or themselves, once decoded."""
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
        if state(self.folder) == self.state:  # else files changed meanwhile, and nobody knows what was read
            cache.write(name, images)
        return images

    def _key(self, column: str, picked: Tensor | None) -> str:
        """All that decides about the images. The library's fingerprint knows the files of a folder by date alone."""
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
            f"{where} is no image, but {type(cell).__name__}", "Name the image column: --column image=NAME."
        )
    if cell.get("path"):
        where += f" ({cell['path']})"
    try:
        picture = decode_image(cell["bytes"] or Path(cell["path"]).read_bytes(), where)
    except (ZooError, OSError) as error:
        raise DataError(f"data: broken image: {error}", "Remove or replace that file, then run again.") from error
    if min(picture.size) * preparation.crop * 2 < preparation.size:
        raise DataError(
            f"{where}: {picture.width}x{picture.height} pixels are too few for {preparation.size}x{preparation.size}",
            "Give larger images, or a smaller --image-size.",
        )
    return crop_and_resize(picture, preparation)


def _track(rows: Any, progress: bool, title: str) -> Any:
    if not progress:
        return rows
    from rich.progress import track

    return track(rows, description=title, total=len(rows))
