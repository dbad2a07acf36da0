"""Image files as people have them: every format, large photographs, and what cameras and programs add to a picture."""

import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Isolated
from PIL import Image
from specimens import chunk, flat, jpeg_with, png_with, riff, saved, segment, webp_with

from zoo import Preparation
from zoo.errors import MissingExtraError
from zoo.extras import EXTRAS
from zoo.images.prepare import prepare
from zoo.images.read import FORMATS, SUFFIXES, decode_image

PLAIN = Preparation(size=16)
WRITTEN: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 100, "subsampling": 0},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {},
    "GIF": {},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}
"""Names of Pillow and options, so that little or nothing is lost."""


def slope() -> Image.Image:
    """24x32, grey, without any symmetry."""
    y, x = np.mgrid[0:32, 0:24]
    return Image.fromarray((y * 5 + x * 4).astype(np.uint8))


def written(kind: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (picture or slope()).save(buffer, kind, **(WRITTEN[kind] | options))
    return buffer.getvalue()


def read(data: bytes, **options: Any) -> Image.Image:
    return decode_image(data, "a", **options)


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_picture_is_read_from_every_format(kind: str) -> None:
    assert np.abs(values(read(written(kind))) - values(slope())).max() <= 3


def values(picture: Image.Image) -> np.ndarray:
    return np.array(picture.convert("L")).astype(int)


def test_suffixes_are_those_of_the_formats() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".avif"} <= SUFFIXES
    assert len(SUFFIXES) == sum(len(kind.suffixes) for kind in FORMATS)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_compressed_tiff_is_read(compression: str) -> None:
    assert np.abs(values(read(written("TIFF", compression=compression))) - values(slope())).max() <= 10


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_several_frames_or_pages_the_first_is_read(kind: str) -> None:
    more = [flat("L", shade).resize(slope().size) for shade in (0, 255)]
    found = read(written(kind, save_all=True, append_images=more))
    assert np.abs(values(found) - values(slope())).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_its_file_says(kind: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = written(kind, exif=exif)
    with Image.open(io.BytesIO(data)) as opened:
        expected = prepare(opened, PLAIN)
    assert (prepare(read(data), PLAIN) - expected).abs().max() < 1e-6
    assert ((prepare(slope(), PLAIN) - expected).abs().max() < 0.05) == (turn == 1)


# HEIC


def test_without_its_extra_a_heic_is_answered_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "heic", ("a_package_nobody_has",))
    with pytest.raises(MissingExtraError, match=r"a: to read HEIC needs.*\n.*'genzoo\[heic\]'"):
        read(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="needs the extra heic")
def test_a_heic_is_read_with_its_turn_and_without_what_is_beside_it() -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    slope().convert("RGB").save(buffer, "HEIF", quality=100, exif=exif.tobytes())
    found = read(buffer.getvalue())
    turned = slope().transpose(Image.Transpose.ROTATE_270)
    assert found.size == turned.size
    assert np.abs(values(found) - values(turned)).max() <= 6
    assert not found.info.get("exif")


def test_reading_any_format_leaves_pillow_as_it_was(isolated: Isolated) -> None:
    code = """
    import json, sys
    from PIL import Image
    import zoo.images.read
    print(json.dumps([name in sys.modules for name in ("pillow_heif", "torch")] + ["HEIF" in Image.OPEN]))
    """
    assert isolated(code.replace("\n    ", "\n")) == [False, False, False]


# Large photographs


@pytest.mark.parametrize(("side", "scale"), [(63, 1), (127, 1), (128, 2), (256, 4), (512, 8), (2000, 8)])
def test_a_jpeg_is_decoded_at_the_least_size_that_is_enough(side: int, scale: int) -> None:
    data = written("JPEG", slope().resize((side, 2 * side)))
    assert read(data, need=64).size == (-(-side // scale), -(-2 * side // scale))
    assert read(data).size == (side, 2 * side)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_a_large_picture_gives_what_resizing_at_once_gives(kind: str, crop: float, faces: Path, tmp_path: Path) -> None:
    with Image.open(sorted(faces.iterdir())[0]) as face:
        large = face.resize((1440, 1760), Image.Resampling.BICUBIC)
    (tmp_path / "large").write_bytes(written(kind, large))
    found = prepare(tmp_path / "large", Preparation(size=32, crop=crop))
    side, (w, h) = round(1440 * crop), large.size
    square = large.crop(((w - side) // 2, (h - side) // 2, (w + side) // 2, (h + side) // 2))
    expected = torch.from_numpy(np.array(square.resize((32, 32), Image.Resampling.LANCZOS))).permute(2, 0, 1) / 255
    assert (found[0] - expected).abs().max() < 6 / 255
    assert (found[0] - expected).abs().mean() < 1 / 255


# What photographs carry

FULL = 65_490
BESIDE: dict[str, Callable[[], bytes]] = {
    "JPEG with 8 MB of XMP": lambda: jpeg_with(
        segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(FULL)) * 128
    ),
    "JPEG with a colour profile of 255 parts": lambda: jpeg_with(
        segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(FULL)) * 255
    ),
    "JPEG with a preview in its EXIF": lambda: jpeg_with(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0" + saved("JPEG"))),
    "JPEG with a film behind it": lambda: saved("JPEG") + bytes(20 << 20),
    "JPEG with bytes that fill": lambda: jpeg_with(b"\xff\xff\xff"),
    "JPEG with a preview of several pictures": lambda: saved("MPO", flat("RGB", "red"), quality=75),
    "progressive JPEG": lambda: saved("JPEG", progressive=True),
    "PNG with 8 MB of text": lambda: png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + bytes(8 << 20))),
    "PNG with a large profile": lambda: png_with(chunk(b"iCCP", b"x\0\0" + bytes(4 << 20))),
    "WebP with 8 MB of XMP": lambda: webp_with(riff(b"XMP ", bytes(8 << 20))),
    "WebP with EXIF of 300 kB": lambda: webp_with(riff(b"EXIF", b"II*\0\x08\0\0\0\0\0" + bytes(300_000))),
}


@pytest.mark.parametrize("name", BESIDE)
def test_a_photograph_may_carry_much_beside_its_picture(name: str) -> None:
    plain = values(read(saved("PNG")))
    assert np.abs(values(read(BESIDE[name]())) - plain).max() <= 12


@pytest.mark.parametrize("name", ["a.tif", "b.tif"])
def test_a_tiff_with_layers_and_exif_of_a_camera_is_read(tmp_path: Path, name: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0a comment"
    exif.get_ifd(0x8825)[1] = "N"
    options: dict[str, Any] = {"exif": exif} if name == "a.tif" else {"tiffinfo": {37724: bytes(4 << 20)}}
    slope().save(tmp_path / name, **options)
    assert np.array_equal(values(read((tmp_path / name).read_bytes())), values(slope()))
