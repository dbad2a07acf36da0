"""Opens image files, and refuses those that are broken, hostile or too large, before they are decoded."""

import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from zoo.errors import FormatError, InputError, NotFoundError, ZooError
from zoo.extras import require
from zoo.files import refuse_pointer
from zoo.images import structure
from zoo.images.boxes import boxes
from zoo.images.structure import Essence
from zoo.images.tiff import tiff

MAX_PIXELS = 200_000_000
"""Pixels of the largest picture that is read, if the variable ZOO_MAX_PIXELS says no other number."""
MAX_SIDE = 65_535
BASE_BYTES = 64 << 20
"""Bytes that a file may have beyond 8 for each pixel: previews, depth maps, a short film."""


def _heif(file: io.BytesIO) -> ImageFile.ImageFile:
    from pillow_heif import HeifImageFile

    opened: ImageFile.ImageFile = HeifImageFile(file)  # type: ignore[no-untyped-call,unused-ignore]
    return opened


@dataclass(frozen=True)
class Format:
    """A kind of image file: how it is known, what of it a decoder sees, and which one."""

    name: str
    suffixes: tuple[str, ...]
    begins: Callable[[bytes], bool]
    """Whether a file that begins with these bytes is of this format."""
    essence: Callable[[bytes], Essence]
    decoder: Callable[[io.BytesIO], ImageFile.ImageFile]
    extra: str = ""


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    """Whether the first box names one of these brands: after its own come those it is compatible with."""
    return lambda head: (
        head[4:8] == b"ftyp"
        and any(head[at : at + 4] in brands for at in range(8, min(int.from_bytes(head[:4], "big"), len(head)), 4))
    )


FORMATS = (
    Format("PNG", (".png", ".apng"), lambda h: h.startswith(b"\x89PNG\r\n\x1a\n"), structure.png, PngImageFile),
    Format(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        lambda h: h.startswith(b"\xff\xd8\xff"),
        structure.jpeg,
        JpegImageFile,
    ),
    Format("WebP", (".webp",), lambda h: h[:4] == b"RIFF" and h[8:12] == b"WEBP", structure.webp, WebPImageFile),
    Format("BMP", (".bmp", ".dib"), lambda h: h.startswith(b"BM"), structure.bmp, BmpImageFile),
    Format(
        "TIFF",
        (".tif", ".tiff"),
        lambda h: h.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
        tiff,
        TiffImageFile,
    ),
    Format("GIF", (".gif",), lambda h: h.startswith((b"GIF87a", b"GIF89a")), structure.gif, GifImageFile),
    Format("AVIF", (".avif",), _brand(b"avif", b"avis"), boxes, AvifImageFile),
    Format(
        "HEIC",
        (".heic", ".heif", ".hif"),
        _brand(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        boxes,
        _heif,
        extra="heic",
    ),
)
SUFFIXES = frozenset(suffix for kind in FORMATS for suffix in kind.suffixes)
"""Suffixes of the files that are read, in lower case. What a file is, its first bytes say."""


def max_pixels() -> int:
    """Pixels of the largest picture that is read: ZOO_MAX_PIXELS, or MAX_PIXELS. InputError if it is no number."""
    given = os.environ.get("ZOO_MAX_PIXELS", "")
    if given and not (given.isascii() and given.isdecimal() and int(given)):
        raise InputError(f"ZOO_MAX_PIXELS is {given!r}", "Set it to a whole number of pixels, for instance 400000000.")
    return int(given or MAX_PIXELS)


def open_image(path: Path, need: int | None = None) -> Image.Image:
    """A decoded image file, upright. need: see `decode_image`.

    Raises NotFoundError, FormatError and InputError as `prepare` does.
    """
    try:
        if not path.is_file():
            raise NotFoundError(f"{path}: no such image file")
        _check_bytes(path.stat().st_size, max_pixels(), str(path))
        return decode_image(path.read_bytes(), str(path), need)
    except OSError as error:  # a name too long, no permission
        raise NotFoundError(f"{str(path)[:200]}: cannot be read as a file: {error.strerror}") from error


def decode_image(data: bytes, where: str, need: int | None = None) -> Image.Image:
    """The picture in the bytes of a file, upright. Of several frames or pages it is the first.

    Before it is decoded, its format, structure, bytes and pixels are checked.
    where: what errors call the file. need: pixels that are needed on the shorter side. A JPEG that has more may be
    decoded at a half, a quarter or an eighth of its size, if at least so many are left. Without it, nothing is reduced.
    """
    with refusing(where):
        kind = next((kind for kind in FORMATS if kind.begins(data[:128])), None)
        if kind is None:
            refuse_pointer(data[:128], where)
            raise FormatError(f"{where}: {_unknown(data)}")
        if kind.extra:
            require(kind.extra, f"{where}: to read {kind.name}")
        essence = kind.essence(data)
        with kind.decoder(io.BytesIO(essence.data)) as picture:
            check_size(picture.size, where)
            _check_bytes(len(data), picture.width * picture.height, where)
            if need:
                picture.draft(None, (need, need))
            picture.load()
            return _turned(picture, essence.orientation)


def _unknown(data: bytes) -> str:
    """What a file is that is no image."""
    if not data:
        return "the file is empty"
    names = [kind.name for kind in FORMATS]
    return f"not a {', '.join(names[:-1])} or {names[-1]} image"


def upright(picture: Image.Image, where: str) -> Image.Image:
    """An opened picture, decoded and turned as its EXIF data say. Its size is checked first."""
    with refusing(where):
        check_size(picture.size, where)
        picture.load()
        return _turned(picture, picture.getexif().get(structure.ORIENTATION, 1))


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Whatever is wrong with a file becomes a FormatError that names it."""
    try:
        yield
    except ZooError:
        raise
    except (struct.error, IndexError) as error:
        raise FormatError(f"{where}: the file ends too early") from error
    except Exception as error:  # Pillow raises many kinds for broken input
        raise FormatError(f"{where}: {error}") from error


def check_size(size: tuple[int, int], where: str) -> None:
    """InputError for a picture without pixels, or with more than may be read."""
    if min(size) < 1 or max(size) > MAX_SIDE:
        raise InputError(f"{where}: {size[0]}x{size[1]} pixels; expected 1 to {MAX_SIDE} on a side")
    if size[0] * size[1] > max_pixels():
        raise InputError(
            f"{where}: {size[0]}x{size[1]} pixels are more than the {max_pixels():,} that may be read",
            "Make the image smaller first, or set the variable ZOO_MAX_PIXELS to a larger number.",
        )


def max_bytes(pixels: int) -> int:
    """The most bytes that the file of a picture of so many pixels may have."""
    return BASE_BYTES + 8 * pixels


def _check_bytes(size: int, pixels: int, where: str) -> None:
    most = max_bytes(pixels)
    if size > most:
        raise FormatError(f"{where}: {size:,} bytes; a file of at most {pixels:,} pixels may have {most:,}")
