"""Any images as the input of a model: checked, cropped and resized as its card says."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from zoo.errors import InputError
from zoo.family.spec import Preparation
from zoo.images.batch import Images, to_pil
from zoo.images.read import check_size, open_image, upright
from zoo.noise import Noise, seed_for

if TYPE_CHECKING:
    import numpy.typing as npt

MODES = ("1", "L", "P", "RGB", "RGBX", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV")
"""Pillow's modes with 8-bit values. Of the other modes only 16-bit grey is accepted: the rest has no known range."""


CHANNELS = (1, 3, 4)
"""Grey, RGB, or RGB with transparency."""
KEPT = 4
"""How many times larger than needed a picture stays when it is first reduced by a whole number."""


@dataclass(frozen=True)
class Order:
    """The order in which the axes of an array or a tensor are expected, and what to type for those in another."""

    expected: str
    where: str
    """Where the channels are otherwise,"""
    instead: int
    """and by which index."""
    moves: Mapping[int, str]
    grey: Mapping[int, str]


LAST = Order(
    "an array (h, w), (h, w, c) or (n, h, w, c)",
    "first",
    -3,
    {3: "transpose(1, 2, 0)", 4: "transpose(0, 2, 3, 1)"},
    {3: "..., None"},
)
FIRST = Order(
    "a tensor (c, h, w) or (n, c, h, w)",
    "last",
    -1,
    {3: "permute(2, 0, 1)", 4: "permute(0, 3, 1, 2)"},
    {2: "None", 3: ":, None"},
)


def prepare(given: Any, preparation: Preparation) -> Tensor:
    """Any images as a tensor (n, c, size, size) float32 in [0, 1], cropped and resized as the card says.

    Takes a path, a PIL image, an array (h, w), (h, w, c) or (n, h, w, c), a tensor (c, h, w) or (n, c, h, w), `Images`,
    or a list of these. c is 1, 3, or 4 with transparency, which is laid on white. Values of type uint16 are 0-65535,
    other integers 0-255, and floating-point numbers must lie in [0, 1]. An array or a tensor that has the card's
    channels and size already is not changed. The family's filter is not applied.

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
        return [prepare_pil(open_image(Path(item).expanduser(), needed(preparation)), preparation)]
    if isinstance(item, Image.Image):
        return [prepare_pil(upright(item, "image"), preparation)]
    if isinstance(item, Images):
        item = item.tensor
    if isinstance(item, np.ndarray):
        item = _channels_first(item)
    if not isinstance(item, Tensor) or item.is_complex():
        raise InputError(
            f"cannot read an image from {type(item).__name__}", "Give a path, a PIL image, an array or a tensor."
        )
    if item.ndim not in (3, 4) or item.shape[-3] not in CHANNELS:
        raise _wrong_order(item, FIRST)
    return _sized(_unit(item if item.ndim == 4 else item[None]), preparation)


def _channels_first(array: "npt.NDArray[Any]") -> Tensor:
    """(h, w), (h, w, c) or (n, h, w, c) -> (n, c, h, w)."""
    if array.dtype.kind not in "uifb":
        raise InputError(f"expected numbers, found an array of {array.dtype}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim not in (3, 4) or array.shape[-1] not in CHANNELS:
        raise _wrong_order(array, LAST)
    if array.dtype not in (np.uint8, np.uint16):  # torch knows neither the other byte order nor all widths
        array = array.astype({"f": np.float32, "b": np.bool_}.get(array.dtype.kind, np.int64))
    array = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])  # torch warns of memory that is read-only
    return torch.from_numpy(array if array.ndim == 4 else array[None]).permute(0, 3, 1, 2)


def _wrong_order(x: Any, order: Order) -> InputError:
    """The error for a shape that is none of the expected ones, with what to type if only its axes stand otherwise."""
    hint = None
    if x.ndim in (3, 4) and x.shape[order.instead] in CHANNELS:
        hint = f"Its channels seem to be {order.where}. Give them as expected: x.{order.moves[x.ndim]}"
    elif x.ndim in order.grey:
        hint = f"It lacks the axis of channels. For grey images: x[{order.grey[x.ndim]}]"
    return InputError(f"expected {order.expected} with 1, 3 or 4 channels c, found shape {tuple(x.shape)}", hint)


def _unit(x: Tensor) -> Tensor:
    """A batch (n, 1, 3 or 4, h, w) as float32 in [0, 1]. A value of 16 bits is one of 65535."""
    if not len(x):
        raise InputError(f"no images: found shape {tuple(x.shape)}")
    check_size((x.shape[3], x.shape[2]), "image")
    top = 1 if x.is_floating_point() or x.dtype == torch.bool else 65535 if x.dtype == torch.uint16 else 255
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
    return (prepare_pil(picture, preparation) for picture in to_pil(x))


def prepare_pil(picture: Image.Image, preparation: Preparation) -> Tensor:
    """(1, c, size, size) in [0, 1]: centre crop, then Lanczos resize on 8-bit values. Transparency is laid on white."""
    x = torch.from_numpy(crop_and_resize(picture, preparation)).permute(2, 0, 1)[None].float() / 255
    return binary(x) if preparation.binarize else x


def needed(preparation: Preparation) -> int:
    """Pixels on the shorter side of a picture that a decoder may reduce: what `decode_image` calls `need`."""
    return math.ceil(KEPT * preparation.size / preparation.crop)


def crop_and_resize(picture: Image.Image, preparation: Preparation) -> "npt.NDArray[np.uint8]":
    """(size, size, c) uint8: the picture cropped, resized and in the mode of a preparation."""
    picture = _plain(picture)
    side = max(1, round(min(picture.size) * preparation.crop))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    factor = max(1, side // (KEPT * preparation.size))
    # Cropped first, not by `box=` of resize: that would let the filter see across the edge of the square.
    # A large square is first reduced to means of blocks, which takes less time and memory.
    square = picture.reduce(factor, box) if factor > 1 else picture.crop(box)
    if square.mode == "RGBA":
        square = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square)
    square = square.convert(preparation.mode)
    whole = (0, 0, side / factor, side / factor)  # the last blocks may be narrower than the others
    square = square.resize((preparation.size, preparation.size), Image.Resampling.LANCZOS, whole)
    array: npt.NDArray[np.uint8] = np.array(square, dtype=np.uint8)
    return array.reshape(preparation.size, preparation.size, -1)


def _plain(picture: Image.Image) -> Image.Image:
    """The picture in mode L, RGB or RGBA."""
    if picture.mode.startswith("I;16"):  # scaled here, for Pillow would cut off all above 255
        values = np.asarray(picture)
        return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if picture.mode not in MODES:
        raise InputError(f"cannot read an image of mode {picture.mode!r}", "Convert it to mode L or RGB first.")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return picture.convert("RGBA")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def is_binary(x: Tensor) -> bool:
    """Whether every value is 0 or 1."""
    return bool(((x == 0) | (x == 1)).all())


def binary(x: Tensor) -> Tensor:
    """The images as 0 and 1, cut at 1/2: how a model of binary images reads a grey one."""
    return (x >= 0.5).float()


def binary_draw(x: Tensor, split: str, seed: int) -> Tensor:
    """A Bernoulli draw of grey values (n, c, h, w). It is always the same for a split and a seed."""
    # It needs a stream of its own. The plain seed would give pixels, latents and both splits the same numbers.
    return (Noise(seed_for(f"binarize {split} {seed}"), 0, len(x)).uniform(*x.shape[1:]) < x).float()


def fit(images: Tensor, size: int, channels: int, mode: str = "bilinear") -> Tensor:
    """Images (n, c, h, w) in [0, 1] at another size and number of channels."""
    if images.shape[1] != channels:
        images = images.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    if images.shape[-1] != size:
        images = F.interpolate(images, (size, size), mode=mode, antialias=True, align_corners=False).clamp(0, 1)
    return images
