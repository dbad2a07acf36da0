"""Decoded images on disk, so that a data set is decoded once and not at every start.

A file is named after all that decides about its content, and holds a checksum and then the bytes of the images:
whatever has changed has another name, and whatever is damaged is found out and decoded anew. ZOO_CACHE names the
folder; "off" turns the cache off. Nothing in it is ever needed: it may be deleted at any time, and a disk that cannot
take it costs a warning.
"""

import hashlib
import math
import os
import time
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.files import TEMPORARY, sweep, to_json, write_atomically

CHECKSUM = 32
"""Bytes of the sha256 at the head of a file."""
UNUSED = 30 * 86_400
"""Seconds after which a file that no run has read is removed."""


def location() -> Path | None:
    """The cache folder: $ZOO_CACHE, else zoo/data under $XDG_CACHE_HOME or ~/.cache. None when there is to be none."""
    given = os.environ.get("ZOO_CACHE")
    if given == "off":
        return None
    try:
        if given:
            return Path(given).expanduser()
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return (base if base.is_absolute() else Path.home() / ".cache") / "zoo" / "data"
    except RuntimeError:  # nobody's home
        return None


def key(**facts: object) -> str:
    """A name for what these facts (JSON) lead to."""
    return hashlib.sha256(to_json(facts).encode()).hexdigest()


def listing(folder: Path) -> str:
    """Hex digest of every file in a folder: path, size, and times of writing and of any change to the file.

    The second time cannot be set: it tells a file that was replaced by another of the same size and date.
    """
    digest = hashlib.sha256()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            with suppress(FileNotFoundError):  # a link to nowhere
                state = path.stat()
                facts = (str(path.relative_to(folder)), state.st_size, state.st_mtime_ns, state.st_ctime_ns)
                digest.update(repr(facts).encode())
    return digest.hexdigest()


def read(name: str, shape: tuple[int, ...]) -> Tensor | None:
    """The uint8 tensor of that name and shape, or None if it is not there or not whole."""
    folder = location()
    if folder is None:
        return None
    path, size = folder / f"{name}.images", math.prod(shape)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != CHECKSUM + size:
                return None
            checksum = file.read(CHECKSUM)
            values = np.empty(size, dtype=np.uint8)
            if file.readinto(values.data) != size or _checksum(name, values) != checksum:
                return None
        with suppress(OSError):  # a cache that may only be read
            os.utime(path)
    except OSError:
        return None
    return torch.from_numpy(values).reshape(shape)


def write(name: str, images: Tensor) -> None:
    """Keep a uint8 tensor under that name, whole or not at all. A failure is a warning."""
    folder = location()
    if folder is None:
        return
    values = images.contiguous().numpy().reshape(-1)

    def fill(path: Path) -> None:
        with path.open("wb") as file:
            file.write(_checksum(name, values))
            file.write(values.data)

    try:
        write_atomically(folder / f"{name}.images", fill)
        _tidy(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"decoded images are not kept in {folder}: {reason}; ZOO_CACHE names another folder, or 'off'"
        warnings.warn(message, stacklevel=2)


def _tidy(folder: Path) -> None:
    """Remove what no run has read for long, and what a killed process left behind."""
    sweep(folder)
    for path in folder.glob("*.images"):
        with suppress(FileNotFoundError):  # another process tidies too
            if not path.name.startswith(TEMPORARY) and time.time() - path.stat().st_mtime > UNUSED:
                path.unlink()


def _checksum(name: str, values: "np.typing.NDArray[np.uint8]") -> bytes:
    """Of the name as well: a file under another's name is no file of that name."""
    digest = hashlib.sha256(name.encode())
    digest.update(values.data)
    return digest.digest()
