"""Images out and images in: one range, [0, 1], and one checked door."""

import io
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor

from zoo.errors import FormatError, InputError, NotFoundError
from zoo.files import write_atomically
from zoo.spec import Preparation

if TYPE_CHECKING:
    import numpy.typing as npt

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
MAX_SIDE = 4096
"""Pixels; a larger input is refused before it is decoded."""
MAX_BYTES = 64 << 20


class Images:
    """A batch of images, (n, c, h, w) float32 in [0, 1] on the CPU. `info` tells where they came from."""

    def __init__(self, tensor: Tensor, info: Mapping[str, str] | None = None, start: int = 0) -> None:
        if tensor.ndim != 4 or tensor.shape[1] not in (1, 3):
            raise InputError(f"expected a tensor (n, 1 or 3, h, w), found {tuple(tensor.shape)}")
        self.tensor = tensor.detach().float().clamp(0, 1).cpu().contiguous()
        self.info = dict(info or {})
        self._start = start

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, index: int | slice) -> "Images":
        chosen = range(len(self))[index]
        if isinstance(chosen, int):
            chosen = range(chosen, chosen + 1)
        start = self._start + (chosen.start if chosen.step == 1 else 0)
        return Images(self.tensor[chosen.start : chosen.stop] if chosen.step == 1 else self.tensor[list(chosen)], self.info, start)

    def __iter__(self) -> Iterator[Image.Image]:
        return iter(self.pil())

    def __repr__(self) -> str:
        n, c, h, w = self.tensor.shape
        return f"Images({n} of {w}x{h} {'RGB' if c == 3 else 'grey'}{', ' + self.info['model'] if 'model' in self.info else ''})"

    def numpy(self) -> "npt.NDArray[np.float32]":
        """(n, h, w, c) float32 in [0, 1]."""
        array: npt.NDArray[np.float32] = self.tensor.permute(0, 2, 3, 1).numpy()
        return array

    def pil(self) -> list[Image.Image]:
        """One 8-bit PIL image each, modes RGB or L."""
        array = (self.tensor * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(item[..., 0] if item.shape[-1] == 1 else item) for item in array]

    def grid(self, columns: int | None = None, gap: int = 2) -> Image.Image:
        """All images in one picture, row by row; as square as possible unless `columns` is given."""
        pictures = self.pil()
        if not pictures:
            raise InputError("no images to put into a grid")
        columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
        if columns < 1:
            raise InputError(f"columns must be at least 1, found {columns}")
        rows, (w, h) = math.ceil(len(pictures) / columns), pictures[0].size
        sheet = Image.new(pictures[0].mode, (columns * (w + gap) - gap, rows * (h + gap) - gap), "white")
        for i, picture in enumerate(pictures):
            sheet.paste(picture, (i % columns * (w + gap), i // columns * (h + gap)))
        return sheet

    def save(self, path: str | Path, columns: int | None = None) -> Path:
        """Write a grid to a .png, .jpg or .webp file, or, to a path without a suffix, one PNG per image.

        Returns the path. PNG files carry `info` as text. An existing file is replaced only once the new one is whole.
        """
        path = Path(path)
        if not path.suffix or path.is_dir():
            for i, picture in enumerate(self.pil()):
                _write(picture, path / f"{self._start + i:05d}.png", self.info | {"index": str(self._start + i)})
            return path
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path}: cannot write {path.suffix!r} files; use .png, .jpg, .webp or a folder")
        picture = self.pil()[0] if len(self) == 1 else self.grid(columns)
        _write(picture, path, self.info)
        return path

    def _repr_png_(self) -> bytes:
        """For notebooks."""
        buffer = io.BytesIO()
        self.grid().save(buffer, "PNG")
        return buffer.getvalue()


def _write(picture: Image.Image, path: Path, info: Mapping[str, str]) -> None:
    options: dict[str, Any] = {"quality": 95} if path.suffix.lower() != ".png" else {"pnginfo": _text(info)}
    write_atomically(path, lambda temporary: picture.save(temporary, SUFFIXES[path.suffix.lower()], **options))


def _text(info: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    text = PngImagePlugin.PngInfo()
    for key, value in info.items():
        text.add_text(key, value)
    return text


AnyImage = "str | Path | Image.Image | npt.NDArray[Any] | Tensor | Images"


def prepare(given: Any, preparation: Preparation) -> Tensor:
    """The one door for input: any image or images -> (n, c, size, size) float32 in [0, 1], the card's crop and resize done.

    Takes a path, a PIL image, an array (h, w), (h, w, c) or (n, h, w, c), a tensor (c, h, w) or (n, c, h, w), `Images`,
    or a list of these. Integer arrays are 0-255, floating ones must lie in [0, 1]. The family's filter is not applied.

    Raises NotFoundError for a missing file, FormatError for one that is broken, hostile or of another format, InputError
    for anything else.
    """
    pieces = [tensor for item in _items(given) for tensor in _tensors(item, preparation)]
    if not pieces:
        raise InputError("no image given")
    return torch.cat(pieces)


def _items(given: Any) -> Iterable[Any]:
    return given if isinstance(given, list | tuple) else [given]


def _tensors(item: Any, preparation: Preparation) -> list[Tensor]:
    if isinstance(item, str | Path):
        return [prepare_pil(open_image(Path(item)), preparation)]
    if isinstance(item, Image.Image):
        _check_size(item.size, "image")
        return [prepare_pil(item, preparation)]
    if isinstance(item, Images):
        item = item.tensor
    if isinstance(item, np.ndarray):
        item = _array(item)
    if not isinstance(item, Tensor):
        raise InputError(f"cannot read an image from {type(item).__name__}; give a path, PIL image, array or tensor")
    return list(_unit(item if item.ndim == 4 else item[None], preparation))


def _array(array: "npt.NDArray[Any]") -> Tensor:
    """(h, w), (h, w, c) or (n, h, w, c) -> (n, c, h, w)."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.dtype.kind not in "uifb":
        raise InputError(f"expected a numeric array (h, w), (h, w, c) or (n, h, w, c), found {array.shape} {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2)


def _unit(x: Tensor, preparation: Preparation) -> Iterator[Tensor]:
    """A checked batch (n, c, h, w) in [0, 1]; resized through 8-bit images unless it already has the card's size."""
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise InputError(f"expected images (n, 1 or 3, h, w), found shape {tuple(x.shape)}")
    _check_size((x.shape[3], x.shape[2]), "image")
    x = x.detach().cpu()
    if not x.is_floating_point():
        x = x.float() / (1 if x.dtype == torch.bool else 255)
    x = x.float()
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise InputError(
            f"floating-point images must lie in [0, 1], found {x.min():.3g} to {x.max():.3g}",
            "Divide 0-255 values by 255; map [-1, 1] with (x + 1) / 2.",
        )
    if tuple(x.shape[1:]) == (preparation.channels, preparation.size, preparation.size):
        yield binary(x) if preparation.binarize else x
        return
    for picture in Images(x):
        yield prepare_pil(picture, preparation)


def open_image(path: Path) -> Image.Image:
    """A decoded image file, upright. Checked before decoding: format (PNG, JPEG, WebP), bytes, pixels, one frame."""
    if not path.is_file():
        raise NotFoundError(f"{path}: no such image file")
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(f"{path}: {path.stat().st_size} bytes; an input image may have at most {MAX_BYTES}")
    return decode_image(path.read_bytes(), str(path))


def decode_image(data: bytes, where: str) -> Image.Image:
    """As `open_image`, from bytes; `where` names them in errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                _check_size(picture.size, where)
                if getattr(picture, "n_frames", 1) > 1:
                    raise FormatError(f"{where}: an animation of {picture.n_frames} frames; give a still image")
                picture.load()
                return ImageOps.exif_transpose(picture)
    except (FormatError, InputError):
        raise
    except Exception as error:  # Pillow raises many kinds for broken input
        reason = "not a PNG, JPEG or WebP image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise FormatError(f"{where}: {reason}") from error


def _check_size(size: tuple[int, int], where: str) -> None:
    if max(size) > MAX_SIDE or min(size) < 1:
        raise InputError(f"{where}: {size[0]}x{size[1]} pixels; expected 1 to {MAX_SIDE} on a side")


def prepare_pil(picture: Image.Image, preparation: Preparation) -> Tensor:
    """(1, c, size, size) in [0, 1]: centre crop, then Lanczos resize on 8-bit values. Transparency is laid on white."""
    x = torch.from_numpy(crop_and_resize(picture, preparation)).permute(2, 0, 1)[None].float() / 255
    return binary(x) if preparation.binarize else x


def crop_and_resize(picture: Image.Image, preparation: Preparation) -> "npt.NDArray[np.uint8]":
    """(size, size, c) uint8, the geometry of a preparation alone."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert(preparation.mode)
    side = max(1, round(min(picture.size) * preparation.crop))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    if (picture.width, picture.height) != (preparation.size, preparation.size) or preparation.crop != 1:
        picture = picture.resize(
            (preparation.size, preparation.size), Image.Resampling.LANCZOS, (left, top, left + side, top + side)
        )
    array: npt.NDArray[np.uint8] = np.array(picture, dtype=np.uint8)
    return array.reshape(preparation.size, preparation.size, -1)


def binary(x: Tensor) -> Tensor:
    """Cut at 1/2: what a given grey image means to a model of binary images."""
    return (x >= 0.5).float()
