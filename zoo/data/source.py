"""Data sets -> endless batches. Anything `datasets.load_dataset` reads, decoded once into uint8."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data import cache
from zoo.errors import DataError, ZooError, did_you_mean
from zoo.family.spec import Preparation
from zoo.images import crop_and_resize, decode_image

LABELS = {"labelled": "label", "attributes": "attributes", "unpaired": "domain"}
"""Batch kind -> the entry of a recipe's `columns` that names its labels."""

DECODING = 1
"""Version of what an encoded image becomes: a new number for any change of it, lest old images come from the cache."""

DATA_FILES = {".parquet", ".arrow"}
IMAGE_FILES = {".png", ".jpg", ".jpeg", ".webp"}

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
    """int64 (n,): classes, or domains 0 and 1; float (n, k) of 0 and 1 for attributes."""
    names: tuple[str, ...] = ()
    """Names of the classes, attributes or domains."""

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of all that a run sees; a resumed run must find the same."""
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
    """Every image of one split, cropped and resized by `preparation`.

    source: a Hub data set name, or a folder: of images (with or without a folder per class), or of parquet files.
    columns: which column is `image`, `label`, `attributes` (comma-separated), `input` (the given half of a pair) or
    `domain`: two values that part the images of an unpaired set, the smaller the first domain; or two true/false
    columns (comma-separated), each true in its domain, images of neither or both being left out.
    Raises DataError naming the source, the column or the image at fault.
    """
    columns = {"image": "image", **(columns or {})}
    state = _state(str(source))
    whole = _open(str(source), split)
    wanted = _wanted(whole.column_names, columns, kind, str(source))
    rows = whole if limit is None else whole.select(range(min(limit, len(whole))))
    if len(rows) == 0:
        raise DataError(f"{source}: split {split!r} is empty")
    labels: Tensor | None = None
    names: tuple[str, ...] = ()
    if kind in LABELS:
        read = {"labelled": _classes, "attributes": _attributes, "unpaired": _domains}[kind]
        labels, names = read(rows, wanted, str(source))
    picked = torch.arange(len(rows))
    if labels is not None and kind == "unpaired":
        picked, labels = _of_a_domain(labels, str(source))
    decoder = _Decoder(str(source), state, whole, preparation, progress)
    images = decoder.images(columns["image"], picked)
    inputs = decoder.images(columns["input"], picked) if "input" in columns else None
    return Dataset(str(source), split, images, inputs, labels, names)


def _open(source: str, split: str) -> Any:
    """The rows of a split, with images left encoded: they are decoded through the one checked door."""
    import datasets

    folder = _local(source)
    holds_data = folder is not None and bool(_suffixes(folder) & DATA_FILES)
    try:
        with _quiet():
            if folder is not None and not holds_data:
                found = datasets.load_dataset("imagefolder", data_dir=str(folder))
            else:
                found = datasets.load_dataset(source if folder is None else str(folder))
    except Exception as error:  # the library raises many kinds, of its own and of its file systems
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        hint = "Check the name, the network, or give --data FOLDER."
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


def _state(source: str) -> str:
    """Changes whenever a file of a local source does; what the Hub gives has a fingerprint of its own."""
    folder = _local(source)
    return "" if folder is None else cache.listing(folder)


def _suffixes(folder: Path) -> set[str]:
    """What kinds of files a folder holds; DataError when nothing in it could be a data set."""
    if not folder.is_dir():
        hint = "--data takes a folder of images, a data set folder, or a Hub name."
        raise DataError(f"data: no folder {folder}", hint)
    found = {path.suffix.lower() for path in folder.rglob("*") if path.is_file()}
    if not found & (DATA_FILES | IMAGE_FILES):
        hint = "Expected .png, .jpg, .webp or .parquet files."
        raise DataError(f"data: {folder} holds no images and no data files", hint)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the library's own progress bars: ours counts images."""
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()


def _wanted(found: list[str], columns: Mapping[str, str], kind: str, source: str) -> list[str]:
    """The label columns this kind of batch needs, once every named column is known to exist."""
    keys = ["image", *(["input"] if "input" in columns else [])]
    names = []
    if kind in LABELS:
        key = LABELS[kind]
        if key not in columns:
            raise DataError(
                f"a recipe of {kind} batches must name its {key} column", f"{source} has: {', '.join(found)}."
            )
        names = columns[key].split(",")
    for name in [columns[key] for key in keys] + names:
        if name not in found:
            raise DataError(f"{source} has no column {name!r}", did_you_mean(name, found))
    return names


@dataclass(frozen=True)
class _Decoder:
    """Images of a split, each decoded once: then they lie in the cache."""

    source: str
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
        if _state(self.source) == self.state:  # else files changed meanwhile, and nobody knows what was read
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


def _classes(rows: Any, wanted: list[str], source: str) -> tuple[Tensor, tuple[str, ...]]:
    values = np.asarray(rows[wanted[0]][:])
    if values.dtype.kind not in "iub" or values.min() < 0:
        raise DataError(f"{source}: column {wanted[0]!r} holds no class indices (whole numbers from 0)")
    names = getattr(rows.features[wanted[0]], "names", None) or [str(i) for i in range(int(values.max()) + 1)]
    return torch.from_numpy(values.astype(np.int64)), tuple(names)


def _attributes(rows: Any, wanted: list[str], source: str) -> tuple[Tensor, tuple[str, ...]]:
    table = [np.asarray(rows[name][:]) for name in wanted]
    for name, values in zip(wanted, table, strict=True):
        if values.dtype.kind not in "iubf" or not np.isin(values, (0, 1)).all():
            raise DataError(f"{source}: column {name!r} is no attribute (true and false, or 1 and 0)")
    return torch.from_numpy(np.stack(table, axis=1).astype(np.float32)), tuple(wanted)


def _domains(rows: Any, wanted: list[str], source: str) -> tuple[Tensor, tuple[str, ...]]:
    """0 and 1 for the two domains, -1 for what belongs to neither or to both."""
    if len(wanted) > 1:
        table, names = _attributes(rows, wanted, source)
        if len(names) != 2:
            raise DataError(f"{source}: domain takes one column or two, found {len(names)}: {', '.join(names)}")
        return torch.where(table.sum(1) == 1, table[:, 1], -1).long(), names
    values = np.asarray(rows[wanted[0]][:])
    kinds = np.unique(values).tolist() if values.dtype.kind in "iubU" else []
    if len(kinds) != 2:
        raise DataError(f"{source}: column {wanted[0]!r} must part the images in two domains, by two values")
    domains = values == kinds[1]
    known = getattr(rows.features[wanted[0]], "names", None)
    return torch.from_numpy(domains.astype(np.int64)), tuple(known[kind] if known else str(kind) for kind in kinds)


def _of_a_domain(domains: Tensor, source: str) -> tuple[Tensor, Tensor]:
    """The numbers of the rows that belong to one of the two domains, and which."""
    inside = (domains >= 0).nonzero().flatten()
    if len(inside) == 0:
        raise DataError(f"{source}: no image belongs to just one of the two domains")
    return inside, domains[inside]


def _track(rows: Any, progress: bool, title: str) -> Any:
    if not progress:
        return rows
    from rich.progress import track

    return track(rows, description=title, total=len(rows))


class Batches:
    """Endless shuffled batches, on the device, in [0, 1].

    Batch number k is a function of the seed and k alone, so a resumed run sees exactly the batches it would have seen;
    several processes share it. `batch_size` counts the images of all of them.
    `next()` gives, by kind: images x; labelled (x, y); attributes (x, a); pairs (x, y), input first; unpaired (a, b),
    one batch of each domain, each shuffled by itself.
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
        if kind == "pairs" and filter is None and dataset.inputs is None:
            raise DataError(f"{dataset.source}: pairs need an input column or an input filter")
        if kind in LABELS and dataset.labels is None:
            raise DataError(f"{dataset.source}: {kind} batches need its {LABELS[kind]} column")
        self._domains = domain_rows(dataset, kind)
        available = min(len(rows) for rows in self._domains)
        if not 1 <= batch_size <= available:
            whose = "which has" if len(self._domains) == 1 else "whose smaller domain has"
            hint = f"Give --batch-size {available} or less, or more images." if available else None
            raise DataError(f"batch size {batch_size} does not fit {dataset.source}, {whose} {available} images", hint)
        if batch_size % world:
            raise DataError(f"a batch of {batch_size} cannot be shared equally by {world} processes")
        self.dataset, self.kind, self.batch_size, self.preparation = dataset, kind, batch_size, preparation
        self.seed, self.flip, self.jitter, self.filter, self.device = seed, flip, jitter, filter, torch.device(device)
        self.rank, self.world = rank, world
        self.consumed = 0
        fits = self.device.type != "cuda" or dataset.images.numel() < torch.cuda.mem_get_info(self.device)[0] // 4
        self._images = dataset.images.to(self.device if fits else "cpu")
        self._inputs = None if dataset.inputs is None else dataset.inputs.to(self._images.device)
        self._labels = None if dataset.labels is None else dataset.labels.to(self._images.device)
        self._orders: dict[int, tuple[int, Tensor]] = {}

    def __len__(self) -> int:
        """Batches in one pass over the data (over the larger domain); a last, smaller one is left out."""
        return max(len(rows) for rows in self._domains) // self.batch_size

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        number, self.consumed = self.consumed, self.consumed + 1
        return self.at(number)

    def state_dict(self) -> dict[str, Any]:
        return {"consumed": self.consumed, "images": len(self.dataset), "data": self.dataset.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. DataError when the images are not those that the state was taken with."""
        if state.get("data", self.dataset.fingerprint) != self.dataset.fingerprint:
            raise DataError(
                f"{self.dataset.source}: not the data this run was begun with "
                f"({state['images']} images then, {len(self.dataset)} now, by content not the same)",
                "Resume with the same data, or begin anew in another --out.",
            )
        self.consumed = int(state["consumed"])

    def at(self, number: int) -> Any:
        """Batch `number` of the endless stream."""
        # Every process augments the whole batch and keeps its share: what is drawn does not depend on their number.
        draws = torch.Generator().manual_seed(_mix(self.seed, number, 0))
        mine = slice(self.rank, None, self.world)
        rows = [self._rows(number, domain) for domain in range(len(self._domains))]
        x, *others = [self._augmented(part, draws)[mine] for part in rows]
        if self.kind == "unpaired":
            return x, others[0]
        if self.kind == "pairs":
            c = self.preparation.channels
            return (x[:, :c], x[:, c:]) if self._inputs is not None else (self.filter(x), x)  # type: ignore[misc]
        if self.kind in LABELS:
            return x, moved(self._labels[rows[0][mine]], self.device)  # type: ignore[index]
        return x

    def _augmented(self, rows: Tensor, draws: torch.Generator) -> Tensor:
        x = self._images[rows]
        if self._inputs is not None:
            # Both halves of a pair go through one augmentation, so that they stay aligned.
            x = torch.cat([self._inputs[rows], x], dim=1)
        x = augment(moved(x, self.device).float() / 255, draws, flip=self.flip, jitter=self.jitter)
        if self.preparation.binarize:
            x = (moved(torch.rand(x.shape, generator=draws), self.device) < x).float()
        return x.contiguous(memory_format=torch.channels_last)

    def _rows(self, number: int, domain: int) -> Tensor:
        """Indices of a batch: a fresh permutation of the domain each pass."""
        rows = self._domains[domain]
        epoch, place = divmod(number, len(rows) // self.batch_size)
        if self._orders.get(domain, (-1,))[0] != epoch:
            draws = torch.Generator().manual_seed(_mix(self.seed, epoch, -1 - domain))
            order = rows[torch.randperm(len(rows), generator=draws)]
            self._orders[domain] = (epoch, moved(order, self._images.device))
        return self._orders[domain][1][place * self.batch_size : (place + 1) * self.batch_size]


def moved(x: Tensor, device: torch.device) -> Tensor:
    """On the device. The host does not wait for it: from pinned memory a GPU copies while the host goes on."""
    if device.type == "cuda" and x.device.type == "cpu":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


def domain_rows(dataset: Dataset, kind: str) -> list[Tensor]:
    """Indices of the images of each domain; all images are one, unless the batches are unpaired."""
    if kind != "unpaired" or dataset.labels is None:
        return [torch.arange(len(dataset))]
    return [(dataset.labels == domain).nonzero().flatten() for domain in (0, 1)]


def _mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence([n % 2**32 for n in numbers]).generate_state(1, np.uint64)[0]) >> 1


def augment(x: Tensor, draws: torch.Generator, *, flip: bool, jitter: bool) -> Tensor:
    """Per image: mirror half of them; jitter shifts by up to 15/256 of the side, as far as the window of pix2pix moves
    (appendix 6.2).

    Shifted, not enlarged and cut: between pixels an enlarged image is blurred, and a model learns what it is shown.
    """
    n, _, height, width = x.shape
    if flip:
        mirrored = moved(torch.rand(n, generator=draws) < 0.5, x.device)
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    if jitter:
        rows, columns = (moved(_shifted(n, side, draws), x.device) for side in (height, width))
        image = torch.arange(n, device=x.device)[:, None, None]
        x = x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return x


def _shifted(n: int, side: int, draws: torch.Generator) -> Tensor:
    """(n, side): for each image the places along one side that a random shift brings in, reflected at the border."""
    reach = min(round(side * 15 / 256), side - 1)
    places = (torch.arange(side) + torch.randint(-reach, reach + 1, (n, 1), generator=draws)).abs()
    return torch.where(places < side, places, 2 * (side - 1) - places)
