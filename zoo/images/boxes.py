"""The structure of HEIC and AVIF: boxes in boxes. One of them, `meta`, says of which pieces the picture consists."""

from collections.abc import Iterator
from struct import unpack_from

from zoo.images.structure import Essence, too_many

MAX_BOXES = 10_000
MAX_META = 256 << 10
"""Bytes that say of which pieces a picture consists, without colour profiles. A phone writes about 4,000."""

HIDDEN = {b"Exif", b"mime"}
"""Kinds of pieces beside the picture. The picture is turned by a box of its own, so nothing in them is needed."""


def boxes(data: bytes) -> Essence:
    """The file, with the pieces beside its picture renamed, so that no decoder reads them."""
    out, size = bytearray(data), 0
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind in (b"meta", b"moov"):
            size += end - start - (_profiles(data, start + 4, end) if kind == b"meta" else 0)
            if size > MAX_META:
                raise ValueError(f"more than {MAX_META:,} bytes say how its picture is put together")
        if kind == b"meta":
            for inner, begin, stop in _boxes(data, start + 4, end):
                if inner == b"iinf":
                    _hide(out, begin, stop)
                elif inner == b"iloc" and _pieces(data, begin, stop) > 2 * len(data):
                    raise ValueError("its pieces hold more bytes than the file")
    return Essence(bytes(out))


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each box in a part of the file, and where its content starts and ends."""
    for _ in range(MAX_BOXES):
        if at >= end:
            return
        size, kind = unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            (size,), start = unpack_from(">Q", data, start), start + 8
        stop = at + size if size else end
        if not start <= stop <= end:
            raise IndexError(stop)
        yield kind, start, stop
        at = stop
    raise too_many("boxes", MAX_BOXES)


def _profiles(data: bytes, at: int, end: int) -> int:
    """Bytes of the colour profiles in a box `meta`, whose content starts there."""
    for name in (b"iprp", b"ipco"):
        at, end = next(((start, stop) for kind, start, stop in _boxes(data, at, end) if kind == name), (end, end))
    return sum(stop - start for kind, start, stop in _boxes(data, at, end) if kind == b"colr")


def _hide(out: bytearray, at: int, end: int) -> None:
    """Rename the pieces of HIDDEN in the list of pieces, which is there in the file."""
    at += 6 if out[at] == 0 else 8
    for kind, start, _ in _boxes(bytes(out[:end]), at, end):
        place = start + (8 if out[start] == 2 else 10)
        if kind == b"infe" and out[start] >= 2:
            if out[place : place + 4] == b"iovl":
                raise ValueError("it lays several pictures over each other")
            if bytes(out[place : place + 4]) in HIDDEN:
                out[place : place + 4] = b"skip"


def _pieces(data: bytes, at: int, end: int) -> int:
    """Bytes of all pieces, as the list of their places tells them."""
    version = data[at]
    offset, length, base, index = data[at + 4] >> 4, data[at + 4] & 15, data[at + 5] >> 4, data[at + 5] & 15
    if length not in (4, 8):
        raise ValueError("its pieces have no length")
    index = index if version else 0
    wide = version == 2
    (count,) = unpack_from(">I" if wide else ">H", data, at + 6)
    at, total = at + (10 if wide else 8), 0
    for _ in range(count):
        at += (4 if wide else 2) + (2 if version else 0) + 2 + base
        (extents,) = unpack_from(">H", data, at)
        at += 2
        for _ in range(extents):
            at += index + offset + length
            if at > end:
                raise IndexError(at)
            total += int.from_bytes(data[at - length : at], "big") or len(data)
    return total
