"""Reads a data set, from a folder, a zip, files or the Hub. The images are decoded to uint8."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data import labels, layout
from zoo.data.columns import of_split, read_labels, resolved
from zoo.data.decode import Decoded, decoded
from zoo.data.layout import Reading, Source
from zoo.data.opening import Given, open_source
from zoo.data.tables import Table
from zoo.data.tree import Left
from zoo.errors import DataError
from zoo.family.spec import Preparation

NAMES = {"labelled": "names", "attributes": "names", "unpaired": "domains"}
"""Kind of batch -> the field of a model's `Config` that holds the names of its classes, attributes or domains."""
CALLED = {"labelled": "classes", "attributes": "attributes", "unpaired": "domains"}
"""What the names of a kind of batch are names of."""
SHOWN = 10
"""Files that an error names; of the others it gives the number."""


@dataclass(frozen=True)
class Dataset:
    """Decoded images with their inputs and labels. All tensors have one row for each image."""

    source: str
    split: str
    images: Tensor
    """uint8 (n, c, h, w). For pairs of two columns these are the targets."""
    inputs: Tensor | None = None
    """uint8 (n, c, h, w): the inputs of pairs, if the data set has a column of them."""
    labels: Tensor | None = None
    """int64 (n,): classes, or domains 0 and 1; float (n, k) of 0 and 1 for attributes."""
    names: tuple[str, ...] = ()
    """Names of the classes, attributes or domains."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Which columns were read as the image, the label, ..."""
    hashes: Tensor | None = None
    """uint8 (n, 16): hashes of the files of the images. An image has the same one in any data set."""

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, picked: Tensor, split: str) -> "Dataset":
        """A split of just these rows, by their numbers."""
        parts = {key: getattr(self, key) for key in ("images", "inputs", "labels", "hashes")}
        chosen: dict[str, Any] = {key: None if part is None else part[picked] for key, part in parts.items()}
        return replace(self, split=split, **chosen)

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of all images and labels. A resumed run must find the same."""
        digest = hashlib.sha256()
        for part in (self.images, self.inputs, self.labels):
            if part is not None:
                digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
                digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()


def load_dataset(
    source: Given,
    preparation: Preparation,
    *,
    split: str = "train",
    kind: str = "images",
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    progress: bool = False,
    reading: Reading | None = None,
) -> Dataset:
    """All images of one split, cropped and resized as `preparation` says.

    source: a folder or a .zip of images or of parquet files; files of images; or the name of a data set on the Hub.
    "Your data" in the docs says which layouts are known. limit: only so many images; see `some`.
    columns: which columns are the `image`, the `label`, the `attributes` (with commas between them), the `input` of
    pairs, or the `domain`. The domain is one column with two values, and the smaller value is the first domain. Or it
    is two columns (with a comma between them), each true for the images of its domain; images of neither or both
    domains are left out. What is not given is taken from the layout.
    Raises DataError that names the data set, the column or the images with the fault.
    """
    opened = open_source(source, kind=kind, columns=columns, reading=reading)
    return read(opened, preparation, split=split, kind=kind, columns=columns, limit=limit, progress=progress)[0]


def read(
    source: Source,
    preparation: Preparation,
    *,
    split: str = "train",
    kind: str = "images",
    columns: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
    limit: int | None = None,
    progress: bool = False,
) -> tuple[Dataset, list[Left]]:
    """The images of one split, and those that could not be read and were left out.

    columns: as in `load_dataset`. names: those of the model, in its order; the labels are put into that order.
    DataError if images cannot be read, unless the source is read with `skip_broken`. It tells of all of them.
    """
    table, columns = of_split(source, split), resolved(source, split, kind, columns or {})
    if not len(table):
        raise DataError(f"{source.name}: the split {split!r} has no images", "Give another data set: --data FOLDER")
    picked, found = some(len(table), limit), read_labels(source, split, kind, columns)
    if found is not None:
        marks, said = found
        if names:
            places = labels.agreed(names, said, source.name, part=kind == "labelled" and split != "train")
            marks, said = labels.ordered(marks, said, places, names)
        if kind == "unpaired":
            picked = _of_a_domain(marks, picked, source.name)
    keys = ["image", *(["input"] if "input" in columns else [])]
    pictured = {key: _column_of_pictures(source, table, columns[key]) for key in keys}
    title = f"decoding {source.name}"
    made = {key: decoded(table, name, picked, preparation, title, progress) for key, name in pictured.items()}
    good, lost = _good(source, made, len(picked))
    rows = picked[good]
    images = made["image"].images if len(good) == len(picked) else made["image"].images[good]
    inputs = made["input"].images[good] if "input" in made else None
    label, said = (None, ()) if found is None else (marks[rows], said)
    return Dataset(source.name, split, images, inputs, label, said, columns, made["image"].hashes[good]), lost


def _column_of_pictures(source: Source, table: Table, column: str) -> str:
    if column not in table.pictured:
        kind = type(next(iter(table.values(column)), None)).__name__
        raise DataError(
            f"{source.name}: the column {column!r} is not an image but {kind}",
            "Give the column of the images: --column image=NAME",
        )
    return column


def some(n: int, limit: int | None) -> Tensor:
    """Numbers of so many of n rows, or of all, that go up. They are random, and always the same for the same n: the
    first rows would not do, since a data set may be sorted by class."""
    if limit is None or limit >= n:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))[:limit].sort().values


def _of_a_domain(domains: Tensor, picked: Tensor, name: str) -> Tensor:
    """Those of the picked rows that belong to just one of the two domains."""
    inside = picked[domains[picked] >= 0]
    if len(inside) == 0:
        raise DataError(
            f"{name}: no image belongs to just one of the two domains", "Give other columns: --column domain=NAME,NAME"
        )
    return inside


def _good(source: Source, made: Mapping[str, Decoded], n: int) -> tuple[Tensor, list[Left]]:
    """The places of the images that could be read, and what is wrong with the others."""
    faults = {i: why for part in made.values() for i, why in part.faults.items()}
    lost = [*source.broken, *(Left("", why) for _, why in sorted(faults.items()))]
    if lost and (not source.reading.skip_broken or len(faults) == n):
        shown = "".join(f"\n  {told(left)}" for left in lost[:SHOWN])
        more = f"\n  and {len(lost) - SHOWN:,} more" if len(lost) > SHOWN else ""
        hint = (
            "Mend or remove them. Or add --skip-broken to go on without them. To see all: zoo train NAME --list-skipped"
        )
        hint = hint if len(faults) < n else "Give other images."
        raise DataError(
            f"{source.name}: {len(lost):,} of {n + len(source.broken):,} images cannot be used:{shown}{more}", hint
        )
    return torch.tensor([i for i in range(n) if i not in faults], dtype=torch.int64), lost


def summary(source: Source, dataset: Dataset, kind: str, held: int = 0, lost: int = 0) -> str:
    """One line that says what was found: how many images, in which classes, and how many were held out or left out.

    dataset: the split that is trained on. held: images of it that are held out. lost: those that cannot be read.
    """
    what = f" in {layout.counted(CALLED[kind], dataset.names)}" if dataset.names else source.words
    n = len(dataset) + held
    parts = [f"{n:,} {'image' if n == 1 else 'images'}{what}"]
    if held:
        parts.append(f"{held:,} of them held out")
    if "test" in source.splits:
        parts.append(f"{len(source.splits['test']):,} more in the test split")
    left = len(source.left) + lost
    if left:
        parts.append(f"{left:,} {'file' if left == 1 else 'files'} left out: see --list-skipped")
    return f"{source.name}: {'; '.join(parts)}"


def told(left: Left) -> str:
    """A file that was left out and why, in one line."""
    return f"{left.path}: {left.why}" if left.path else left.why
