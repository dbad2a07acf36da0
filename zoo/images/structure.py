"""What a decoder may see of an image file: the parts that make its picture, and not too many of them.

A file may hold much beside its picture: profiles, comments, previews, further frames. A hostile one holds little else,
and keeps a decoder busy or fills the memory. Each function here walks once over the parts of a file of one format and
decodes none. It returns what the picture needs. So the cost of a picture follows from its pixels, whatever else its
file carries. For a wrong structure it raises ValueError, and IndexError or struct.error for a file that ends too early.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack_from

MAX_PARTS = 200_000
"""Parts that a file may have. A PNG of 100 megapixels has about 40,000."""
MAX_TABLES = 1_000
"""Tables of a JPEG or boxes of a HEIC, which every decoder reads. A photograph has about ten."""
MAX_SCANS = 64
"""Scans of a JPEG. Each goes over all pixels again; a progressive photograph has about ten."""
MAX_RUNS = 1 << 20
"""Bytes of a compressed BMP. Pillow decodes them slowly."""

ORIENTATION = 274
"""The tag of EXIF that says how a picture is turned."""


@dataclass(frozen=True)
class Essence:
    """The parts of a file that make its picture."""

    data: bytes
    orientation: int = 1
    """How the picture must be turned, 1 to 8 as EXIF numbers it. 1 also where the decoder turns it."""


def too_many(what: str, limit: int) -> ValueError:
    return ValueError(f"it has more than {limit:,} {what}; no picture needs so many")


def orientation(exif: bytes) -> int:
    """How a picture is turned, 1 to 8, as its EXIF data say; 1 if they say nothing or are broken."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = ">" if exif[:2] == b"MM" else "<"
    try:
        (place,) = unpack_from(order + "I", exif, 4)
        for number in range(unpack_from(order + "H", exif, place)[0]):
            tag, kind, many, value = unpack_from(order + "HHIH", exif, place + 2 + 12 * number)
            if tag == ORIENTATION:
                return value if kind == 3 and many == 1 and 1 <= value <= 8 else 1
    except struct.error:  # it ends too early
        pass
    return 1


def png(data: bytes) -> Essence:
    """The header, the palette, the transparency, and all pixels in one chunk. Further frames are left out."""
    kept: dict[bytes, list[memoryview]] = {b"IHDR": [], b"PLTE": [], b"tRNS": [], b"IDAT": []}
    view, turn = memoryview(data), 1
    for kind, start, end in _png_chunks(data):
        if kind in kept:
            if zlib.crc32(view[start - 4 : end]) != unpack_from(">I", data, end)[0]:
                raise ValueError(f"its part {kind.decode()} has a broken checksum")
            kept[kind].append(view[start:end])
        elif kind == b"eXIf":
            turn = orientation(data[start:end])
    chunks = [_png_chunk(kind, b"".join(content)) for kind, content in kept.items() if content]
    return Essence(b"".join([data[:8], *chunks, _png_chunk(b"IEND", b"")]), turn)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk, and where its content starts and ends."""
    at, kind = 8, b""
    for _ in range(MAX_PARTS):
        length, kind = unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        yield kind, at + 8, at + 8 + length
        at += length + 12
    raise too_many("parts", MAX_PARTS)


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join([struct.pack(">I4s", len(content), kind), content, struct.pack(">I", zlib.crc32(kind + content))])


FILL = re.compile(rb"\xff+")
AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker that ends the coded pixels of a scan: neither an escaped byte, nor a restart, nor one that fills."""


def jpeg(data: bytes) -> Essence:
    """The tables and the scans of the first picture. Of the application's segments only those that tell its colours."""
    view, kept, at, scans, turn = memoryview(data), [memoryview(data)[:2]], 2, 0, 0
    for _ in range(MAX_PARTS):
        start, marker, at = _jpeg_marker(data, at)
        if marker == 0xD9:  # the end
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # a marker without a segment
            continue
        at += unpack_from(">H", data, at)[0]
        content = data[start + 4 : start + 14]
        if marker == 0xE1 and content.startswith(b"Exif\0\0"):
            turn = turn or orientation(data[start + 10 : at])
        elif marker == 0xDA:
            scans += 1
            found = AFTER_SCAN.search(data, at)
            at = found.start() if found else len(data)
            kept.append(view[start:at])
            if not found:  # cut short: how much is missing is for the decoder to say
                break
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE) or content.startswith((b"JFIF\0", b"Adobe")):
            kept.append(view[start:at])
        if scans > MAX_SCANS:
            raise too_many("scans", MAX_SCANS)
        if len(kept) > MAX_TABLES:
            raise too_many("tables", MAX_TABLES)
    else:
        raise too_many("parts", MAX_PARTS)
    return Essence(b"".join([*kept, b"\xff\xd9"] if marker == 0xD9 else kept), turn or 1)


def _jpeg_marker(data: bytes, at: int) -> tuple[int, int, int]:
    """Where a marker starts, which it is, and where what follows it starts."""
    fill = FILL.match(data, at)
    if fill is None:
        raise IndexError(at) if at >= len(data) else ValueError(f"expected a marker at byte {at}")
    return fill.end() - 1, data[fill.end()], fill.end() + 1


def webp(data: bytes) -> Essence:
    """The picture with its transparency; of an animation the first frame."""
    view, kept, at, turn = memoryview(data), list[memoryview](), 12, 1
    wanted = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
    for _ in range(MAX_PARTS):
        if at >= len(data) - 7:
            break
        kind, length = unpack_from("<4sI", data, at)
        end = at + 8 + length
        if end > len(data):
            raise IndexError(end)
        if kind in wanted:
            wanted.remove(kind)  # another of its kind is a further frame
            kept.append(view[at : end + length % 2])
        elif kind == b"EXIF":
            turn = orientation(data[at + 8 : end])
        at = end + length % 2
    else:
        raise too_many("parts", MAX_PARTS)
    body = b"".join(kept)
    return Essence(struct.pack("<4sI4s", b"RIFF", len(body) + 4, b"WEBP") + body, turn)


def gif(data: bytes) -> Essence:
    """The colours and what follows from the first frame on. A decoder stops behind that frame."""
    at, control, start = 13 + _gif_colours(data, 10), b"", 0
    head = data[:at]
    for _ in range(MAX_PARTS):
        if start and data[at]:  # a piece of an extension, which begins with its length
            at += data[at] + 1
        elif start:  # the end of the extension
            at += 1
            control = data[start:at] if data[start + 1] == 0xF9 else control
            start = 0
        elif data[at] == 0x2C:  # a frame
            return Essence(b"".join([head, control, memoryview(data)[at:]]))
        elif data[at] == 0x21:
            start, at = at, at + 2
        else:
            raise ValueError("it has no picture")
    raise too_many("parts", MAX_PARTS)


def _gif_colours(data: bytes, at: int) -> int:
    """Bytes of the palette that flags announce."""
    return 3 << (data[at] & 7) + 1 if data[at] & 0x80 else 0


def bmp(data: bytes) -> Essence:
    (header,) = unpack_from("<I", data, 14)
    if header >= 40 and unpack_from("<I", data, 30)[0] in (1, 2) and len(data) > MAX_RUNS:
        raise ValueError(f"a compressed BMP of {len(data)} bytes; expected at most {MAX_RUNS}")
    return Essence(data)
