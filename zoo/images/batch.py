"""A batch of images, as a model makes it."""

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from zoo.errors import InputError
from zoo.images.write import is_folder, write, write_all

if TYPE_CHECKING:
    import numpy.typing as npt

CREDIT = 16
"""Height in pixels of the line of credit below a grid."""


def to_pil(x: Tensor) -> list[Image.Image]:
    """A batch (n, 1, 3 or 4, h, w) in [0, 1] as one 8-bit PIL image each, modes L, RGB or RGBA."""
    array = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(item[..., 0] if item.shape[-1] == 1 else item) for item in array]


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
        return to_pil(self.tensor)

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

        Returns the path. Files hold `info`: PNG as texts, JPEG and WebP as JSON in the EXIF field UserComment. PNG and
        WebP keep every 8-bit value. An existing file is replaced only when the new one is complete. InputError for
        another suffix, unless there is a folder of that name, and for an image that is too large for the format.
        OSError for a file that cannot be written; in a folder, it says how many were written before.
        """
        path = Path(path)
        if is_folder(path):
            write_all(self.pil(), path, self._numbers, self.info)
        elif len(self) == 1:
            write(self.pil()[0], path, self.info | {"index": str(self._numbers[0])})
        else:
            write(self.grid(columns), path, self.info)
        return path

    def _repr_png_(self) -> bytes:
        """The grid as PNG, which notebooks show."""
        buffer = io.BytesIO()
        self.grid().save(buffer, "PNG")
        return buffer.getvalue()
