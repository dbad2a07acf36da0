"""The pictures and codes that a command is given: found before any work, and read a batch at a time."""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from zoo.errors import FormatError, InputError, NotFoundError, ZooError

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.family.spec import Preparation


@dataclass(frozen=True)
class Picture:
    """A file that a command was given, alone or in a folder."""

    path: Path
    name: str
    """Its path below the folder that was given; if several things were given, with the folder's own name before it."""
    result: str
    """The path of what is made of it, below --out: the same name, with the suffix .png."""


def find_pictures(given: Sequence[str], out: Path | None) -> list[Picture]:
    """All pictures in files and folders, those of a folder sorted by name, without what lies in `out`.

    Hidden files, whose names begin with a dot, are no pictures. NotFoundError for what is not there, InputError for a
    folder without a picture, for one that is `out`, and for two pictures of one name.
    """
    found: list[tuple[Path, Path]] = []
    for word in given:
        path = Path(word).expanduser()
        if path.is_dir():
            if out and out.resolve() == path.resolve():
                raise InputError(f"{out} is the folder with the pictures", "Give another --out.")
            top = Path(path.resolve().name if len(given) > 1 else "")
            below = [file for file in _below(path) if not (out and _within(file, out))]
            if not below:
                raise InputError(f"{path} holds no picture", f"A picture's name ends in {', '.join(_suffixes())}.")
            found += [(file, top / file.relative_to(path)) for file in below]
        elif path.exists():
            found.append((path, Path(path.name)))
        else:
            raise NotFoundError(f"{path}: no such file or folder")
    results = _results([name for _, name in found])
    return [Picture(path, name.as_posix(), made) for (path, name), made in zip(found, results, strict=True)]


def _within(file: Path, out: Path) -> bool:
    """Whether a file is `out`, or lies in it."""
    place = file.resolve()
    return out.resolve() in (place, *place.parents)


def _below(top: Path) -> Iterator[Path]:
    """The pictures in a folder and the folders in it. A linked folder is followed once."""
    suffixes, seen = _suffixes(), {os.path.realpath(top)}
    for base, folders, files in os.walk(top, followlinks=True):
        fresh = []
        for name in sorted(folders):
            place = os.path.realpath(os.path.join(base, name))
            if place not in seen:
                seen.add(place)
                fresh.append(name)
        folders[:] = fresh
        shown = (name for name in sorted(files) if not name.startswith("."))
        yield from (Path(base, name) for name in shown if Path(name).suffix.lower() in suffixes)


def _suffixes() -> list[str]:
    from PIL import Image

    from zoo.images.read import FORMATS

    return [suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS]


def _results(names: Sequence[Path]) -> list[str]:
    """a.jpg becomes a.png. If there is a.png too, they become a.jpg.png and a.png.png."""
    uses = Counter(name.with_suffix(".png") for name in names)
    made = [
        name.with_suffix(".png") if uses[name.with_suffix(".png")] == 1 else name.with_name(f"{name.name}.png")
        for name in names
    ]
    for name, times in Counter(made).items():
        if times > 1:
            raise InputError(f"{times} pictures would become {name}", "Rename one, or give them in separate commands.")
    return [name.as_posix() for name in made]


class Source(Protocol):
    """What goes into a model, row by row."""

    names: list[str]
    """What a table calls each row."""
    results: list[str]
    """Paths of the images that are made of the rows, below --out."""

    def read(
        self, rows: range, wanted: Sequence[int], preparation: "Preparation", strict: bool
    ) -> "tuple[Tensor, dict[int, ZooError]]":
        """A batch of some rows, and the errors of those that cannot be read, by row.

        What is not wanted or cannot be read is zero. strict: the first error is raised.
        """


class Pictures:
    """Pictures as the input of a model."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures = pictures
        self.names = [picture.name for picture in pictures]
        self.results = [picture.result for picture in pictures]

    def read(
        self, rows: range, wanted: Sequence[int], preparation: "Preparation", strict: bool
    ) -> "tuple[Tensor, dict[int, ZooError]]":
        """(n, c, size, size) in [0, 1]."""
        import torch

        from zoo.images.prepare import prepare

        errors = {}
        batch = torch.zeros(len(rows), preparation.channels, preparation.size, preparation.size)
        for row in wanted:
            try:
                batch[row - rows.start] = prepare(self.pictures[row].path, preparation)[0]
            except ZooError as error:
                if strict:
                    raise
                errors[row] = error
        return batch, errors


class Codes:
    """Codes as the input of a model: the rows of a .npy or .csv file, as `zoo encode` writes them."""

    def __init__(self, path: Path) -> None:
        self.codes = _codes(path)
        self.names = [f"{row:05d}" for row in range(len(self.codes))]
        self.results = [f"{name}.png" for name in self.names]

    def read(
        self, rows: range, wanted: Sequence[int], preparation: "Preparation", strict: bool
    ) -> "tuple[Tensor, dict[int, ZooError]]":
        """(n, ...) float32."""
        import numpy as np
        import torch

        return torch.from_numpy(np.array(self.codes[rows.start : rows.stop], dtype=np.float32)), {}


def _codes(path: Path) -> Any:
    import numpy as np

    if not path.is_file():
        raise NotFoundError(f"{path}: no such file")
    hint = "Write codes with 'zoo encode', or with numpy.save: a row for each image."
    try:
        if path.suffix.lower() == ".csv":
            with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                _, *rows = csv.reader(file)
            codes = np.array([[float(cell) for cell in row[1:]] for row in rows], dtype=np.float32)
        else:
            codes = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise FormatError(f"{path}: not codes in a .npy or .csv file", hint) from error
    if codes.ndim < 2 or not codes.size or codes.dtype.kind not in "fiu":
        raise FormatError(f"{path}: expected a table of numbers, found {codes.dtype} {codes.shape}", hint)
    return codes


def read_mask(word: str, preparation: "Preparation") -> "Tensor":
    """(size, size), true where a picture is white. It is cropped and resized as the photos are, unless it has the
    model's size already."""
    import torch

    from zoo.images.prepare import prepare
    from zoo.images.read import open_image

    picture, size = open_image(Path(word).expanduser()), preparation.size
    crop = 1.0 if picture.size == (size, size) else preparation.crop
    return prepare(picture, replace(preparation, mode="L", crop=crop, binarize=True, filter=None))[0, 0].to(torch.bool)


def read_side(word: str, preparation: "Preparation") -> "Tensor":
    """(size, size) of `top:0.5`, true for the upper half. InputError for another side or share."""
    import torch

    side, _, text = word.partition(":")
    size = preparation.size
    try:
        count = round(float(text) * size)
    except ValueError:
        count = 0
    rows = torch.arange(size)[:, None].expand(size, size)
    sides = {"top": rows, "bottom": rows.flip(0), "left": rows.T, "right": rows.T.flip(1)}
    if side not in sides or not 0 < count < size:
        raise InputError(
            f"{word!r} is no part of a picture", "Give a side and a share between 0 and 1: top:0.5, left:0.3."
        )
    return sides[side] < count
