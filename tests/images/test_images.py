"""Pictures out, and the one door for pictures in."""

import io
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from specimens import flat, jpeg_with, one_bit, saved
from torch import Tensor

from zoo import FormatError, Images, InputError, NotFoundError, Preparation, ZooError
from zoo.images.prepare import prepare

SIX = torch.linspace(0, 1, 6 * 3 * 4 * 5).reshape(6, 3, 4, 5)
"""Six images, 5 wide and 4 high, all different."""


# Images out.


def test_images_are_float_in_unit_range_on_their_own_memory() -> None:
    given = torch.tensor([-1.0, 0.25, 2.0, float("inf")], dtype=torch.float64, requires_grad=True)
    images = Images(given.reshape(1, 1, 2, 2))
    assert images.tensor.dtype == torch.float32
    assert images.tensor.flatten().tolist() == [0, 0.25, 1, 1]
    assert not images.tensor.requires_grad
    unchanged = torch.full((1, 1, 2, 2), 0.5)
    Images(unchanged).tensor.zero_()
    assert unchanged.min() == 0.5


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, 4, 4),
        torch.zeros(1, 4, 4, 3),
        torch.zeros(1, 2, 4, 4),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.full((1, 3, 4, 4), float("nan")),
    ],
    ids=["no batch axis", "channels last", "two channels", "integers", "NaN"],
)
def test_what_is_no_batch_of_images_is_refused(tensor: Tensor) -> None:
    with pytest.raises(InputError, match=r"expected a floating tensor \(n, 1 or 3, h, w\), found|hold NaN"):
        Images(tensor)


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (0, [0]),
        (-1, [5]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, 2), [0, 2, 4]),
        (slice(None, None, -1), [5, 4, 3, 2, 1, 0]),
        (slice(4, 1, -2), [4, 2]),
        (slice(6, 9), []),
    ],
)
def test_an_index_or_a_slice_gives_images_that_keep_info_and_numbers(
    tmp_path: Path, index: int | slice, rows: list[int]
) -> None:
    chosen = Images(SIX, {"model": "x"}, start=10)[index]
    assert isinstance(chosen, Images)
    assert torch.equal(chosen.tensor, SIX[rows])
    assert chosen.info == {"model": "x"}
    chosen.save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(f"{10 + row:05d}.png" for row in rows)
    for row in rows:
        with Image.open(tmp_path / f"{10 + row:05d}.png") as picture:
            assert np.array_equal(np.array(picture), pixels(SIX[row]))


def pixels(image: Tensor) -> np.ndarray:
    return np.rint(image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def test_a_slice_of_a_slice_counts_from_the_first_sample(tmp_path: Path) -> None:
    Images(SIX, start=10)[1:][::2][1].save(tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.info["index"] == "13"


@pytest.mark.parametrize("index", [6, -7])
def test_an_index_outside_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError):
        Images(SIX)[index]


def test_iteration_gives_pil_images_of_the_rounded_values() -> None:
    pictures = list(Images(SIX))
    assert [picture.size for picture in pictures] == [(5, 4)] * 6
    for picture, image in zip(pictures, SIX, strict=True):
        assert np.array_equal(np.array(picture), pixels(image))


def test_grey_images_become_pil_images_of_mode_l() -> None:
    (picture,) = Images(SIX[:1, :1]).pil()
    assert picture.mode == "L"
    assert np.array_equal(np.array(picture), pixels(SIX[0, :1])[..., 0])


def test_every_8_bit_value_survives_the_way_out_and_in() -> None:
    values = torch.arange(256).reshape(1, 1, 16, 16) / 255
    back = prepare(Images(values).pil(), Preparation(size=16, mode="L"))
    assert torch.equal(back, values)


def test_numpy_gives_channels_last_float_in_unit_range() -> None:
    array = Images(SIX).numpy()
    assert (array.shape, array.dtype) == ((6, 4, 5, 3), np.float32)
    assert np.array_equal(array[2, 1, 3], SIX[2, :, 1, 3].numpy())


def test_repr_tells_count_size_and_source() -> None:
    assert repr(Images(SIX, {"model": "dcgan-x"})) == "Images(6 of 5x4 RGB, dcgan-x)"
    assert repr(Images(SIX[:, :1])) == "Images(6 of 5x4 grey)"


@pytest.mark.parametrize(
    ("n", "columns", "gap", "size"),
    [(5, None, 2, (19, 10)), (6, 2, 0, (10, 12)), (6, 1, 3, (5, 39)), (6, 9, 1, (35, 4)), (1, None, 2, (5, 4))],
)
def test_a_grid_places_every_image_row_by_row_on_white(
    n: int, columns: int | None, gap: int, size: tuple[int, int]
) -> None:
    sheet = Images(SIX[:n]).grid(columns, gap)
    assert sheet.size == size
    array, per_row = np.array(sheet), (size[0] + gap) // (5 + gap)
    for i in range(n):
        top, left = i // per_row * (4 + gap), i % per_row * (5 + gap)
        assert np.array_equal(array[top : top + 4, left : left + 5], pixels(SIX[i]))
        array[top : top + 4, left : left + 5] = 255
    assert array.min() == 255


@pytest.mark.parametrize("columns", [0, -1])
def test_a_grid_of_no_columns_is_refused(columns: int) -> None:
    with pytest.raises(InputError, match=f"columns must be at least 1, found {columns}"):
        Images(SIX).grid(columns)


def test_a_grid_of_no_images_is_refused() -> None:
    with pytest.raises(InputError, match="no images"):
        Images(SIX[:0]).grid()


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.PNG", "PNG"), ("a.jpg", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP")]
)
def test_a_grid_is_saved_in_the_format_of_the_suffix(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "new" / name
    assert Images(SIX).save(path, columns=2) == path
    assert os.listdir(path.parent) == [name]
    with Image.open(path) as picture:
        assert picture.format == kind
        assert picture.size == (12, 16)
        wanted = np.array(Images(SIX).grid(2)).astype(int)
        assert np.abs(np.array(picture.convert("RGB")).astype(int) - wanted).mean() < (1 if kind == "PNG" else 40)
        if kind == "PNG":
            assert np.array_equal(np.array(picture), wanted)


def test_a_png_tells_where_it_came_from(tmp_path: Path) -> None:
    info = {"model": "dcgan-x", "seed": "7", "label": "Größe 東"}
    Images(SIX, info, start=3).save(tmp_path / "grid.png")
    Images(SIX, info, start=3).save(tmp_path / "each")
    with Image.open(tmp_path / "grid.png") as grid, Image.open(tmp_path / "each" / "00004.png") as one:
        assert grid.info == info
        assert one.info == info | {"index": "4"}


@pytest.mark.parametrize("name", ["a.gif", "a.tiff", "a.bmp", "a.npy", "faces.v2"])
def test_a_suffix_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"cannot write '\.\w+' files\n.*\.png.*mkdir .*{name}"):
        Images(SIX).save(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_there_may_have_a_dot_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "faces.v2").mkdir()
    Images(SIX[:1]).save(tmp_path / "faces.v2")
    assert os.listdir(tmp_path / "faces.v2") == ["00000.png"]


def test_the_standard_output_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"pictures cannot be written to the standard output\n.*\.png.*or a folder"):
        Images(SIX).save("-")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("name", "largest"), [("a.png", 0), ("a.webp", 0), ("a.jpg", 20)])
def test_every_format_says_where_it_came_from_and_keeps_the_values(tmp_path: Path, name: str, largest: int) -> None:
    info = {"model": "dcgan-x", "seed": "7", "label": "Größe 東"}
    noise = Images(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), info, start=3)
    noise.save(tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        found = np.array(picture.convert("RGB")).astype(int)
        comment = picture.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
        told = picture.info if name == "a.png" else json.loads(comment.removeprefix(b"ASCII\0\0\0"))
    assert told == info | {"index": "3"}
    assert np.abs(found - np.array(noise.pil()[0])).max() <= largest


def test_a_folder_is_flushed_to_the_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr("zoo.files.fsync", flushed.append)
    monkeypatch.setattr("zoo.images.write.fsync", flushed.append)
    Images(SIX).save(tmp_path / "each")
    assert flushed == [tmp_path / "each"]


def test_a_file_that_cannot_be_written_is_named_with_how_many_are(tmp_path: Path) -> None:
    (tmp_path / "00004.png").mkdir()
    with pytest.raises(OSError, match=r"00004\.png: cannot be written: Is a directory; 4 images before it are written"):
        Images(SIX).save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [f"{number:05d}.png" for number in range(5)]


def test_a_picture_larger_than_its_format_allows_is_refused(tmp_path: Path) -> None:
    wide = Images(torch.zeros(2, 1, 1, 9000))
    with pytest.raises(InputError, match="18002x1 pixels; a WEBP file may have at most 16383"):
        wide.save(tmp_path / "a.webp", columns=2)
    assert os.listdir(tmp_path) == []


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(picture: Image.Image, path: Path, *_: Any, **__: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    path = Images(SIX).save(tmp_path / "a.png")
    before = path.read_bytes()
    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="No space"):
        Images(SIX.flip(0)).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_notebooks_show_the_grid() -> None:
    shown = Image.open(io.BytesIO(Images(SIX)._repr_png_()))
    assert np.array_equal(np.array(shown), np.array(Images(SIX).grid()))


# The door for images in: every way of giving one picture.

PLAIN = Preparation(size=16)
GREY = Preparation(size=16, mode="L")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """24x32, smooth and without any symmetry."""
    y, x = np.mgrid[0:32, 0:24]
    return Image.fromarray(np.stack([y * 7, x * 9, (x + y) * 2 + 90], axis=2).astype(np.uint8))


@pytest.fixture(scope="module")
def files(picture: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("a.png", "a.jpg", "a.webp"):
        picture.save(folder / name, quality=100, lossless=True)
    return folder


def unit(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


WAYS: dict[str, Callable[[Image.Image, Path], Any]] = {
    "path": lambda picture, files: files / "a.png",
    "text": lambda picture, files: str(files / "a.png"),
    "WebP": lambda picture, files: files / "a.webp",
    "PIL": lambda picture, files: picture,
    "array": lambda picture, files: np.array(picture),
    "array of a batch": lambda picture, files: np.array(picture)[None],
    "array that is no block of memory": lambda picture, files: np.asfortranarray(picture),
    "array of 64-bit integers": lambda picture, files: np.array(picture).astype(np.int64),
    "array of another byte order": lambda picture, files: np.array(picture).astype(">i2"),
    "array of floats": lambda picture, files: np.array(picture) / 255,
    "array of long floats": lambda picture, files: np.array(picture).astype(np.longdouble) / 255,
    "array of 16 bits": lambda picture, files: np.array(picture).astype(np.uint16) * 257,
    "array of 16 bits of another byte order": lambda picture, files: np.array(picture).astype(">u2") * 257,
    "array that is read-only": lambda picture, files: np.asarray(picture),
    "array with transparency": lambda picture, files: np.array(picture.convert("RGBA")),
    "tensor with transparency": lambda picture, files: unit(picture.convert("RGBA")),
    "tensor of 16 bits": lambda picture, files: torch.from_numpy(np.array(picture).astype(np.uint16) * 257).permute(
        2, 0, 1
    ),
    "tensor": lambda picture, files: torch.from_numpy(np.array(picture)).permute(2, 0, 1),
    "tensor of floats": lambda picture, files: unit(picture)[None],
    "tensor with a gradient": lambda picture, files: unit(picture).requires_grad_(),
    "Images": lambda picture, files: Images(unit(picture)[None]),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_of_giving_an_image_gives_the_same_input(
    picture: Image.Image, files: Path, way: Callable[[Image.Image, Path], Any]
) -> None:
    x = prepare(way(picture, files), PLAIN)
    assert (x.shape, x.dtype, x.requires_grad) == ((1, 3, 16, 16), torch.float32, False)
    assert torch.equal(x, prepare(picture, PLAIN))


@pytest.mark.parametrize("size", [16, 24], ids=["of the card's size", "of another size"])
def test_an_array_is_taken_as_the_png_of_the_same_values(tmp_path: Path, size: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (size, size, 4), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert (prepare(values, PLAIN) - prepare(tmp_path / "a.png", PLAIN)).abs().max() < 1e-6
    grey = np.random.default_rng(0).integers(0, 65_536, (size, size), np.uint16)
    Image.fromarray(grey).save(tmp_path / "b.png")
    assert (prepare(grey, GREY) - prepare(tmp_path / "b.png", GREY)).abs().max() <= 0.5 / 255 + 1e-6


def test_a_jpeg_is_close_to_its_picture(picture: Image.Image, files: Path) -> None:
    assert (prepare(files / "a.jpg", PLAIN) - prepare(picture, PLAIN)).abs().max() < 0.05


def test_a_list_may_mix_all_ways_and_keeps_their_order(picture: Image.Image, files: Path) -> None:
    mirrored = np.array(picture)[:, ::-1]
    x = prepare([files / "a.png", mirrored, np.stack([mirrored, np.array(picture)]), picture], PLAIN)
    one, other = prepare(picture, PLAIN)[0], prepare(mirrored, PLAIN)[0]
    assert not torch.equal(one, other)
    assert [torch.equal(row, one) for row in x] == [True, False, False, True, True]
    assert [torch.equal(row, other) for row in x] == [False, True, True, False, False]


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize(("width", "height"), [(24, 32), (32, 24), (25, 33)])
def test_the_centre_square_is_kept(width: int, height: int, share: float) -> None:
    """White inside the square that the card keeps, black outside: nothing of the black may be seen."""
    side = round(min(width, height) * share)
    array = np.zeros((height, width, 3), np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    array[top : top + side, left : left + side] = 255
    assert prepare(array, Preparation(size=8, crop=share)).min() == 1
    array[top : top + side, left] = 0  # and the square is no smaller
    assert prepare(array, Preparation(size=8, crop=share)).min() < 1


def test_a_prepared_batch_passes_unchanged_bit_for_bit() -> None:
    x = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    card = Preparation(size=16, crop=0.5)
    assert torch.equal(prepare(x, card), x)
    assert torch.equal(prepare(Images(x), card), x)
    assert torch.equal(prepare(x.permute(0, 2, 3, 1).numpy(), card), x)
    assert torch.equal(prepare(prepare(x[0], card), card), x[:1])


def test_binary_cards_cut_at_one_half() -> None:
    card = Preparation(size=2, mode="L", binarize=True)
    x = torch.tensor([0.0, 0.49, 0.5, 1.0]).reshape(1, 1, 2, 2)
    assert prepare(x, card).flatten().tolist() == [0, 0, 1, 1]
    large = Image.fromarray(np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((8, 8), np.uint8)))
    assert prepare(large, card).flatten().tolist() == [0, 1, 1, 0]


# Modes, depths and orientation.


def test_grey_and_colour_are_converted_to_what_the_card_takes() -> None:
    assert prepare(flat("L", 51), PLAIN).unique().tolist() == pytest.approx([0.2])
    assert prepare(flat("L", 51), PLAIN).shape == (1, 3, 16, 16)
    green = prepare(flat("RGB", (0, 255, 0)), GREY)
    assert green.shape == (1, 1, 16, 16)
    assert green.unique().tolist() == pytest.approx([0.587], abs=2e-3)  # luma of ITU-R 601
    assert prepare(torch.full((1, 1, 20, 20), 0.2), PLAIN).shape == (1, 3, 16, 16)


def palette(transparent: bool) -> Image.Image:
    picture = flat("P", 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    if transparent:
        picture.info["transparency"] = 1
    return picture


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (flat("RGBA", (0, 0, 0, 0)), (1, 1, 1)),
        (flat("RGBA", (255, 0, 0, 255)), (1, 0, 0)),
        (flat("RGBA", (255, 0, 0, 51)), (1, 0.8, 0.8)),
        (flat("LA", (0, 102)), (0.6, 0.6, 0.6)),
        (palette(transparent=False), (0, 0, 1)),
        (palette(transparent=True), (1, 1, 1)),
        (flat("1", 1), (1, 1, 1)),
    ],
    ids=["clear", "opaque", "a veil of red", "half-clear grey", "palette", "clear palette", "one bit"],
)
@pytest.mark.parametrize("way", ["PIL", "file"])
def test_transparency_is_laid_on_white(
    tmp_path: Path, picture: Image.Image, colour: tuple[float, ...], way: str
) -> None:
    picture.save(tmp_path / "a.png")
    x = prepare(picture if way == "PIL" else tmp_path / "a.png", PLAIN)
    assert x[0, :, 8, 8].tolist() == pytest.approx(colour, abs=1 / 255)
    assert x.std((2, 3)).max() < 1e-6


def test_a_cmyk_jpeg_has_the_colours_of_its_rgb_twin(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (200, 30, 60)).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    assert prepare(tmp_path / "a.jpg", PLAIN)[0, :, 8, 8].tolist() == pytest.approx(
        [200 / 255, 30 / 255, 60 / 255], abs=0.02
    )


def test_16_bit_grey_is_scaled_and_not_cut(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    eight = Image.fromarray((ramp / 257).round().astype(np.uint8))
    assert torch.equal(prepare(tmp_path / "a.png", GREY), prepare(eight, GREY))
    assert torch.equal(prepare(Image.fromarray(ramp), PLAIN), prepare(eight, PLAIN))


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pil_modes_without_a_range_are_refused(mode: str) -> None:
    with pytest.raises(InputError, match=f"mode '{mode}'"):
        prepare(Image.new(mode, (20, 20)), PLAIN)


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}
"""How a camera stores an upright picture for each EXIF orientation."""


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("way", ["file", "PIL"])
def test_a_photograph_is_turned_upright(tmp_path: Path, picture: Image.Image, orientation: int, way: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](np.array(picture))))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    if way == "file":
        x = prepare(tmp_path / "a.png", PLAIN)
    else:
        with Image.open(tmp_path / "a.png") as opened:
            x = prepare(opened, PLAIN)
    assert torch.equal(x, prepare(picture, PLAIN))


def test_the_photograph_of_a_phone_s_multi_picture_file_is_read(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[flat("RGB", "red")], quality=100)
    assert (prepare(tmp_path / "a.jpg", PLAIN) - prepare(picture, PLAIN)).abs().max() < 0.05


# Refusals.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.full((3, 20, 20), 255.0), r"must lie in 0 to 1, found 255 to 255\n +Divide .* by 255; map \[-1, 1\]"),
        (torch.full((3, 20, 20), -0.5), "must lie in 0 to 1, found -0.5 to -0.5"),
        (torch.full((3, 20, 20), float("nan")), "must lie in 0 to 1, found nan to nan"),
        (torch.full((3, 20, 20), 256), "must lie in 0 to 255, found 256 to 256"),
        (np.full((20, 20, 3), -1), "must lie in 0 to 255, found -1 to -1"),
        (np.full((20, 20, 3), 2**64 - 1, np.uint64), "must lie in 0 to 255"),
        (torch.zeros(20, 20, 3), r"found shape \(20, 20, 3\)\n .* last\. .* x\.permute\(2, 0, 1\)$"),
        (torch.zeros(9, 20, 20, 3), r"found shape \(9, 20, 20, 3\)\n .* x\.permute\(0, 3, 1, 2\)$"),
        (torch.zeros(20, 20), r"found shape \(20, 20\)\n .* For grey images: x\[None\]$"),
        (torch.zeros(9, 20, 20), r"found shape \(9, 20, 20\)\n .* For grey images: x\[:, None\]$"),
        (torch.zeros(9, 2, 20, 20), r"found shape \(9, 2, 20, 20\)$"),
        (torch.zeros(()), r"found shape \(\)$"),
        (torch.zeros(1, 1, 3, 20, 20), r"found shape"),
        (torch.zeros(0, 3, 16, 16), r"found shape \(0, 3, 16, 16\)"),
        (torch.zeros(3, 0, 20), "20x0 pixels; expected 1 to 65535"),
        (torch.zeros(1, 1, 70000), "70000x1 pixels; expected 1 to 65535"),
        (torch.zeros(3, 20, 20, dtype=torch.complex64), "cannot read an image from Tensor"),
        (np.zeros((3, 20, 20)), r"found shape \(3, 20, 20\)\n .* first\. .* x\.transpose\(1, 2, 0\)$"),
        (np.zeros((9, 3, 20, 20)), r"found shape \(9, 3, 20, 20\)\n .* x\.transpose\(0, 2, 3, 1\)$"),
        (np.zeros((9, 20, 20)), r"found shape \(9, 20, 20\)\n .* For grey images: x\[\.\.\., None\]$"),
        (np.full((20, 20), -1, np.int16), "must lie in 0 to 255, found -1 to -1"),
        (np.array(["a.png"]), "expected numbers"),
        (np.zeros(4), r"found shape \(4,\)$"),
        (Image.new("L", (70000, 1)), "70000x1 pixels; expected 1 to 65535"),
        (b"\x89PNG", "cannot read an image from bytes"),
        ({"image": 1}, "cannot read an image from dict"),
        (None, "cannot read an image from NoneType"),
        ([[0.5]], "cannot read an image from list"),
        ([], "no image given"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_image_is_refused_with_what_was_found(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(given, PLAIN)


@pytest.mark.parametrize("name", ["none.png", "folder", "x" * 5000, "nul\0l.png", "https://example.org/a.png", ""])
def test_a_file_that_is_not_there_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotFoundError) as refusal:
        prepare(name, PLAIN)
    assert len(str(refusal.value)) < 400


def test_the_home_folder_may_be_written_as_a_tilde(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(files))
    assert torch.equal(prepare("~/a.png", PLAIN), prepare(files / "a.png", PLAIN))


BROKEN: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a pointer of Git LFS": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "text": lambda: b"<html>404 not found</html>",
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "half a PNG": lambda: saved("PNG")[:-60],
    "half a JPEG": lambda: saved("JPEG", quality=100)[:-200],
    "half a WebP": lambda: saved("WEBP")[:-20],
    "half a BMP": lambda: saved("BMP")[:-60],
    "half a TIFF": lambda: saved("TIFF")[:-60],
    "half a GIF": lambda: saved("GIF")[:-60],
    "half an AVIF": lambda: saved("AVIF")[:-60],
    "a JPEG with something between its parts": lambda: jpeg_with(b"\0"),
    "a PNG with a broken checksum": lambda: saved("PNG").replace(b"IDAT", b"IDAT\0", 1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(BROKEN[name]())
    with pytest.raises(FormatError, match=str(path)):
        prepare(path, PLAIN)


def test_a_broken_picture_given_as_pil_is_refused_too() -> None:
    with Image.open(io.BytesIO(saved("PNG")[:-40])) as lazy, pytest.raises(FormatError, match="image: "):
        prepare(lazy, PLAIN)


def test_one_bad_image_in_a_list_is_named(tmp_path: Path, files: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(FormatError, match=str(tmp_path / "bad.png")):
        prepare([files / "a.png", tmp_path / "bad.png"], PLAIN)


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(
        FormatError, match=r"1,099,511,627,776 bytes; a file of at most 200,000,000 pixels may have 1,667,108,864"
    ):
        prepare(path, PLAIN)


def test_a_file_of_few_pixels_may_not_have_any_number_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved("PNG") + bytes(65 << 20))
    with pytest.raises(FormatError, match="a file of at most 400 pixels may have 67,112,064"):
        prepare(tmp_path / "a.png", PLAIN)


def test_the_limit_of_pixels_is_said_and_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    flat("L", 0, 100).save(path)
    monkeypatch.setenv("ZOO_MAX_PIXELS", "9999")
    with pytest.raises(InputError, match=r"(?s)a.png: 100x100 pixels are more than the 9,999 .*set .*ZOO_MAX_PIXELS"):
        prepare(path, PLAIN)
    monkeypatch.setenv("ZOO_MAX_PIXELS", "10000")
    assert prepare(path, PLAIN).max() == 0
    monkeypatch.setenv("ZOO_MAX_PIXELS", "many")
    with pytest.raises(InputError, match="ZOO_MAX_PIXELS is 'many'"):
        prepare(path, PLAIN)


def test_a_picture_larger_than_pillow_s_own_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(one_bit(200))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "a.png")
    assert prepare(tmp_path / "a.png", Preparation(size=2)).max() == 0
    assert Image.MAX_IMAGE_PIXELS == 100


def test_every_cut_and_many_flips_of_a_picture_give_a_picture_or_a_refusal(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    path, refused = tmp_path / "a", 0
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"):
        data = saved(kind)
        for _ in range(40):
            broken = bytearray(data)
            for _ in range(draws.integers(1, 5)):
                broken[draws.integers(len(broken))] = draws.integers(256)
            path.write_bytes(bytes(broken[: draws.integers(len(broken)) if draws.random() < 0.3 else None]))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # Pillow's, of EXIF data that it reads all the same
                refused += not readable(path)
    assert 28 < refused < 280


def readable(path: Path) -> bool:
    try:
        return prepare(path, PLAIN).shape == (1, 3, 16, 16)
    except ZooError:
        return False
