"""Opens image files, and refuses those that are broken, hostile or too large, before they are decoded."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from zoo.errors import FormatError, InputError, NotFoundError, ZooError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_SIDE = 4096
"""The longest side of an input, in pixels. A larger one is refused before it is decoded."""
MAX_BYTES = 64 << 20


def open_image(path: Path) -> Image.Image:
    """A decoded image file, upright. Before decoding it checks the format, the bytes, the pixels and the single frame.

    Raises NotFoundError, FormatError and InputError as `prepare` does.
    """
    try:
        if not path.is_file():
            raise NotFoundError(f"{path}: no such image file")
        if path.stat().st_size > MAX_BYTES:
            raise FormatError(f"{path}: {path.stat().st_size} bytes; an input image may have at most {MAX_BYTES}")
        return decode_image(path.read_bytes(), str(path))
    except OSError as error:  # a name too long, no permission
        raise NotFoundError(f"{str(path)[:200]}: cannot be read as a file: {error.strerror}") from error


def decode_image(data: bytes, where: str) -> Image.Image:
    """The same as `open_image`, from bytes. where: what errors call them."""
    with refusing(where), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return upright(picture, where)


@contextmanager
def refusing(where: str) -> Iterator[None]:
    try:
        yield
    except ZooError:
        raise
    except UnidentifiedImageError as error:
        raise FormatError(f"{where}: not a PNG, JPEG or WebP image") from error
    except Exception as error:  # Pillow raises many kinds for broken input
        raise FormatError(f"{where}: {error}") from error


def upright(picture: Image.Image, where: str) -> Image.Image:
    """The image decoded, and turned as its EXIF data says. Its size and its number of frames are checked first."""
    check_size(picture.size, where)
    frames = getattr(picture, "n_frames", 1)
    # A phone's JPEG may hold a preview or a depth map as well (MPO); the photograph is always the first.
    if frames > 1 and picture.format != "MPO":
        raise FormatError(f"{where}: an animation of {frames} frames; expected a still image")
    picture.load()
    return ImageOps.exif_transpose(picture)


def check_size(size: tuple[int, int], where: str) -> None:
    if max(size) > MAX_SIDE or min(size) < 1:
        raise InputError(
            f"{where}: {size[0]}x{size[1]} pixels; expected 1 to {MAX_SIDE} on a side", "Make the image smaller first."
        )
