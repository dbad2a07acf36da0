"""Data sets -> endless batches. Anything `datasets.load_dataset` reads, decoded once into uint8."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import DataError, ZooError, did_you_mean
from zoo.images import crop_and_resize, decode_image
from zoo.spec import Preparation

LABELS = {"labelled": "label", "attributes": "attributes"}
"""Batch kind -> the entry of a recipe's `columns` that names its labels."""

Filter = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Dataset:
    """Decoded images with what belongs to them. All tensors have one row per image."""

    source: str
    split: str
    images: Tensor
    """uint8 (n, c, h, w); for pairs of two columns the targets."""
    inputs: Tensor | None = None
    """uint8 (n, c, h, w): the other half of each pair, when the data set has one."""
    labels: Tensor | None = None
    """int64 (n,), or float (n, k) for attributes."""
    names: tuple[str, ...] = ()
    """Names of the classes or attributes."""

    def __len__(self) -> int:
        return len(self.images)


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
    """Every image of one split, cropped and resized by `preparation`.

    source: a Hub data set name, or a folder: of images (with or without a folder per class), or of parquet files.
    columns: which column is `image`, `label`, `attributes` (comma-separated) or `input` (the given half of a pair).
    Raises DataError naming the source, the column or the image at fault.
    """
    columns = {"image": "image", **(columns or {})}
    rows = _open(str(source), split)
    wanted = _wanted(rows.column_names, columns, kind, str(source))
    if limit is not None:
        rows = rows.select(range(min(limit, len(rows))))
    if len(rows) == 0:
        raise DataError(f"{source}: split {split!r} is empty")
    images = _decode(rows, columns["image"], preparation, str(source), progress)
    inputs = _decode(rows, columns["input"], preparation, str(source), progress) if "input" in columns else None
    labels, names = None, ()
    if kind in LABELS:
        labels, names = _labels(rows, wanted, kind, str(source))
    return Dataset(str(source), split, images, inputs, labels, names)


def _open(source: str, split: str) -> Any:
    """The rows of a split, with images left encoded: they are decoded through the one checked door."""
    import datasets

    folder = Path(source).expanduser()
    looks_like_path = source.startswith(("/", ".", "~")) or folder.exists()
    if looks_like_path and not folder.is_dir():
        raise DataError(f"data: no folder {source}", "--data takes a folder of images, a data set folder, or a Hub name.")
    suffixes = {path.suffix.lower() for path in folder.rglob("*") if path.is_file()} if looks_like_path else set()
    if looks_like_path and not suffixes & {".parquet", ".arrow", ".csv", ".json", ".jsonl", ".png", ".jpg", ".jpeg", ".webp"}:
        raise DataError(f"data: {source} holds no images and no data files", "Expected .png, .jpg, .webp or .parquet files.")
    try:
        with _quiet():
            if looks_like_path and not suffixes & {".parquet", ".arrow"}:
                found = datasets.load_dataset("imagefolder", data_dir=str(folder))
            else:
                found = datasets.load_dataset(str(folder) if looks_like_path else source)
    except Exception as error:  # the library raises many kinds, of its own and of its file systems
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"data: cannot read {source}: {reason}", "Check the name, the network, or give --data FOLDER.") from error
    if split not in found:
        if split != "train" and len(found) == 1:
            raise DataError(f"{source} has no split {split!r}, only {', '.join(found)}")
        raise DataError(f"{source} has no split {split!r}", did_you_mean(split, found))
    rows = found[split]
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


def _quiet() -> Any:
    """Hide the library's own progress bars: ours counts images."""
    import contextlib

    import datasets

    @contextlib.contextmanager
    def quiet() -> Iterator[None]:
        shown = datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            yield
        finally:
            if not shown:
                datasets.enable_progress_bars()

    return quiet()


def _wanted(found: list[str], columns: Mapping[str, str], kind: str, source: str) -> list[str]:
    """The label columns this kind of batch needs, once every named column is known to exist."""
    keys = ["image", *(["input"] if "input" in columns else [])]
    names = []
    if kind in LABELS:
        key = LABELS[kind]
        if key not in columns:
            raise DataError(f"a recipe of {kind} batches must name its {key} column", f"{source} has: {', '.join(found)}.")
        names = columns[key].split(",")
    for name in [columns[key] for key in keys] + names:
        if name not in found:
            raise DataError(f"{source} has no column {name!r}", did_you_mean(name, found))
    return names


def _decode(rows: Any, column: str, preparation: Preparation, source: str, progress: bool) -> Tensor:
    size = preparation.size
    images = np.empty((len(rows), size, size, preparation.channels), dtype=np.uint8)
    for i, cell in enumerate(_track(rows.select_columns([column]), progress, f"decoding {source}")):
        images[i] = _decode_one(cell[column], preparation, f"{source}, row {i} of column {column!r}")
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _decode_one(cell: Any, preparation: Preparation, where: str) -> "np.typing.NDArray[np.uint8]":
    if not isinstance(cell, dict) or not (cell.get("bytes") or cell.get("path")):
        raise DataError(f"{where} is no image, but {type(cell).__name__}", "Name the image column: --column image=NAME.")
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


def _labels(rows: Any, wanted: list[str], kind: str, source: str) -> tuple[Tensor, tuple[str, ...]]:
    if kind == "attributes":
        table = np.stack([np.asarray(rows[name], dtype=np.float32) for name in wanted], axis=1)
        return torch.from_numpy(table), tuple(wanted)
    values = np.asarray(rows[wanted[0]])
    if values.dtype.kind not in "iub" or values.min() < 0:
        raise DataError(f"{source}: column {wanted[0]!r} holds no class indices (whole numbers from 0)")
    names = getattr(rows.features[wanted[0]], "names", None) or [str(i) for i in range(int(values.max()) + 1)]
    return torch.from_numpy(values.astype(np.int64)), tuple(names)


def _track(rows: Any, progress: bool, title: str) -> Any:
    if not progress:
        return rows
    from rich.progress import track

    return track(rows, description=title, total=len(rows))


class Batches:
    """Endless shuffled batches, on the device, in [0, 1].

    Batch number k is a function of the seed and k alone, so a resumed run sees exactly the batches it would have seen.
    `next()` gives, by kind: images x; labelled (x, y); attributes (x, a); pairs (x, y), input first; unpaired (a, b).
    """

    def __init__(
        self,
        dataset: Dataset,
        kind: str,
        batch_size: int,
        *,
        preparation: Preparation,
        seed: int = 0,
        flip: bool = False,
        jitter: bool = False,
        filter: Filter | None = None,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not 1 <= batch_size <= len(dataset):
            raise DataError(f"batch size {batch_size} does not fit {dataset.source}, which has {len(dataset)} images")
        if kind == "pairs" and filter is None and dataset.inputs is None:
            raise DataError(f"{dataset.source}: pairs need an input column or an input filter")
        self.dataset, self.kind, self.batch_size, self.preparation = dataset, kind, batch_size, preparation
        self.seed, self.flip, self.jitter, self.filter, self.device = seed, flip, jitter, filter, torch.device(device)
        self.rank, self.world = rank, world
        self.consumed = 0
        fits = self.device.type != "cuda" or dataset.images.numel() < torch.cuda.mem_get_info(self.device)[0] // 4
        self._images = dataset.images.to(self.device if fits else "cpu")
        self._inputs = None if dataset.inputs is None else dataset.inputs.to(self._images.device)
        self._labels = None if dataset.labels is None else dataset.labels.to(self._images.device)
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        """Batches in one pass over the data; a last, smaller one is left out."""
        return len(self.dataset) // self.batch_size

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        number, self.consumed = self.consumed, self.consumed + 1
        return self.at(number)

    def state_dict(self) -> dict[str, Any]:
        return {"consumed": self.consumed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.consumed = int(state["consumed"])

    def at(self, number: int) -> Any:
        """Batch `number` of the endless stream."""
        rows = self._rows(number)
        draws = torch.Generator().manual_seed(_mix(self.seed, number, self.rank))
        x = self._images[rows]
        if self._inputs is not None:
            # Both halves of a pair go through one augmentation, so that they stay aligned.
            x = torch.cat([self._inputs[rows], x], dim=1)
        x = augment(x.to(self.device).float() / 255, draws, flip=self.flip, jitter=self.jitter)
        if self.preparation.binarize:
            x = (torch.rand(x.shape, generator=draws).to(self.device) < x).float()
        x = x.contiguous(memory_format=torch.channels_last)
        if self.kind == "pairs":
            c = self.preparation.channels
            return (x[:, :c], x[:, c:]) if self._inputs is not None else (self.filter(x), x)  # type: ignore[misc]
        if self.kind in LABELS:
            return x, self._labels[rows].to(self.device)  # type: ignore[index]
        return x

    def _rows(self, number: int) -> Tensor:
        """Indices of a batch: a fresh permutation each pass, this process's share of it."""
        epoch, place = divmod(number, len(self))
        if self._order[0] != epoch:
            order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(_mix(self.seed, epoch, -1)))
            self._order = (epoch, order.to(self._images.device))
        batch = self._order[1][place * self.batch_size : (place + 1) * self.batch_size]
        return batch[self.rank :: self.world]


def _mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence([n % 2**32 for n in numbers]).generate_state(1, np.uint64)[0]) >> 1


def augment(x: Tensor, draws: torch.Generator, *, flip: bool, jitter: bool) -> Tensor:
    """Per image: mirror half of them; jitter enlarges by 286/256 and cuts a random window (pix2pix, appendix 6.2)."""
    n, _, height, width = x.shape
    if flip:
        mirrored = (torch.rand(n, generator=draws) < 0.5).to(x.device)
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    if jitter:
        large = (round(height * 286 / 256), round(width * 286 / 256))
        grown = F.interpolate(x, size=large, mode="bilinear", align_corners=False)
        tops = torch.randint(large[0] - height + 1, (n,), generator=draws).tolist()
        lefts = torch.randint(large[1] - width + 1, (n,), generator=draws).tolist()
        windows = zip(grown, tops, lefts, strict=True)
        x = torch.stack([g[:, top : top + height, left : left + width] for g, top, left in windows])
    return x
