"""The files of a folder or of a zip, by the names that lead to them. A name is never a pattern."""

import os
import stat
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from zoo.card.names import CONFIG, PLAN, WEIGHTS
from zoo.errors import DataError, FormatError
from zoo.images.read import max_bytes, max_pixels

UNSEEN = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "@eadir"})
"""What systems leave in folders. Like all that begins with a dot it is neither an image nor a fault."""
ARCHIVES = frozenset({".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})

State = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One file of a source."""

    parts: tuple[str, ...]
    """The names that lead from the source to the file."""
    path: str
    """The file; or the zip that it is in."""
    state: State
    """Size and times of the file. Programs cannot set the last of the times."""
    member: str | None = None
    """Its name in the zip."""

    @property
    def name(self) -> str:
        return self.parts[-1]

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1].lower()

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}: {self.member}"


@dataclass(frozen=True)
class Left:
    """A file or folder that was left out."""

    path: str
    why: str


@dataclass
class Tree:
    """All files of a source, in the order of their names."""

    entries: list[Entry] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    broken: list[Left] = field(default_factory=list)
    """Folders and links that cannot be opened."""


class Reader:
    """Reads the bytes of entries. Each zip is opened once."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = max_bytes(max_pixels()) if limit is None else limit
        self._open: dict[str, zipfile.ZipFile] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def __call__(self, entry: Entry) -> bytes:
        """Raises OSError, or FormatError for a file that is broken or larger than the limit, by default a picture's."""
        if entry.state[0] > self._limit:
            raise FormatError(f"{entry}: {entry.state[0]} bytes; at most {self._limit} are read")
        if entry.member is None:
            with open(entry.path, "rb") as file:
                return file.read()
        if entry.path not in self._open:
            self._open[entry.path] = self._stack.enter_context(zipfile.ZipFile(entry.path))
        try:
            with self._open[entry.path].open(entry.member) as member:
                return member.read(self._limit)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
            raise FormatError(f"{entry}: {error}") from error


def tree(source: Path) -> Tree:
    """All files of a folder or of a zip, without what systems leave there, and without runs and cards of zoo."""
    found = _of_zip(source) if source.is_file() else _of_folder(source)
    found.entries.sort(key=lambda entry: entry.parts)
    _leave_out_runs(found, source)
    return found


def of_files(paths: Sequence[Path]) -> Tree:
    """The files of a list, in its order."""
    return Tree([Entry((path.name,), str(path), _state(path.stat())) for path in paths])


def unchanged(entries: Iterable[Entry]) -> bool:
    """Whether the files are still as they were when they were listed."""
    paths = {entry.path: entry.state[-3:] for entry in entries}
    try:
        return all(_state(os.stat(path)) == state for path, state in paths.items())
    except OSError:
        return False


def _of_folder(root: Path) -> Tree:
    """Real folders come before links to folders, so that a folder is known by its own name. Each is listed once."""
    found, seen, files = Tree(), set[tuple[int, int]](), set[tuple[int, int]]()
    folders: list[tuple[tuple[str, ...], str]] = [((), str(root))]
    links: list[tuple[tuple[str, ...], str]] = []
    linked: list[tuple[Entry, tuple[int, int]]] = []
    while folders or links:
        parts, folder = (folders or links).pop()
        try:
            identity = _identity(os.stat(folder))
            items = sorted(os.scandir(folder), key=lambda item: item.name)
        except OSError as error:
            found.broken.append(Left(folder, f"cannot be opened: {error.strerror}"))
            continue
        if identity in seen:
            found.left.append(Left(folder, "a link to a folder that is there already"))
            continue
        seen.add(identity)
        for item in items:
            place = (*parts, item.name)
            if _unseen(item.name):
                continue
            try:
                state = item.stat()
            except OSError as error:
                found.broken.append(Left(item.path, f"cannot be opened: {error.strerror}"))
                continue
            if stat.S_ISDIR(state.st_mode):
                (links if item.is_symlink() else folders).append((place, item.path))
            elif not stat.S_ISREG(state.st_mode):
                found.left.append(Left(item.path, "neither a file nor a folder"))
            elif item.is_symlink():
                linked.append((Entry(place, item.path, _state(state)), _identity(state)))
            else:
                found.entries.append(Entry(place, item.path, _state(state)))
                files.add(_identity(state))
    for entry, identity in linked:
        if identity in files:
            found.left.append(Left(str(entry), "a link to a file that is there already"))
        else:
            found.entries.append(entry)
            files.add(identity)
    return found


def _of_zip(path: Path) -> Tree:
    found, state = Tree(), _state(path.stat())
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"data: {path} is no zip that can be read: {error}", "Pack it again, or unpack it.") from error
    for name, info in members.items():
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if parts and not any(_unseen(part) for part in parts):
            found.entries.append(Entry(parts, str(path), (info.file_size, info.CRC, *state), name))
    return found


def _leave_out_runs(found: Tree, source: Path) -> None:
    """Drop folders that hold a run or a card of zoo: their pictures were made, not given.

    DataError if the source is such a folder itself.
    """
    names: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for entry in found.entries:
        names[entry.parts[:-1]].add(entry.name)
    runs = {parts for parts, held in names.items() if PLAN in held or {CONFIG, WEIGHTS} <= held}
    if () in runs or (source.name == "samples" and (source.parent / PLAN).is_file()):
        raise DataError(
            f"data: {source} belongs to a run or a card of zoo, whose pictures were made by a model",
            "Give the folder of your own images: --data FOLDER",
        )
    if runs:
        inside = [any(entry.parts[:n] in runs for n in range(len(entry.parts))) for entry in found.entries]
        found.entries = [entry for entry, made in zip(found.entries, inside, strict=True) if not made]
        found.left += [Left(str(source.joinpath(*parts)), "a run or a card of zoo") for parts in sorted(runs)]


def _unseen(name: str) -> bool:
    return name.startswith(".") or name.lower() in UNSEEN


def _state(state: os.stat_result) -> State:
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino
