"""Files that are either complete or not there: write a temporary file, flush it to the disk, rename it."""

import hashlib
import json
import math
import os
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zoo.errors import FormatError

TEMPORARY = ".zoo-tmp-"
MAX_DEPTH = 64
POINTER = b"version https://git-lfs"
"""How a pointer of Git LFS begins."""


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, limit: int = 1 << 20) -> Any:
    """The JSON in a file of at most `limit` bytes. Anything that `parse_json` refuses is a FormatError."""
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    if path.stat().st_size > limit:
        raise FormatError(f"{path}: {path.stat().st_size} bytes, at most {limit} expected")
    return parse_json(path.read_bytes(), str(path))


def parse_json(data: bytes, where: str) -> Any:
    """Strict JSON: unique keys, finite numbers, lists and objects at most 64 deep."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise FormatError(f"{where}: key {twice[:60]!r} appears twice")
        return found

    def finite(text: str) -> float:
        number = float(text)  # the words NaN and Infinity come here too, and 1e999 is infinite
        if not math.isfinite(number):
            raise FormatError(f"{where}: {text[:60]} is not a finite number")
        return number

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_float=finite, parse_constant=finite)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        refuse_pointer(data, where)
        raise FormatError(f"{where}: not valid JSON: {error}") from error
    if _deeper(value, MAX_DEPTH):
        raise FormatError(f"{where}: lists and objects more than {MAX_DEPTH} deep")
    return value


def refuse_pointer(beginning: bytes, where: str) -> None:
    """FormatError for what git holds in the place of a large file, if the file itself was not fetched."""
    if beginning.startswith(POINTER[: len(beginning)]) and beginning:
        raise FormatError(
            f"{where}: this is a pointer of Git LFS, not the file itself; 'git lfs pull' fetches the files of a clone"
        )


def _deeper(value: Any, limit: int) -> bool:
    """Whether lists and dicts nest more than `limit` deep. It goes level by level, since recursion could overflow."""
    level = [value]
    for _ in range(limit):
        nested = [item for item in level if type(item) in (list, dict)]
        level = [child for item in nested for child in (item.values() if type(item) is dict else item)]
    return any(type(item) in (list, dict) for item in level)


def to_json(value: Any) -> str:
    """Indented JSON. Equal values give equal text."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary path)`, then move the result to `path`. If anything fails, the old file stays as it was."""
    with atomically(path) as temporary:
        write(temporary)


@contextmanager
def atomically(path: Path, flush: bool = True) -> Iterator[Path]:
    """A temporary path to write to. It becomes `path` when all is written; if anything fails, the old file stays.

    The temporary file has the same suffix, because image writers take the format from it. flush: whether the file is on
    the disk at the end. Whoever writes many files says False, and flushes their folder once. A killed process leaves
    only complete files then, too. But if the machine loses its power soon after, files may be cut short.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}{path.suffix}"
    try:
        yield temporary
        if flush:
            fsync(temporary)
        os.replace(temporary, path)
        if flush:
            fsync(path.parent)
    except OSError as error:
        if error.filename == str(temporary):  # a name that tells nobody anything
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill. On success one rename makes it `path`; on failure nothing is left of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        yield temporary
        for file in (*temporary.rglob("*"), temporary):
            fsync(file)
        os.rename(temporary, path)
        fsync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def fsync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, older_than: float = 3600.0) -> None:
    """Remove temporary files that a killed process left in `folder`. older_than: seconds since they were changed."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with suppress(FileNotFoundError):  # its owner may finish now, or another process may sweep too
            if time.time() - path.lstat().st_mtime > older_than:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
