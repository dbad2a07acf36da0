"""Image files that tests build byte by byte: ordinary ones, and those that were made to keep a program busy."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from PIL import Image


def saved(kind: str, *more: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    options |= {"save_all": True, "append_images": list(more)} if more else {}
    Image.linear_gradient("L").convert("RGB").resize((20, 20)).save(buffer, kind, **options)
    return buffer.getvalue()


def flat(mode: str, colour: Any, size: int = 20) -> Image.Image:
    return Image.new(mode, (size, size), colour)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(extra: bytes) -> bytes:
    """A small PNG with chunks after its header."""
    data = saved("PNG")
    return data[:33] + extra + data[33:]


def segment(marker: int, data: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg_with(extra: bytes) -> bytes:
    """A small JPEG with bytes before its first segment."""
    data = saved("JPEG")
    return data[:2] + extra + data[2:]


def progressive(scans: int, side: int) -> bytes:
    """A progressive JPEG that says its last scan again and again."""
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def riff(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def webp_with(extra: bytes) -> bytes:
    """A small WebP with chunks behind its picture."""
    data = saved("WEBP", lossless=True)
    body = riff(b"VP8X", struct.pack("<I", 0x2C) + (19).to_bytes(3, "little") * 2) + data[12:] + extra
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_claiming(side: int) -> bytes:
    """The header of a lossless WebP of that size, with next to nothing behind it."""
    data = b"\x2f" + struct.pack("<I", (side - 1) | ((side - 1) << 14)) + bytes(21)
    return b"RIFF" + struct.pack("<I", len(data) + 12) + b"WEBPVP8L" + struct.pack("<I", len(data)) + data


def one_bit(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def gif_with(extra: bytes) -> bytes:
    """A small GIF with blocks before its picture."""
    data = saved("GIF")
    start = 13 + (3 << (data[10] & 7) + 1)
    return data[:start] + extra + data[start:]


Tag = tuple[int, int, int, bytes]
"""A tag of TIFF: its number, type, count of values, and the four bytes with its value or the place of its values."""


def tiff_of(*tags: Tag, size: tuple[int, int] = (20, 20), behind: bytes = b"", folder: bytes | None = None) -> bytes:
    """A grey TIFF: the header, 8 bytes of nothing, its pixels, what a test puts behind them, its tags."""
    pixels = bytes(400)
    plain = {
        256: short(256, size[0]),
        257: short(257, size[1]),
        258: short(258, 8),
        259: short(259, 1),
        262: short(262, 1),
        273: (273, 4, 1, struct.pack("<I", 16)),
        277: short(277, 1),
        278: short(278, size[1]),
        279: (279, 4, 1, struct.pack("<I", 400)),
    } | {tag[0]: tag for tag in tags}
    if folder is None:
        entries = b"".join(struct.pack("<HHI", *plain[tag][:3]) + plain[tag][3] for tag in sorted(plain))
        folder = struct.pack("<H", len(plain)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 16 + 400 + len(behind)) + bytes(8) + pixels + behind + folder


def short(tag: int, value: int) -> Tag:
    return tag, 3, 1, struct.pack("<HH", value, 0)


def many_tags(count: int, large: int) -> bytes:
    """Tags that all claim the same bytes of the file as their own."""
    tags = b"".join(struct.pack("<HHII", 40000 + i % 20000, 7, large, 16) for i in range(count))
    return tiff_of(behind=bytes(large), folder=struct.pack("<H", count) + tags + bytes(4))


def pages(count: int) -> bytes:
    """A TIFF of one picture and so many pages without any."""
    first = tiff_of()
    behind = b"".join(struct.pack("<HI", 0, len(first) + 6 * (i + 1)) for i in range(count))
    return first[:-4] + struct.pack("<I", len(first)) + behind + bytes(6)


def strips(count: int) -> bytes:
    """A compressed TIFF of many strips of one row, all of which claim most of the file."""
    table = struct.pack(f"<{count}I", *[16] * count)
    lengths = struct.pack(f"<{count}I", *[4 << 20] * count)
    place = 16 + 400
    return tiff_of(
        short(259, 32946),
        short(278, 1),
        (273, 4, count, struct.pack("<I", place)),
        (279, 4, count, struct.pack("<I", place + len(table))),
        size=(20, count),
        behind=table + lengths + bytes(4 << 20),
    )


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I", len(data) + 8) + kind + data


def avif_with(extra: bytes) -> bytes:
    """A small AVIF with boxes behind its first."""
    data = saved("AVIF")
    (first,) = struct.unpack_from(">I", data)
    return data[:first] + extra + data[first:]


@cache
def inflates() -> bytes:
    """64 MB of zeros in 64 kB."""
    return zlib.compress(bytes(64 << 20), 1)


def filled(one: bytes, size: int = 16 << 20) -> bytes:
    """The same bytes again and again, 16 MB of them."""
    return one * (size // len(one))


def exif_of(entries: int) -> bytes:
    """EXIF data of so many tags, all of which claim the same 64 kB."""
    tags = b"".join(struct.pack("<HHII", i, 7, 60_000, 8) for i in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + tags + bytes(60_000)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "PNG: 300 million pixels": lambda: png_claiming(17_500),
    "PNG: 64 MB in a zTXt chunk": lambda: png_with(chunk(b"zTXt", b"comment\0\0" + inflates())),
    "PNG: 64 MB in an iTXt chunk": lambda: png_with(chunk(b"iTXt", b"comment\0\1\0\0\0" + inflates())),
    "PNG: 64 MB in a colour profile": lambda: png_with(chunk(b"iCCP", b"profile\0\0" + inflates())),
    "PNG: a million empty private chunks": lambda: png_with(filled(chunk(b"prVt", b""))),
    "PNG: a million empty chunks of pixels": lambda: png_with(filled(chunk(b"IDAT", b""))),
    "PNG: a million empty texts": lambda: png_with(filled(chunk(b"tEXt", b"a\0"))),
    "PNG: EXIF of 5,000 times the same": lambda: png_with(chunk(b"eXIf", exif_of(5_000))),
    "PNG: 16 MB of text": lambda: png_with(chunk(b"tEXt", b"a\0" + bytes(16 << 20))),
    "PNG: 400,000 frames": lambda: png_with(chunk(b"acTL", bytes(8)) + filled(chunk(b"fcTL", bytes(26)))),
    "JPEG: 4 million empty segments": lambda: jpeg_with(filled(segment(0xE1))),
    "JPEG: 4 million empty comments": lambda: jpeg_with(filled(segment(0xFE))),
    "JPEG: 16 MB that fills": lambda: jpeg_with(filled(b"\xff")),
    "JPEG: 8 million markers without a segment": lambda: jpeg_with(filled(b"\xff\xd0")),
    "JPEG: 250 segments of EXIF": lambda: jpeg_with(filled(segment(0xE1, b"Exif\0\0" + bytes(60_000)))),
    "JPEG: Photoshop's data without end": lambda: jpeg_with(
        filled(segment(0xED, b"Photoshop 3.0\0" + filled(b"8BIM\4\4\0\0\0\0\0\0", 60_000)))
    ),
    "JPEG: 100,000 tables": lambda: jpeg_with(filled(segment(0xDB, b"\0" + bytes([1] * 64)), 7 << 20)),
    "JPEG: 3,000 scans": lambda: progressive(3_000, 4_000),
    "JPEG: EXIF of 5,000 times the same": lambda: jpeg_with(segment(0xE1, b"Exif\0\0" + exif_of(400))),
    "WebP: 268 million pixels": lambda: webp_claiming(16_383),
    "WebP: 2 million empty chunks": lambda: webp_with(filled(riff(b"junk", b""))),
    "WebP: 300,000 frames": lambda: webp_with(filled(riff(b"ANMF", bytes(40)))),
    "WebP: EXIF of 65,000 times the same": lambda: webp_with(riff(b"EXIF", exif_of(65_000))),
    "GIF: 4 billion pixels": lambda: b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\0\0\0" + saved("GIF")[13:],
    "GIF: 4 million empty extensions": lambda: gif_with(filled(b"\x21\xfe\0")),
    "GIF: a comment of 16 MB in pieces of a byte": lambda: gif_with(b"\x21\xfe" + filled(b"\1x") + b"\0"),
    "GIF: comments of 64 kB without end": lambda: gif_with(filled(b"\x21\xfe" + filled(b"\1x", 1 << 16) + b"\0")),
    "GIF: 16 MB of nothing": lambda: gif_with(bytes(16 << 20)),
    "BMP: 4 million steps of no pixel": lambda: bmp_of_runs(filled(b"\0\2\0\0")),
    "BMP: half a megabyte of steps of no pixel": lambda: bmp_of_runs(filled(b"\0\2\0\0", 1 << 19)),
    "BMP: 190 million pixels and nothing behind": lambda: bmp_claiming(13_800),
    "TIFF: 60,000 tags that claim the same 8 MB": lambda: many_tags(60_000, 8 << 20),
    "TIFF: 4,000 tags that claim the same 8 MB": lambda: many_tags(4_000, 8 << 20),
    "TIFF: 200,000 pages": lambda: pages(200_000),
    "TIFF: a page that follows itself": lambda: tiff_of()[:-4] + struct.pack("<I", 416),
    "TIFF: EXIF of 60,000 tags that claim the same": lambda: tiff_with_exif(60_000, 8 << 20),
    "TIFF: EXIF that is its own EXIF": lambda: tiff_of((34665, 4, 1, struct.pack("<I", 416))),
    "TIFF: 10,000 strips that claim the same 4 MB": lambda: strips(10_000),
    "TIFF: tiles of 4 billion pixels": lambda: tiff_of(
        (322, 4, 1, struct.pack("<I", 1 << 16)), (323, 4, 1, struct.pack("<I", 1 << 16)), short(259, 8)
    ),
    "TIFF: 15 million numbers": lambda: tiff_of((258, 3, 15 << 20, struct.pack("<I", 416)), behind=bytes(30 << 20)),
    "AVIF: 2 million empty boxes": lambda: avif_with(filled(box(b"free"))),
    "AVIF: 16 MB of pieces": lambda: avif_with(box(b"meta", bytes(4), filled(box(b"free", bytes(92))))),
    "AVIF: 16 MB of film": lambda: avif_with(box(b"moov", filled(box(b"trak", bytes(92))))),
    "AVIF: 10,000 pieces that claim the whole file": lambda: avif_with(
        box(b"meta", bytes(4), box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", 10_000), places(10_000)))
        + bytes(8 << 20)
    ),
    "FITS": lambda: b"SIMPLE  =                    T / a compressed image bomb".ljust(2880) + inflates(),
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "PDF that is a JPEG as well": lambda: b"%PDF-1.7\n" + saved("JPEG"),
}
"""Files of which each would keep a decoder busy for long, or take much memory."""


def png_claiming(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", inflates()) + chunk(b"IEND", b"")


def bmp_claiming(side: int, compression: int = 0, size: int = 0) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, compression, size, 1, 1, 256, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + size, 0, 0, 14 + 40 + 1024) + header + bytes(1024)


def bmp_of_runs(data: bytes) -> bytes:
    """A compressed BMP whose pixels are these commands."""
    return bmp_claiming(20, 1, len(data)) + data


def tiff_with_exif(count: int, large: int) -> bytes:
    tags = b"".join(struct.pack("<HHII", i % 20000, 7, large, 16) for i in range(count))
    exif = struct.pack("<H", count) + tags + bytes(4)
    return tiff_of((34665, 4, 1, struct.pack("<I", 416)), behind=exif + bytes(large))


def places(count: int) -> bytes:
    """Pieces of a file, each 8 MB from its start."""
    return b"".join(struct.pack(">HHHII", i, 0, 1, 0, 8 << 20) for i in range(count))
