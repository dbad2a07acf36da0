"""Decodes and checks the images of a data set, each once. After that they are in the cache."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data import cache
from zoo.errors import DataError, MissingExtraError, ZooError
from zoo.family.spec import Preparation
from zoo.images.prepare import crop_and_resize, needed
from zoo.images.read import decode_image

DECODING = 2
"""Version of the decoding. Any change of the result needs a new number, so that no old images come from the cache."""


def state(folder: Path | None) -> str:
    """A text that changes whenever a file of a local folder changes. Empty for data of the Hub: they have a fingerprint
    of their own."""
    return "" if folder is None else cache.listing(folder)


SHOWN = 10
"""How many of the images that cannot be read an error names."""


@dataclass(frozen=True)
class Decoded:
    """Images, and which of them could not be read."""

    images: Tensor
    """uint8 (n, c, size, size). Those that could not be read are black."""
    broken: Mapping[int, ZooError] = field(default_factory=dict)
    """Their places in `images`, and what is wrong with each."""

    @property
    def kept(self) -> Tensor:
        """int64: the places of all that could be read, in their order."""
        whole = torch.ones(len(self.images), dtype=torch.bool)
        whole[list(self.broken)] = False
        return whole.nonzero().flatten()


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
        """uint8 (n, c, size, size): the images of the rows with these numbers. DataError if one of them cannot be read.

        The error names the first ten of those, and counts the others.
        """
        decoded = self.decoded(column, picked)
        if decoded.broken:
            raise _complaint(list(decoded.broken.values()), len(picked), self.source)
        return decoded.images

    def decoded(self, column: str, picked: Tensor) -> Decoded:
        """The images of the rows with these numbers. Those that cannot be read are named in the result.

        The cache may hold the images of the whole split, or those of just these rows. If it has neither, they are
        decoded and stored. What could not be read is tried again at each start.
        """
        everything = len(picked) == len(self.rows)
        found = self._stored(self._key(column, None), len(self.rows))
        if found is not None:
            return Decoded(found if everything else found[picked])
        rows = self.rows if everything else self.rows.select(picked.tolist())
        name = self._key(column, None if everything else picked)
        found = None if everything else self._stored(name, len(picked))
        if found is not None:
            return Decoded(found)
        images, missing = (
            self._stored(_part(name, "readable"), len(picked)),
            cache.read(_part(name, "missing"), (len(picked),)),
        )
        if images is None or missing is None:
            decoded = self._decode(rows, column, picked)
        else:
            places = missing.nonzero().flatten()
            again = self._decode(rows.select(places.tolist()), column, picked[places])
            images[places] = again.images
            decoded = Decoded(images, {int(places[i]): error for i, error in again.broken.items()})
        if state(self.folder) == self.state:  # else files have changed, and it is not known which content was read
            self._store(name, decoded)
        return decoded

    def _stored(self, name: str, n: int) -> Tensor | None:
        return cache.read(name, (n, self.preparation.channels, self.preparation.size, self.preparation.size))

    def _store(self, name: str, decoded: Decoded) -> None:
        if decoded.broken:
            missing = torch.ones(len(decoded.images), dtype=torch.uint8)
            missing[decoded.kept] = 0
            cache.write(_part(name, "missing"), missing)
        cache.write(_part(name, "readable") if decoded.broken else name, decoded.images)

    def _decode(self, rows: Any, column: str, numbers: Tensor) -> Decoded:
        """numbers: of these rows in the split."""
        size, broken = self.preparation.size, dict[int, ZooError]()
        images = np.zeros((len(rows), size, size, self.preparation.channels), dtype=np.uint8)
        for i, cell in enumerate(_track(rows.select_columns([column]), self.progress, f"decoding {self.source}")):
            where = f"{self.source}, row {numbers[i]} of column {column!r}"
            _check_cell(cell[column], where)
            try:
                images[i] = _decode_one(cell[column], self.preparation, where)
            except MissingExtraError:  # nothing is wrong with the image
                raise
            except ZooError as error:
                broken[i] = error
        return Decoded(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), broken)

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


def _complaint(broken: list[ZooError], n: int, source: str) -> DataError:
    """One error for all images that cannot be read."""
    lines = [f"{source}: {len(broken):,} of {n:,} images cannot be read:", *(error.message for error in broken[:SHOWN])]
    if len(broken) > SHOWN:
        lines.append(f"and {len(broken) - SHOWN:,} more")
    own = dict.fromkeys(error.hint for error in broken if error.hint)
    return DataError(
        "\n  ".join(lines), "\n  ".join([*own, "Remove or replace these, or leave them out: --skip-broken"])
    )


def _part(name: str, part: str) -> str:
    """The name for the cache of a part of images that could not all be read."""
    return cache.key(of=name, part=part)


def _check_cell(cell: Any, where: str) -> None:
    """DataError if it is no encoded image, which is so in all rows of the column."""
    if not isinstance(cell, dict) or not (cell.get("bytes") or cell.get("path")):
        raise DataError(
            f"{where} is not an image but {type(cell).__name__}", "Give the column of the images: --column image=NAME"
        )


def _decode_one(cell: Any, preparation: Preparation, where: str) -> "np.typing.NDArray[np.uint8]":
    if cell.get("path"):
        where += f" ({cell['path']})"
    try:
        data = cell["bytes"] or Path(cell["path"]).read_bytes()
    except OSError as error:
        raise DataError(f"{where}: {error.strerror}") from error
    picture = decode_image(data, where, needed(preparation))
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
