"""Many images into a folder or an archive: whole or not there, and the same as one call returns."""

import json
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.images import stream
from zoo.images.batch import Images

IMAGES = torch.rand(5, 3, 4, 6, generator=torch.Generator().manual_seed(0))
EIGHT_BIT = (IMAGES * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
NAMES = [f"{'ab'[i % 2]}/{i}.png" for i in range(5)]


def fill(sink: stream.Sink) -> None:
    """Five images in batches of two."""
    for first in range(0, 5, 2):
        rows = range(first, min(first + 2, 5))
        part = Images(IMAGES[first : first + 2], {"seed": "3"})
        sink.add(part, [NAMES[row] for row in rows], [7 + row for row in rows])


def fill_and_fail(opening: AbstractContextManager[stream.Sink], error: type[BaseException]) -> None:
    with opening as sink:
        fill(sink)
        raise error


def test_a_folder_holds_a_file_for_each_image_and_nothing_else(tmp_path: Path) -> None:
    with stream.folder(tmp_path / "made") as sink:
        fill(sink)
    files = sorted(str(path.relative_to(tmp_path / "made")) for path in (tmp_path / "made").rglob("*.*"))
    assert files == sorted(NAMES)
    for i, name in enumerate(NAMES):
        with Image.open(tmp_path / "made" / name) as picture:
            assert picture.text == {"seed": "3", "index": str(7 + i)}  # type: ignore[attr-defined]
            assert (np.asarray(picture) == EIGHT_BIT[i]).all()


def test_a_zip_holds_the_bytes_of_the_files_stored_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        with stream.zipped(tmp_path / name) as sink:
            fill(sink)
    with stream.folder(tmp_path / "made") as sink:
        fill(sink)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == NAMES
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            assert archive.read(entry) == (tmp_path / "made" / entry.filename).read_bytes()


def test_an_npz_opens_without_pickle_and_holds_images_labels_and_where_they_came_from(tmp_path: Path) -> None:
    with stream.npz(tmp_path / "made.npz", 5, {"label": torch.arange(5)}) as sink:
        fill(sink)
    with np.load(tmp_path / "made.npz", allow_pickle=False) as made:
        assert sorted(made) == ["arr_0", "info", "label"]
        assert made["arr_0"].dtype == np.uint8
        assert (made["arr_0"] == EIGHT_BIT).all()
        assert made["label"].tolist() == [0, 1, 2, 3, 4]
        assert json.loads(str(made["info"])) == {"seed": "3"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_fails_midway_leaves_whole_files_and_no_archive(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "old.zip").write_bytes(b"mine")
    for sink in (
        stream.folder(tmp_path / "made"),
        stream.zipped(tmp_path / "made.zip"),
        stream.zipped(tmp_path / "old.zip"),
        stream.npz(tmp_path / "made.npz", 9, {}),
    ):
        with pytest.raises(error):
            fill_and_fail(sink, error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "old.zip"]
    assert (tmp_path / "old.zip").read_bytes() == b"mine"
    assert len([path for path in (tmp_path / "made").rglob("*") if path.is_file()]) == 5
