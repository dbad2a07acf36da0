"""From what a user calls a data set to a source: a path here, or a name on the Hub."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.card.names import REPOSITORY
from zoo.data import layout, tables
from zoo.data.layout import Reading, Source
from zoo.data.tables import Table
from zoo.data.tree import ARCHIVES
from zoo.errors import DataError, closest

PAGE = re.compile(r"(hf://|https?://(www\.)?huggingface\.co/)datasets/")

Given = str | Path | Sequence[str | Path]
"""What a user calls a data set: a folder, a zip, a file of data or a name on the Hub; or several files of images."""


def open_source(
    given: Given, *, kind: str = "images", columns: Mapping[str, str] | None = None, reading: Reading | None = None
) -> Source:
    """What a source is, without reading a picture. Only the name of a data set on the Hub leads to the network."""
    reading = reading or Reading()
    if not isinstance(given, str | Path):
        paths = [_there(Path(item).expanduser()) for item in given]
        folders = [path for path in paths if path.is_dir()]
        if len(paths) > 1 and folders:
            raise DataError(f"data: {folders[0]} is a folder, among several sources", "Give one folder, or only files.")
        if len(paths) != 1:
            return layout.of_paths(paths, kind, columns or {}, reading)
        given = paths[0]
    path = local(given)
    found = _hub(str(given), reading) if path is None else layout.of_paths([path], kind, columns or {}, reading)
    if reading.pairs and any(isinstance(table, tables.Stored) for table in found.splits.values()):
        raise DataError(
            f"{found.name} is a table, and only pictures in files can be pairs side by side",
            "Leave out --pairs. Say which columns are the pairs: --column input=NAME --column image=NAME",
        )
    return found


def local(given: str | Path) -> Path | None:
    """The folder or file that a source names; None for the name of a data set on the Hub, `owner/name`.

    DataError for one that is not there: what begins with a folder that is there, or looks like a path beside it, is
    never taken for a name on the Hub.
    """
    path = Path(given).expanduser()
    if isinstance(given, str) and PAGE.match(given):
        return None
    if path.exists() or isinstance(given, Path) or not REPOSITORY.fullmatch(given):
        return _there(path)
    owner, name = path.parts
    beside = _names(Path()) if not Path(owner).is_dir() else [owner]
    for near in closest(owner, beside):
        if closest(name, _names(Path(near))) or near == owner:
            return _there(path)
    return None


def _there(path: Path) -> Path:
    if not path.exists():
        parent = path.parent
        near = [str(parent / name) for name in closest(path.name, _names(parent))]
        hub = "a data set on the Hub is called OWNER/NAME"
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Give a folder or a file that is there; {hub}."
        raise DataError(f"data: there is no {'file' if path.suffix else 'folder'} {path}", hint)
    if path.suffix.lower() in ARCHIVES and path.is_file():
        raise DataError(f"data: {path} is an archive that zoo does not read", "Unpack it, or pack it as a .zip.")
    return path


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _hub(given: str, reading: Reading) -> Source:
    """A data set on the Hub, by the library `datasets`."""
    import datasets

    name = PAGE.sub("", given).strip("/")
    try:
        with _quiet():
            found = datasets.load_dataset(name)
    except Exception as error:  # the library raises many kinds of errors, its own and those of file systems
        hint = "Check the name and the network, or give a folder: --data FOLDER"
        raise DataError(f"data: cannot read {name}: {_reason(error)}", hint) from error
    splits: dict[str, Table] = {}
    for split, rows in found.items():
        splits[split] = tables.of_hub(name, _encoded(rows))
    return Source(name, splits, "", reading)


def _encoded(rows: Any) -> Any:
    """The rows with their images as encoded bytes, which costs nothing."""
    import datasets

    for column, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


def _reason(error: BaseException) -> str:
    """The first error of those that led to this one: the library hides it behind words of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0]


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
