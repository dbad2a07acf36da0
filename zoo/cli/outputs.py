"""What a command writes: pictures into a folder or one file, numbers into a table. Checked before any work."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

from zoo.errors import InputError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

    from zoo.images.batch import Images
    from zoo.images.stream import Sink
    from zoo.model import Model

MANY = (".zip", ".npz")
TABLES = (".csv", ".npy")


def is_folder(out: Path) -> bool:
    """Whether pictures are written into a folder, one file each."""
    return not out.suffix or out.is_dir()


def check_pictures(out: Path, names: Iterable[str], force: bool, skip: bool) -> set[str]:
    """The names of files in a folder that are there already, to be skipped.

    InputError if `out` cannot be written, or would overwrite a file and neither `force` nor `skip` was given.
    """
    from zoo.images.write import SUFFIXES

    if not is_folder(out):
        if skip:
            raise InputError("--skip-existing works only with a folder", f"{out} is one file. Leave the option out.")
        _check_file(out, (*SUFFIXES, *MANY), force, ", or a folder")
        return set()
    taken = {name for name in names if (out / name).exists()}
    if taken and not (force or skip):
        raise _exists(out / min(taken), "--force to overwrite it, or --skip-existing to make only the others")
    return taken if skip else set()


def check_table(out: Path | None, force: bool) -> None:
    """The same for a table."""
    if out is not None:
        _check_file(out, TABLES, force, "")


def _check_file(out: Path, suffixes: Sequence[str], force: bool, other: str) -> None:
    if out.suffix.lower() not in suffixes:
        found = f"cannot write {out.suffix!r} files" if out.suffix else "a table needs a suffix"
        raise InputError(f"{out}: {found}", f"Give --out a file that ends in {', '.join(suffixes)}{other}.")
    if out.exists() and not force:
        raise _exists(out, "--force to overwrite it")


def _exists(path: Path, options: str) -> InputError:
    return InputError(f"{path} exists already", f"Give another --out, or give {options}.")


def check_same(out: Path, names: Iterable[str], info: Mapping[str, str]) -> None:
    """InputError if one of these files was made by another model, or with another seed or condition than `info`."""
    from PIL import Image

    for name in names:
        with Image.open(out / name) as picture:
            text = getattr(picture, "text", {})
        for key, value in info.items():
            if key != "software" and text.get(key) != value:
                raise InputError(
                    f"{out / name} was not made by this command: its {key} is {text.get(key)!r}, not {value!r}",
                    "Give another --out, or --force to overwrite what is there.",
                )


def open_pictures(
    out: Path, n: int, model: "Model", columns: int | None, arrays: Mapping[str, Any]
) -> "AbstractContextManager[Sink]":
    """Where n pictures go. arrays: what a .npz holds beside them."""
    from zoo.images import stream

    if is_folder(out):
        return stream.folder(out)
    if out.suffix.lower() == ".zip":
        return stream.zipped(out)
    if out.suffix.lower() == ".npz":
        return stream.npz(out, n, arrays)
    from zoo.calling import check_size

    check_size(n, model.preparation)
    return _grid(out, columns)


class Grid:
    """All pictures in one."""

    def __init__(self) -> None:
        self.parts: list[Images] = []
        self.first = 0

    def add(self, images: "Images", names: Sequence[str], numbers: Sequence[int]) -> None:
        self.first = self.first if self.parts else numbers[0]
        self.parts.append(images)


@contextmanager
def _grid(out: Path, columns: int | None) -> Iterator[Grid]:
    import torch

    from zoo.images.batch import Images

    sink = Grid()
    yield sink
    tensor = torch.cat([part.tensor for part in sink.parts])
    Images(tensor, sink.parts[0].info, sink.first).save(out, columns=columns or sink.parts[0].columns)


class Table:
    """Rows of numbers as CSV: first the file's name, then the numbers, under their names."""

    def __init__(self, file: IO[str], key: str, classes: Callable[[str], Sequence[str]]) -> None:
        self.writer, self.key, self.classes = csv.writer(file, lineterminator="\n"), key, classes
        self.begun = False

    def add(self, result: "Tensor | Mapping[str, Tensor]", names: Sequence[str]) -> None:
        parts = result if isinstance(result, Mapping) else {self.key: result}
        if not self.begun:
            self.begun = True
            self.writer.writerow(["file", *(head for key, part in parts.items() for head in self._heads(key, part))])
        rows = [part.reshape(len(part), -1).tolist() for part in parts.values()]
        for name, *cells in zip(names, *rows, strict=True):
            self.writer.writerow([name, *(f"{cell:.9g}" for numbers in cells for cell in numbers)])

    def _heads(self, key: str, part: "Tensor") -> list[str]:
        """The column's name; for several columns with their classes, like label=7, or with numbers."""
        if part.ndim == 1:
            return [key]
        width, classes = part[0].numel(), self.classes(key)
        return [f"{key}={name}" for name in classes] if len(classes) == width else [f"{key}_{i}" for i in range(width)]


class Array:
    """Rows of numbers as a .npy file of n rows."""

    def __init__(self, file: IO[bytes], n: int) -> None:
        self.file, self.n, self.begun = file, n, False

    def add(self, result: "Tensor | Mapping[str, Tensor]", names: Sequence[str]) -> None:
        from zoo.images.stream import write_header

        if isinstance(result, Mapping):
            if len(result) > 1:
                raise InputError(
                    f"a .npy file holds one array, but these are several: {', '.join(result)}", "Give a .csv file."
                )
            (result,) = result.values()
        array = result.contiguous().numpy()
        if not self.begun:
            self.begun = True
            write_header(self.file, (self.n, *array.shape[1:]), array.dtype)
        self.file.write(array.data)


@contextmanager
def open_table(out: Path | None, n: int, key: str, model: "Model") -> Iterator[Table | Array]:
    """Where n rows of numbers go: a .csv or .npy file, there when all are or not at all; or CSV on the terminal."""
    from zoo.files import atomically

    def classes(name: str) -> Sequence[str]:
        """The names that belong to numbers: those of a condition, or the classes that a model was trained to tell."""
        owner = model.conditions.get(name, model.config)
        names: Sequence[str] = getattr(owner, "names", ())
        return names

    if out is None:
        yield Table(sys.stdout, key, classes)
        return
    with atomically(out) as temporary:
        if out.suffix.lower() == ".csv":
            with temporary.open("x", newline="", encoding="utf-8", errors="surrogateescape") as text:
                yield Table(text, key, classes)
        else:
            with temporary.open("xb") as file:
                yield Array(file, n)


def bar(total: int, title: str) -> "AbstractContextManager[Callable[[int], None]]":
    """A bar on stderr, if that is a terminal. It is told how many more are done."""
    return _bar(total, title) if sys.stderr.isatty() else nullcontext(lambda done: None)


@contextmanager
def _bar(total: int, title: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.advance(task, done)


def say_left_out(errors: Sequence[str], most: int = 20) -> None:
    """A line on stderr for each picture that could not be read."""
    from zoo.cli.terminal import clean

    for error in errors[:most]:
        typer.echo(clean(f"left out {error}"), err=True)
    if len(errors) > most:
        typer.echo(f"... and {len(errors) - most} more", err=True)


def say(out: Path, n: int, seed: int | str | None, done: int) -> None:
    """What was written. done: how many files were there already."""
    ending = f", seed {seed}" if seed is not None else ""
    ending += f"; {done} were there already" if done else ""
    typer.echo(f"wrote {out}: {n} image{'s' * (n != 1)}{ending}")


def single(given: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions that have one value for all images."""
    return {key: value for key, value in given.items() if not isinstance(value, list | dict)}


@contextmanager
def telling_how_to_go_on(out: Path, options: str) -> Iterator[None]:
    """On Ctrl-C, say what makes the rest, if what is made was kept."""
    try:
        yield
    except KeyboardInterrupt:
        if is_folder(out):
            typer.echo(f"{out} keeps what is made. The same command with {options} makes the rest.", err=True)
        raise
