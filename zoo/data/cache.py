"""Decoded images on the disk, so that a data set is decoded once and not at every start.

The name of a file follows from all that its content depends on. So changed data have another name. The file holds a
checksum and then the bytes of the images, so a damaged file is recognised, and its images are decoded again. ZOO_CACHE
names the folder of the cache; "off" turns it off. The folder may be deleted at any time. If it cannot be written, there
is only a warning.
"""

import hashlib
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
"""Bytes of the sha256 at the start of a file."""
UNUSED = 30 * 86_400
"""Seconds after which a file that no run has read is removed."""


def location() -> Path | None:
    """The cache folder: $ZOO_CACHE, else zoo/data under $XDG_CACHE_HOME or ~/.cache. None if the cache is off."""
    given = os.environ.get("ZOO_CACHE")
    if given == "off":
        return None
    try:
        if given:
            return Path(given).expanduser()
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return (base if base.is_absolute() else Path.home() / ".cache") / "zoo" / "data"
    except RuntimeError:  # there is no home folder
        return None


def key(**facts: object) -> str:
    """A name that follows from these facts (JSON)."""
    return hashlib.sha256(to_json(facts).encode()).hexdigest()


def read(name: str, size: int) -> Tensor | None:
    """The uint8 tensor (size,) of that name; None if it is not there or damaged."""
    folder = location()
    if folder is None:
        return None
    path = folder / f"{name}.images"
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != CHECKSUM + size:
                return None
            checksum = file.read(CHECKSUM)
            values = np.empty(size, dtype=np.uint8)
            if file.readinto(values.data) != size or _checksum(name, values) != checksum:
                return None
        with suppress(OSError):  # the cache may be read-only
            os.utime(path)
    except OSError:
        return None
    return torch.from_numpy(values)


def write(name: str, *parts: Tensor) -> None:
    """Store uint8 tensors under that name, one after the other. A file appears only once it is complete. If this fails,
    zoo warns."""
    folder = location()
    if folder is None:
        return
    values = [part.contiguous().numpy().reshape(-1) for part in parts]

    def fill(path: Path) -> None:
        with path.open("wb") as file:
            file.write(_checksum(name, *values))
            for part in values:
                file.write(part.data)

    try:
        write_atomically(folder / f"{name}.images", fill)
        _tidy(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        message = (
            f"decoded images cannot be stored in {folder}: {reason}. They are decoded again at the next start. "
            "Set ZOO_CACHE to another folder, or to 'off'"
        )
        warnings.warn(message, stacklevel=2)


def _tidy(folder: Path) -> None:
    """Remove files that no run has read for 30 days, and files that a killed process left behind."""
    sweep(folder)
    for path in folder.glob("*.images"):
        with suppress(FileNotFoundError):  # another process may have removed it
            if not path.name.startswith(TEMPORARY) and time.time() - path.stat().st_mtime > UNUSED:
                path.unlink()


def _checksum(name: str, *parts: "np.typing.NDArray[np.uint8]") -> bytes:
    """The checksum covers the name too, so a file that was renamed does not match."""
    digest = hashlib.sha256(name.encode())
    for part in parts:
        digest.update(part.data)
    return digest.digest()
