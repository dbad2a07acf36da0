"""The part of a data set that no training sees: always the same images, whatever their names and their size."""

import shutil
from pathlib import Path

import layouts
import pytest

from zoo.data.held import FEWEST, hold_out, parted
from zoo.data.source import Dataset, load_dataset
from zoo.family.spec import Preparation

SMALL, GREY = Preparation(size=16), Preparation(size=8, mode="L")


def images(folder: Path, n: int, start: int = 0) -> Path:
    return layouts.pictures(folder, [f"{i:03d}.png" for i in range(start, start + n)], start)


def marks(dataset: Dataset) -> set[bytes]:
    assert dataset.hashes is not None
    return {row.tobytes() for row in dataset.hashes.numpy()}


def test_a_tenth_is_held_out_and_no_image_is_in_both_parts(tmp_path: Path) -> None:
    whole = load_dataset(images(tmp_path / "data", 40), SMALL)
    train, test, held = hold_out(whole, "images", 0.1, seed=0)
    assert test is not None
    assert held is not None
    assert (len(train), len(test)) == (36, 4)
    assert marks(train) | marks(test) == marks(whole)
    assert not marks(train) & marks(test)
    assert marks(hold_out(whole, "images", 0.1, seed=1)[0]) != marks(train)


def test_the_part_is_found_again_at_another_size_under_other_names_and_in_a_grown_folder(tmp_path: Path) -> None:
    data = images(tmp_path / "data", 40)
    train, test, held = hold_out(load_dataset(data, SMALL), "images", 0.2, seed=3)
    assert test is not None
    assert held is not None
    for i, path in enumerate(sorted(data.iterdir())):
        path.rename(tmp_path / "data" / f"{99 - i} [x].png")
    again, _ = parted(load_dataset(data, GREY), held)
    assert marks(again) == marks(test)
    shutil.copytree(images(tmp_path / "more", 40, start=100), data, dirs_exist_ok=True)
    grown, rest = parted(load_dataset(data, GREY), held)
    assert marks(test) < marks(grown), "new images are held out too"
    assert not marks(grown) & marks(train)
    assert len(grown) + len(rest) == 80


def test_equal_files_are_on_the_same_side(tmp_path: Path) -> None:
    data = images(tmp_path / "data", 20)
    for path in sorted(data.iterdir()):
        shutil.copy(path, data / f"copy of {path.name}")
    train, test, _ = hold_out(load_dataset(data, SMALL), "images", 0.3, seed=0)
    assert test is not None
    assert not marks(train) & marks(test)


@pytest.mark.parametrize(("n", "share", "expected"), [(FEWEST - 1, 0.1, 0), (FEWEST, 0.01, 1), (FEWEST, 0, 0)])
def test_small_sets_keep_one_image_or_none(n: int, share: float, expected: int, tmp_path: Path) -> None:
    train, test, held = hold_out(load_dataset(images(tmp_path / "data", n), SMALL), "images", share, seed=0)
    assert (0 if test is None else len(test)) == expected
    assert len(train) == n - expected
    assert (held is None) == (expected == 0)


def test_each_domain_has_an_image_that_is_held_out(tmp_path: Path) -> None:
    images(tmp_path / "data" / "many", 40)
    images(tmp_path / "data" / "some", 3, start=50)
    _, test, _ = hold_out(load_dataset(tmp_path / "data", SMALL, kind="unpaired"), "unpaired", 0.05, seed=0)
    assert test is not None
    assert test.labels is not None
    assert set(test.labels.tolist()) == {0, 1}
