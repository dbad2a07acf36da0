"""Reads a data set: anything that `datasets.load_dataset` reads. The images are decoded to uint8."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data import decode
from zoo.data.decode import Decoder
from zoo.errors import DataError, did_you_mean
from zoo.family.spec import Preparation

LABELS = {"labelled": "label", "attributes": "attributes", "unpaired": "domain"}
"""Kind of batch -> the key in a recipe's `columns` that names the column of labels."""

DATA_FILES = {".parquet", ".arrow"}
IMAGE_FILES = {".png", ".jpg", ".jpeg", ".webp"}


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

    def __len__(self) -> int:
        return len(self.images)

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
    source: str | Path,
    preparation: Preparation,
    *,
    split: str = "train",
    kind: str = "images",
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    progress: bool = False,
) -> Dataset:
    """All images of one split, cropped and resized as `preparation` says.

    source: the name of a data set on the Hub; or a folder of images (with or without a folder for each class); or a
    folder of parquet files. limit: only so many images, the first ones.
    columns: which columns are the `image`, the `label`, the `attributes` (with commas between them), the `input` of
    pairs, or the `domain`. The domain is one column with two values, and the smaller value is the first domain. Or it
    is two columns (with a comma between them), each true for the images of its domain; images of neither or both
    domains are left out.
    Raises DataError that names the data set, the column or the image with the fault.
    """
    columns = {"image": "image", **(columns or {})}
    folder = _local(str(source))
    state = decode.state(folder)
    whole = _open(str(source), folder, split)
    wanted = _wanted(whole.column_names, columns, kind, str(source))
    rows = whole if limit is None else whole.select(range(min(limit, len(whole))))
    if len(rows) == 0:
        raise DataError(f"{source}: the split {split!r} has no images", "Give another data set: --data NAME or FOLDER")
    labels: Tensor | None = None
    names: tuple[str, ...] = ()
    if kind in LABELS:
        read = {"labelled": _classes, "attributes": _attributes, "unpaired": _domains}[kind]
        labels, names = read(rows, wanted, str(source))
    picked = torch.arange(len(rows))
    if labels is not None and kind == "unpaired":
        picked, labels = _of_a_domain(labels, str(source))
    decoder = Decoder(str(source), folder, state, whole, preparation, progress)
    images = decoder.images(columns["image"], picked)
    inputs = decoder.images(columns["input"], picked) if "input" in columns else None
    return Dataset(str(source), split, images, inputs, labels, names)


def _open(source: str, folder: Path | None, split: str) -> Any:
    """The rows of a split. Images stay encoded here: `zoo.data.decode` checks and decodes them."""
    import datasets

    holds_data = folder is not None and bool(_suffixes(folder) & DATA_FILES)
    try:
        with _quiet():
            if folder is not None and not holds_data:
                found = datasets.load_dataset("imagefolder", data_dir=str(folder))
            else:
                found = datasets.load_dataset(source if folder is None else str(folder))
    except Exception as error:  # the library raises many kinds of errors, its own and those of file systems
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        hint = "Check the name and the network, or give a folder: --data FOLDER"
        raise DataError(f"data: cannot read {source}: {reason}", hint) from error
    if split not in found:
        raise DataError(f"{source} has no split {split!r}", did_you_mean(split, found))
    rows = found[split]
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


def _local(source: str) -> Path | None:
    """The folder that a source names, or None for the name of a data set on the Hub."""
    folder = Path(source).expanduser()
    return folder if source.startswith(("/", ".", "~")) or folder.exists() else None


def _suffixes(folder: Path) -> set[str]:
    """The suffixes of all files in a folder. DataError if nothing in it can be a data set."""
    if not folder.is_dir():
        hint = "Give a folder of images, a folder of parquet files, or the name of a data set on the Hub."
        raise DataError(f"data: there is no folder {folder}", hint)
    found = {path.suffix.lower() for path in folder.rglob("*") if path.is_file()}
    if not found & (DATA_FILES | IMAGE_FILES):
        hint = "Give a folder with .png, .jpg, .webp or .parquet files."
        raise DataError(f"data: {folder} holds no images and no data files", hint)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars of the library. zoo shows its own, which counts images."""
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()


def _wanted(found: list[str], columns: Mapping[str, str], kind: str, source: str) -> list[str]:
    """The columns of labels that this kind of batch needs. DataError if a column that is named does not exist."""
    keys = ["image", *(["input"] if "input" in columns else [])]
    names = []
    if kind in LABELS:
        key = LABELS[kind]
        if key not in columns:
            raise DataError(
                f"{kind} batches need to know which column is the {key}",
                f"Choose among those of {source}: {', '.join(found)}. For example: --column {key}={found[0]}",
            )
        names = columns[key].split(",")
    for name in [columns[key] for key in keys] + names:
        if name not in found:
            raise DataError(f"{source} has no column {name!r}", did_you_mean(name, found))
    return names


def _classes(rows: Any, wanted: list[str], source: str) -> tuple[Tensor, tuple[str, ...]]:
    values = np.asarray(rows[wanted[0]][:])
    if values.dtype.kind not in "iub" or values.min() < 0:
        raise DataError(
            f"{source}: the column {wanted[0]!r} holds no numbers of classes, which are whole numbers from 0",
            "Give another column: --column label=NAME",
        )
    names = getattr(rows.features[wanted[0]], "names", None) or [str(i) for i in range(int(values.max()) + 1)]
    return torch.from_numpy(values.astype(np.int64)), tuple(names)


def _attributes(rows: Any, wanted: list[str], source: str) -> tuple[Tensor, tuple[str, ...]]:
    table = [np.asarray(rows[name][:]) for name in wanted]
    for name, values in zip(wanted, table, strict=True):
        if values.dtype.kind not in "iubf" or not np.isin(values, (0, 1)).all():
            raise DataError(
                f"{source}: the column {name!r} is not an attribute: it has values other than true and false, or 1 and "
                "0",
                "Give another column: --column attributes=NAME,NAME",
            )
    return torch.from_numpy(np.stack(table, axis=1).astype(np.float32)), tuple(wanted)


def _domains(rows: Any, wanted: list[str], source: str) -> tuple[Tensor, tuple[str, ...]]:
    """0 and 1 for the images of the two domains, -1 for images of neither or both; and the names of the domains."""
    if len(wanted) > 1:
        table, names = _attributes(rows, wanted, source)
        if len(names) != 2:
            raise DataError(
                f"{source}: the domain takes one column or two, found {len(names)}: {', '.join(names)}",
                "Give one column or two: --column domain=NAME or --column domain=NAME,NAME",
            )
        return torch.where(table.sum(1) == 1, table[:, 1], -1).long(), names
    values = np.asarray(rows[wanted[0]][:])
    kinds = np.unique(values).tolist() if values.dtype.kind in "iubU" else []
    if len(kinds) != 2:
        raise DataError(
            f"{source}: the column {wanted[0]!r} must have exactly two values, one for each domain",
            "Give another column, or a column of true and false for each domain: --column domain=NAME,NAME",
        )
    domains = values == kinds[1]
    known = getattr(rows.features[wanted[0]], "names", None)
    return torch.from_numpy(domains.astype(np.int64)), tuple(known[kind] if known else str(kind) for kind in kinds)


def _of_a_domain(domains: Tensor, source: str) -> tuple[Tensor, Tensor]:
    """The numbers of the rows that belong to just one of the two domains, and the domain of each."""
    inside = (domains >= 0).nonzero().flatten()
    if len(inside) == 0:
        raise DataError(
            f"{source}: no image belongs to just one of the two domains",
            "Give other columns: --column domain=NAME,NAME",
        )
    return inside, domains[inside]
