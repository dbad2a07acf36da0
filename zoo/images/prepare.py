"""Any images as the input of a model: checked, cropped and resized as its card says."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.errors import InputError
from zoo.family.spec import Preparation
from zoo.images.batch import Images
from zoo.images.read import check_size, open_image, refusing, upright

if TYPE_CHECKING:
    import numpy.typing as npt

MODES = ("1", "L", "P", "RGB", "RGBX", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV")
"""Pillow's modes with 8-bit values. Of the other modes only 16-bit grey is accepted: the rest has no known range."""


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
        with refusing("image"):
            return [prepare_pil(upright(item, "image"), preparation)]
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
    return torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2)


def _unit(x: Tensor) -> Tensor:
    """A batch (n, 1 or 3, h, w) as float32 in [0, 1]."""
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not len(x):
        raise InputError(f"expected images (n, 1 or 3, h, w), found shape {tuple(x.shape)}")
    check_size((x.shape[3], x.shape[2]), "image")
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
