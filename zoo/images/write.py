"""Writes one picture to a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from zoo.errors import InputError
from zoo.files import write_atomically

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LONGEST = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383}
"""The longest side, in pixels, that a format or its library can hold."""


def write(picture: Image.Image, path: Path, info: Mapping[str, str]) -> None:
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
