"""Writes pictures to files."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from zoo.errors import InputError
from zoo.files import atomically, fsync

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LONGEST = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383}
"""The longest side, in pixels, that a format or its library can hold."""


def is_folder(path: Path) -> bool:
    """Whether a path to write to is a folder, for one file an image. InputError if it is neither that nor a picture."""
    if str(path) == "-":
        raise InputError("pictures cannot be written to the standard output", _PLACES)
    if not path.suffix or path.is_dir():
        return True
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: cannot write {path.suffix!r} files",
            f"{_PLACES} A folder with a dot in its name must be there already: mkdir {path}",
        )
    return False


_PLACES = f"Give a file that ends in {', '.join(SUFFIXES)}, or a folder."


def write(picture: Image.Image, path: Path, info: Mapping[str, str], flush: bool = True) -> None:
    """Write a picture, and what `info` says of it, in the format of the suffix.

    PNG and WebP keep every value. JPEG has quality 95 and a colour for each pixel (4:4:4). PNG holds `info` as texts.
    JPEG and WebP hold it as JSON in the EXIF field UserComment, behind its first 8 bytes, which name the encoding.
    flush: see `atomically`. Raises InputError for a picture that is too large for the format, and OSError.
    """
    kind = SUFFIXES[path.suffix.lower()]
    if max(picture.size) > LONGEST[kind]:
        size = f"{picture.width}x{picture.height}"
        raise InputError(
            f"{path}: {size} pixels; a {kind} file may have at most {LONGEST[kind]} on a side",
            "Save to a .png file or to a folder.",
        )
    with atomically(path, flush) as temporary:
        picture.save(temporary, kind, **options(kind, info))


def write_all(pictures: Iterable[Image.Image], folder: Path, numbers: Iterable[int], info: Mapping[str, str]) -> None:
    """Write one PNG file NUMBER.png for each picture into a folder, which is flushed to the disk once, at the end.

    If a file cannot be written, an OSError names it and says how many were written before it.
    """
    written = 0
    for number, picture in zip(numbers, pictures, strict=True):
        path = folder / f"{number:05d}.png"
        try:
            write(picture, path, dict(info) | {"index": str(number)}, flush=False)
        except OSError as error:
            reason = error.strerror or str(error)
            raise type(error)(f"{path}: cannot be written: {reason}; {written} images before it are written") from error
        written += 1
    if written:
        fsync(folder)


def options(kind: str, info: Mapping[str, str]) -> dict[str, Any]:
    """What Pillow is told beside the picture."""
    if kind == "PNG":
        return {"pnginfo": _text(info)}
    return {"exif": _exif(info)} | ({"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0})


def _text(info: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    text = PngImagePlugin.PngInfo()
    for key, value in info.items():
        text.add_text(key, value)
    return text


def _exif(info: Mapping[str, str]) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"ASCII\0\0\0" + json.dumps(dict(info)).encode()
    return exif
