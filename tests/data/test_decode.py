"""Decoding goes on behind an image that cannot be read."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.data import decode, source
from zoo.data.decode import Decoder
from zoo.errors import DataError, MissingExtraError
from zoo.extras import EXTRAS
from zoo.family.spec import Preparation

SMALL = Preparation(size=16)


@pytest.fixture
def folder(faces: Path, tmp_path: Path) -> Path:
    """Twenty images, of which 1 is text, 3 is cut short and 4 is too small."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for path in sorted(faces.iterdir())[:20]:
        shutil.copy(path, folder)
    (folder / "001.png").write_text("no image")
    (folder / "003.png").write_bytes((folder / "003.png").read_bytes()[:200])
    Image.new("RGB", (40, 7)).save(folder / "004.png")
    return folder


def decoder(folder: Path) -> Decoder:
    rows = source._open(str(folder), folder, "train")
    return Decoder("faces", folder, decode.state(folder), rows, SMALL, progress=False)


def test_all_images_that_cannot_be_read_are_named_at_once(folder: Path) -> None:
    with pytest.raises(DataError) as refusal:
        decoder(folder).images("image", torch.arange(20))
    told = str(refusal.value).splitlines()
    assert told[0] == "faces: 3 of 20 images cannot be read:"
    for line, name in zip(told[1:4], ("001", "003", "004"), strict=True):
        assert f"row {int(name)} of column 'image'" in line
        assert f"{name}.png" in line
    assert told[4:] == [
        "  Give larger images, or train for a smaller size: --image-size SIZE",
        "  Remove or replace these, or leave them out: --skip-broken",
    ]


def test_ten_are_named_and_the_others_counted(folder: Path) -> None:
    for number in range(5, 17):
        (folder / f"{number:03d}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)15 of 20 images.*011\.png.*and 5 more") as refusal:
        decoder(folder).images("image", torch.arange(20))
    assert "012.png" not in str(refusal.value)


@pytest.mark.parametrize("cache", ["off", "on"])
def test_those_that_can_be_read_are_kept_in_their_order(
    folder: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    monkeypatch.setenv("ZOO_CACHE", "off" if cache == "off" else str(tmp_path / "cache"))
    rows = torch.tensor([0, 1, 2, 3, 5])
    expected = decoder(faces).images("image", torch.tensor([0, 2, 5]))
    for _ in range(2):
        decoded = decoder(folder).decoded("image", rows)
        assert decoded.kept.tolist() == [0, 2, 4]
        assert sorted(decoded.broken) == [1, 3]
        assert "row 3 " in str(decoded.broken[3])
        assert torch.equal(decoded.images[decoded.kept], expected)


def test_a_second_start_decodes_only_what_could_not_be_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_MAX_PIXELS", "5000")  # all but the small one have more
    everything = torch.arange(20)
    assert len(decoder(folder).decoded("image", everything).broken) == 20
    monkeypatch.delenv("ZOO_MAX_PIXELS")
    assert sorted(decoder(folder).decoded("image", everything).broken) == [1, 3, 4]
    tried: list[str] = []
    monkeypatch.setattr(decode, "_decode_one", lambda cell, preparation, where: tried.append(where) or 0)
    assert not decoder(folder).decoded("image", everything).broken
    assert [where.split("row ")[1].split()[0] for where in tried] == ["1", "3", "4"]


def test_an_extra_that_is_missing_is_no_fault_of_the_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "001.png").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(EXTRAS, "heic", ("a_package_nobody_has",))
    with pytest.raises(MissingExtraError, match=r"(?s)001\.png.*HEIC.*a_package_nobody_has.*genzoo\[heic\]"):
        decoder(folder).decoded("image", torch.arange(20))
