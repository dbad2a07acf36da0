"""Writes many images one after the other: into a folder, a .zip of PNG files, or a .npz of one array."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from zoo.files import atomically, fsync
from zoo.images.batch import Images

DATE = (1980, 1, 1, 0, 0, 0)
"""The date of every entry of an archive: the same images make the same bytes."""


class Sink(Protocol):
    """Takes images in batches."""

    def add(self, images: Images, names: Sequence[str], numbers: Sequence[int]) -> None:
        """names: a path for each image, which ends in .png. numbers: what the text of its file calls it."""


class Folder:
    """One PNG file for each image. A file is whole or not there, and what was written stays if the rest fails."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path, self.touched = path, {path}

    def add(self, images: Images, names: Sequence[str], numbers: Sequence[int]) -> None:
        for data, name in zip(_encoded(images, numbers), names, strict=True):
            path = self.path / name
            self.touched.add(path.parent)
            with atomically(path, flush=False) as temporary:
                temporary.write_bytes(data)


class Zip:
    """A .zip of PNG files, stored as they are: they are compressed already."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive

    def add(self, images: Images, names: Sequence[str], numbers: Sequence[int]) -> None:
        for data, name in zip(_encoded(images, numbers), names, strict=True):
            self.archive.writestr(_entry(name), data)


class Array:
    """An array uint8 (n, h, w, c) in the format of .npy files."""

    def __init__(self, file: IO[bytes], n: int) -> None:
        self.file, self.n = file, n
        self.info: dict[str, str] = {}

    def add(self, images: Images, names: Sequence[str], numbers: Sequence[int]) -> None:
        array = np.ascontiguousarray((images.tensor * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
        if not self.info:
            self.info = images.info
            write_header(self.file, (self.n, *array.shape[1:]), array.dtype)
        self.file.write(array.data)


@contextmanager
def folder(path: Path) -> Iterator[Folder]:
    """Images as files of a folder. It is flushed to the disk once: a flush for each file takes most of the time."""
    sink = Folder(path)
    try:
        yield sink
    finally:
        for touched in sink.touched:
            fsync(touched)


@contextmanager
def zipped(path: Path) -> Iterator[Zip]:
    """Images as a .zip, which is there when all are, or not at all."""
    with _archive(path) as archive:
        yield Zip(archive)


@contextmanager
def npz(path: Path, n: int, arrays: Mapping[str, Any]) -> Iterator[Array]:
    """n images as the array `arr_0` of a .npz, which is there when all are, or not at all.

    Tools that compute the FID of guided diffusion read this name. arrays: what else the file holds. An array `info`
    is JSON of what the text of a PNG file would say.
    """
    with _archive(path) as archive:
        with archive.open(_entry("arr_0.npy"), "w", force_zip64=True) as file:
            sink = Array(file, n)
            yield sink
        for name, value in {**arrays, "info": json.dumps(sink.info)}.items():
            with archive.open(_entry(f"{name}.npy"), "w", force_zip64=True) as file:
                array = np.asarray(value)
                write_header(file, array.shape, array.dtype)
                file.write(array.tobytes())


def write_header(file: IO[bytes], shape: tuple[int, ...], dtype: Any) -> None:
    """The first bytes of a .npy file. The values follow, in C order."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with atomically(path) as temporary, zipfile.ZipFile(temporary, "x", zipfile.ZIP_STORED) as archive:
        yield archive


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, DATE)
    entry.external_attr = 0o644 << 16
    return entry


def _encoded(images: Images, numbers: Sequence[int]) -> Iterator[bytes]:
    """Each image as the bytes of a PNG file with its `info` and its number as text."""
    for picture, number in zip(images.pil(), numbers, strict=True):
        yield _png(picture, images.info | {"index": str(number)})


def _png(picture: Image.Image, info: Mapping[str, str]) -> bytes:
    text, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    for key, value in info.items():
        text.add_text(key, value)
    picture.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()
