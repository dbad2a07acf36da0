"""Images in and out. All values are in [0, 1], and every input is checked in one place, `prepare`."""

import io
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from zoo.errors import FormatError, InputError, NotFoundError, ZooError
from zoo.family.spec import Preparation
from zoo.files import write_atomically
from zoo.values import as_tensor

if TYPE_CHECKING:
    import numpy.typing as npt

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LONGEST = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383}
"""The longest side, in pixels, that a format or its library can hold."""
MODES = ("1", "L", "P", "RGB", "RGBX", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV")
"""Pillow's modes with 8-bit values. Of the other modes only 16-bit grey is accepted: the rest has no known range."""
MAX_SIDE = 4096
"""The longest side of an input, in pixels. A larger one is refused before it is decoded."""
MAX_BYTES = 64 << 20
CREDIT = 16
"""Height in pixels of the line of credit below a grid."""


class Images:
    """A batch of images, (n, c, h, w) float32 in [0, 1] on the CPU.

    `info` tells where they came from. `columns` is the number of images in a row of their grid; without it the grid is
    as square as possible.
    """

    def __init__(
        self, tensor: Tensor, info: Mapping[str, str] | None = None, start: int = 0, columns: int | None = None
    ) -> None:
        if tensor.ndim != 4 or tensor.shape[1] not in (1, 3) or not tensor.is_floating_point():
            raise InputError(
                f"expected a floating tensor (n, 1 or 3, h, w), found {tensor.dtype} {tuple(tensor.shape)}"
            )
        self.tensor = tensor.detach().float().clamp(0, 1).cpu().contiguous()
        if bool(self.tensor.isnan().any()):
            raise InputError("these images hold NaN values")
        self.info, self.columns = dict(info or {}), columns
        self._numbers = range(start, start + len(tensor))

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, index: int | slice) -> "Images":
        if not isinstance(index, slice):  # one image is a batch of one
            row = range(len(self))[index]
            index = slice(row, row + 1)
        chosen = Images(self.tensor[list(range(len(self))[index])], self.info)
        chosen._numbers = self._numbers[index]
        return chosen

    def __iter__(self) -> Iterator[Image.Image]:
        return iter(self.pil())

    def __repr__(self) -> str:
        n, c, h, w = self.tensor.shape
        source = f", {self.info['model']}" if "model" in self.info else ""
        return f"Images({n} of {w}x{h} {'RGB' if c == 3 else 'grey'}{source})"

    def numpy(self) -> "npt.NDArray[np.float32]":
        """(n, h, w, c) float32 in [0, 1]."""
        array: npt.NDArray[np.float32] = self.tensor.permute(0, 2, 3, 1).numpy()
        return array

    def pil(self) -> list[Image.Image]:
        """One 8-bit PIL image each, modes RGB or L."""
        array = (self.tensor * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(item[..., 0] if item.shape[-1] == 1 else item) for item in array]

    def grid(self, columns: int | None = None, gap: int = 2) -> Image.Image:
        """All images in one picture, row by row. Without `columns` it is as square as possible.

        If `info` has a credit, the line that must stand beside images of a data set, it is written below them.
        InputError if there is no image, or for `columns` below 1.
        """
        pictures, columns = self.pil(), self.columns if columns is None else columns
        if not pictures:
            raise InputError("no images to put into a grid")
        if columns is not None and columns < 1:
            raise InputError(f"columns must be at least 1, found {columns}")
        columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
        rows, (w, h) = math.ceil(len(pictures) / columns), pictures[0].size
        credit, below = self.info.get("credit"), rows * (h + gap) - gap
        size = (columns * (w + gap) - gap, below + (CREDIT if credit else 0))
        sheet = Image.new(pictures[0].mode, size, "white")
        for i, picture in enumerate(pictures):
            sheet.paste(picture, (i % columns * (w + gap), i // columns * (h + gap)))
        if credit:
            ImageDraw.Draw(sheet).text((4, below + 2), credit, fill="black")
        return sheet

    @staticmethod
    def of_grid(sheet: Image.Image, size: int, columns: int, rows: int, gap: int = 2) -> Tensor:
        """The images (rows * columns, c, size, size) in [0, 1] that `grid` put into a picture, exact to 1/255."""
        places = [(column * (size + gap), row * (size + gap)) for row in range(rows) for column in range(columns)]
        cells = [np.asarray(sheet.crop((left, top, left + size, top + size))) for left, top in places]
        return torch.from_numpy(np.stack(cells)).view(rows * columns, size, size, -1).permute(0, 3, 1, 2).float() / 255

    def save(self, path: str | Path, columns: int | None = None) -> Path:
        """Write a grid to a .png, .jpg or .webp file. A path without a suffix is a folder for one PNG file per image.

        Returns the path. PNG files hold `info` as text. An existing file is replaced only when the new one is complete.
        InputError for another suffix, or for an image that is too large for the format.
        """
        path = Path(path)
        if not path.suffix or path.is_dir():
            for number, picture in zip(self._numbers, self.pil(), strict=True):
                _write(picture, path / f"{number:05d}.png", self.info | {"index": str(number)})
            return path
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{path}: cannot write {path.suffix!r} files", "Give a .png, .jpg or .webp file, or a folder."
            )
        if len(self) == 1:
            _write(self.pil()[0], path, self.info | {"index": str(self._numbers[0])})
        else:
            _write(self.grid(columns), path, self.info)
        return path

    def _repr_png_(self) -> bytes:
        """The grid as PNG, which notebooks show."""
        buffer = io.BytesIO()
        self.grid().save(buffer, "PNG")
        return buffer.getvalue()


def _write(picture: Image.Image, path: Path, info: Mapping[str, str]) -> None:
    kind = SUFFIXES[path.suffix.lower()]
    if max(picture.size) > LONGEST[kind]:
        size = f"{picture.width}x{picture.height}"
        raise InputError(
            f"{path}: {size} pixels; a {kind} file may have at most {LONGEST[kind]} on a side",
            "Save to a .png file or to a folder.",
        )
    options: dict[str, Any] = {"pnginfo": _text(info)} if kind == "PNG" else {"quality": 95}
    write_atomically(path, lambda temporary: picture.save(temporary, kind, **options))


def _text(info: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    text = PngImagePlugin.PngInfo()
    for key, value in info.items():
        text.add_text(key, value)
    return text


def prepare(given: Any, preparation: Preparation) -> Tensor:
    """Any images as a tensor (n, c, size, size) float32 in [0, 1], cropped and resized as the card says.

    Takes a path, a PIL image, an array (h, w), (h, w, c) or (n, h, w, c), a tensor (c, h, w) or (n, c, h, w), `Images`,
    or a list of these. Integers are 0-255, floating-point numbers must lie in [0, 1]. An array or a tensor that has the
    card's channels and size already is not changed. The family's filter is not applied.

    Raises NotFoundError for a missing file, FormatError for one that is broken, hostile or of another format, and
    InputError for anything else.
    """
    items = given if isinstance(given, list | tuple) else [given]
    pieces = [tensor for item in items for tensor in _tensors(item, preparation)]
    if not pieces:
        raise InputError("no image given", "Give a path, a PIL image, an array, a tensor or a list of these.")
    return torch.cat(pieces)


def _tensors(item: Any, preparation: Preparation) -> Iterable[Tensor]:
    if isinstance(item, str | Path):
        return [prepare_pil(open_image(Path(item).expanduser()), preparation)]
    if isinstance(item, Image.Image):
        with _refusing("image"):
            return [prepare_pil(_upright(item, "image"), preparation)]
    if isinstance(item, Images):
        item = item.tensor
    if isinstance(item, np.ndarray):
        item = _channels_first(item)
    if not isinstance(item, Tensor) or item.is_complex():
        raise InputError(
            f"cannot read an image from {type(item).__name__}", "Give a path, a PIL image, an array or a tensor."
        )
    return _sized(_unit(item if item.ndim == 4 else item[None]), preparation)


def _channels_first(array: "npt.NDArray[Any]") -> Tensor:
    """(h, w), (h, w, c) or (n, h, w, c) -> (n, c, h, w)."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.dtype.kind not in "uifb":
        raise InputError(f"expected numbers (h, w), (h, w, c) or (n, h, w, c), found {array.dtype} {array.shape}")
    if array.dtype != np.uint8:  # torch knows neither the other byte order nor all widths
        array = array.astype({"f": np.float32, "b": np.bool_}.get(array.dtype.kind, np.int64))
    return as_tensor(np.ascontiguousarray(array)).permute(0, 3, 1, 2)


def _unit(x: Tensor) -> Tensor:
    """A batch (n, 1 or 3, h, w) as float32 in [0, 1]."""
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not len(x):
        raise InputError(f"expected images (n, 1 or 3, h, w), found shape {tuple(x.shape)}")
    _check_size((x.shape[3], x.shape[2]), "image")
    top = 1 if x.is_floating_point() or x.dtype == torch.bool else 255
    unit = x.detach().cpu().float() / top
    if not bool(((unit >= 0) & (unit <= 1)).all()):
        raise InputError(
            f"{x.dtype} images must lie in 0 to {top}, found {unit.min() * top:.3g} to {unit.max() * top:.3g}",
            "Divide floating-point 0-255 values by 255; map [-1, 1] with (x + 1) / 2.",
        )
    return unit


def _sized(x: Tensor, preparation: Preparation) -> Iterable[Tensor]:
    """The batch unchanged if it has the card's shape already, else cropped and resized as 8-bit images."""
    if tuple(x.shape[1:]) == (preparation.channels, preparation.size, preparation.size):
        return [binary(x) if preparation.binarize else x]
    return (prepare_pil(picture, preparation) for picture in Images(x))


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
    with _refusing(where), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return _upright(picture, where)


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    try:
        yield
    except ZooError:
        raise
    except UnidentifiedImageError as error:
        raise FormatError(f"{where}: not a PNG, JPEG or WebP image") from error
    except Exception as error:  # Pillow raises many kinds for broken input
        raise FormatError(f"{where}: {error}") from error


def _upright(picture: Image.Image, where: str) -> Image.Image:
    """The image decoded, and turned as its EXIF data says. Its size and its number of frames are checked first."""
    _check_size(picture.size, where)
    frames = getattr(picture, "n_frames", 1)
    # A phone's JPEG may hold a preview or a depth map as well (MPO); the photograph is always the first.
    if frames > 1 and picture.format != "MPO":
        raise FormatError(f"{where}: an animation of {frames} frames; expected a still image")
    picture.load()
    return ImageOps.exif_transpose(picture)


def _check_size(size: tuple[int, int], where: str) -> None:
    if max(size) > MAX_SIDE or min(size) < 1:
        raise InputError(
            f"{where}: {size[0]}x{size[1]} pixels; expected 1 to {MAX_SIDE} on a side", "Make the image smaller first."
        )


def prepare_pil(picture: Image.Image, preparation: Preparation) -> Tensor:
    """(1, c, size, size) in [0, 1]: centre crop, then Lanczos resize on 8-bit values. Transparency is laid on white."""
    x = torch.from_numpy(crop_and_resize(picture, preparation)).permute(2, 0, 1)[None].float() / 255
    return binary(x) if preparation.binarize else x


def crop_and_resize(picture: Image.Image, preparation: Preparation) -> "npt.NDArray[np.uint8]":
    """(size, size, c) uint8: the picture cropped, resized and in the mode of a preparation."""
    if picture.mode.startswith("I;16"):  # scaled here, for Pillow would cut off all above 255
        picture = Image.fromarray((np.asarray(picture) / 257).round().astype(np.uint8))
    if picture.mode not in MODES:
        raise InputError(f"cannot read an image of mode {picture.mode!r}", "Convert it to mode L or RGB first.")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert(preparation.mode)
    side = max(1, round(min(picture.size) * preparation.crop))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    # Cropped first, not by `box=`: that would let the filter see across the edge of the square.
    square = picture.crop((left, top, left + side, top + side))
    square = square.resize((preparation.size, preparation.size), Image.Resampling.LANCZOS)
    array: npt.NDArray[np.uint8] = np.array(square, dtype=np.uint8)
    return array.reshape(preparation.size, preparation.size, -1)


def is_binary(x: Tensor) -> bool:
    """Whether every value is 0 or 1."""
    return bool(((x == 0) | (x == 1)).all())


def binary(x: Tensor) -> Tensor:
    """The images as 0 and 1, cut at 1/2: how a model of binary images reads a grey one."""
    return (x >= 0.5).float()
