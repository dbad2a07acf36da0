"""Decoding goes on behind an image that cannot be read."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.data import decode
from zoo.data.decode import Decoded
from zoo.data.opening import open_source
from zoo.errors import MissingExtraError
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


def decoded(folder: Path, rows: Sequence[int] = range(20)) -> Decoded:
    table = open_source(folder).splits["train"]
    return decode.decoded(table, "image", torch.tensor(rows), SMALL, "", progress=False)


@pytest.mark.parametrize("cache", ["off", "on"])
def test_those_that_can_be_read_keep_their_places(
    folder: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    monkeypatch.setenv("ZOO_CACHE", "off" if cache == "off" else str(tmp_path / "cache"))
    expected = decoded(faces, [0, 2, 5])
    for _ in range(2):
        found = decoded(folder, [0, 1, 2, 3, 5])
        assert sorted(found.faults) == [1, 3]
        assert "001.png" in found.faults[1]
        assert torch.equal(found.images[[0, 2, 4]], expected.images)
        assert torch.equal(found.hashes[[0, 2, 4]], expected.hashes)


def test_a_second_start_decodes_only_what_could_not_be_read(
    folder: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_MAX_PIXELS", "5000")  # all but the small one have more
    assert len(decoded(folder).faults) == 20
    monkeypatch.delenv("ZOO_MAX_PIXELS")
    again = decoded(folder)
    assert sorted(again.faults) == [1, 3, 4]
    assert torch.equal(again.images[5:], decoded(faces).images[5:20])
    assert sorted(decoded(folder, [4, 5]).faults) == [0]


def test_an_extra_that_is_missing_is_no_fault_of_the_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "001.png").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(EXTRAS, "heic", ("a_package_nobody_has",))
    with pytest.raises(MissingExtraError, match=r"(?s)001\.png.*HEIC.*a_package_nobody_has.*genzoo\[heic\]"):
        decoded(folder)
