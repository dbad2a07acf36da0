"""What a source is: every layout is read as its page says, and every fault is one clear error."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import layouts
import pytest
import torch
from PIL import Image

from zoo.data.columns import resolved
from zoo.data.layout import Reading
from zoo.data.opening import local, open_source
from zoo.data.source import load_dataset, read, summary
from zoo.errors import DataError
from zoo.family.spec import Preparation

SMALL = Preparation(size=16)
Build = Callable[[Path], Path]

READ: list[tuple[Build, str, dict[str, int], list[str], list[int] | None]] = [
    # layout, kind of batch, images of each split, names of classes, labels of the train split
    (layouts.flat, "images", {"train": 16}, [], None),
    (layouts.by_class, "labelled", {"train": 9}, ["bus", "test", "train"], [0] * 2 + [1] * 3 + [2] * 4),
    (layouts.strange_classes, "labelled", {"train": 6}, ["2", "10", "[a]*", "b, c"], [1, 0, 0, 2, 2, 3]),
    (layouts.mixed, "images", {"train": 6}, [], None),
    (layouts.lone, "labelled", {"train": 5}, ["cats", "dogs"], [0, 0, 1, 1, 1]),
    (layouts.splits, "images", {"train": 4, "test": 2}, [], None),
    (layouts.splits_of_classes, "labelled", {"train": 4, "test": 3}, ["cats", "dogs"], [0, 0, 1, 1]),
    (layouts.unpaired, "unpaired", {"train": 5, "test": 3}, ["A", "B"], [0, 0, 0, 1, 1]),
    (layouts.lone, "unpaired", {"train": 5}, ["cats", "dogs"], [0, 0, 1, 1, 1]),
    (layouts.two_folders, "pairs", {"train": 3}, [], None),
    (layouts.metadata_table, "labelled", {"train": 2, "test": 1}, ["cat", "dog"], [0, 1]),
    (layouts.metadata_lines, "pairs", {"train": 2}, [], None),
    (layouts.parquet, "images", {"train": 2, "test": 1}, [], None),
    (layouts.saved, "images", {"train": 3}, [], None),
    (layouts.packed(layouts.flat), "images", {"train": 16}, [], None),
    (layouts.packed(layouts.by_class), "labelled", {"train": 9}, ["bus", "test", "train"], [0] * 2 + [1] * 3 + [2] * 4),
    (layouts.packed(layouts.unpaired), "unpaired", {"train": 5, "test": 3}, ["A", "B"], [0, 0, 0, 1, 1]),
    (layouts.packed(layouts.parquet), "images", {"train": 2, "test": 1}, [], None),
    (layouts.with_litter, "labelled", {"train": 5}, ["cats", "dogs"], [0, 0, 1, 1, 1]),
]


@pytest.mark.parametrize(("build", "kind", "counts", "names", "marks"), READ)
def test_a_layout_is_read_as_documented(
    build: Build, kind: str, counts: dict[str, int], names: list[str], marks: list[int] | None, tmp_path: Path
) -> None:
    source = open_source(build(tmp_path / "data"), kind=kind)
    assert {split: len(table) for split, table in source.splits.items()} == counts
    found, _ = read(source, SMALL, kind=kind)
    assert list(found.names) == names
    assert (None if found.labels is None else found.labels.tolist()) == marks
    assert len(found.images.flatten(1).unique(dim=0)) == counts["train"], "each row has an image of its own"


@pytest.mark.parametrize("build", [layouts.celeba, layouts.celeba_table, layouts.packed(layouts.celeba)])
def test_celebas_list_gives_attributes(build: Build, tmp_path: Path) -> None:
    data = build(tmp_path / "data")
    found = load_dataset(data, SMALL, kind="attributes", columns={"attributes": "Young,Smiling"})
    assert found.names == ("Young", "Smiling")
    assert found.labels is not None
    assert found.labels.tolist() == [[1, 0], [0, 1], [0, 0]]
    every = load_dataset(data, SMALL, kind="attributes")
    assert every.names == ("Smiling", "Young"), "without a word the data's own attributes are taken"


def test_classes_are_attributes_of_which_each_image_has_one(tmp_path: Path) -> None:
    found = load_dataset(layouts.lone(tmp_path / "data"), SMALL, kind="attributes")
    assert found.names == ("cats", "dogs")
    assert found.labels is not None
    assert found.labels.tolist() == [[1, 0]] * 2 + [[0, 1]] * 3


@pytest.mark.parametrize(("pairs", "dark"), [("ab", "inputs"), ("ba", "images")])
def test_a_picture_may_hold_both_images_of_a_pair(pairs: str, dark: str, tmp_path: Path) -> None:
    found = load_dataset(layouts.side_by_side(tmp_path / "data"), SMALL, kind="pairs", reading=Reading(pairs=pairs))
    light = "images" if dark == "inputs" else "inputs"
    assert [int(x) for x in getattr(found, dark)[:, 0, 8, 8]] == [10, 11, 12, 13]
    assert [int(x) for x in getattr(found, light)[:, 0, 8, 8]] == [200, 201, 202, 203]


def test_pairs_in_two_folders_have_the_same_name(tmp_path: Path) -> None:
    data = layouts.two_folders(tmp_path / "data")
    source = open_source(data, kind="pairs")
    found, _ = read(source, SMALL, kind="pairs")
    assert found.inputs is not None
    for side, folder in ((found.inputs, "A"), (found.images, "B")):
        alone = load_dataset(data / folder, SMALL)
        assert all(bool((alone.images == image).flatten(1).all(1).any()) for image in side)
    assert sorted(left.why for left in source.left) == [
        "has no picture of its name in A",
        "has no picture of its name in B",
    ]


def test_any_two_folders_are_pairs_if_the_user_says_so(tmp_path: Path) -> None:
    data = layouts.named_folders(tmp_path / "data")
    columns = {"input": "edges", "image": "photos"}
    found = load_dataset(data, SMALL, kind="pairs", columns=columns)
    assert torch.equal(found.images, load_dataset(data / "photos", SMALL).images)
    assert found.columns == columns
    again = load_dataset(data, SMALL, kind="pairs", columns=found.columns)
    assert again.fingerprint == found.fingerprint, "a card that records the columns finds the pairs again"


def test_a_list_of_files_is_a_data_set_in_its_order(tmp_path: Path) -> None:
    folder = layouts.flat(tmp_path / "data")
    files = [folder / name for name in layouts.STRANGE]
    found = load_dataset(files, SMALL)
    assert len(found) == len(files)
    assert torch.equal(found.images[0], load_dataset(files[:1], SMALL).images[0])


def test_what_is_left_out_is_counted_and_said_with_its_reason(tmp_path: Path) -> None:
    data = layouts.with_litter(tmp_path / "data")
    left = {os.path.relpath(left.path, data): left.why for left in open_source(data).left}
    assert left == {
        "notes.txt": "no image (.txt)",
        "runs/mine": "a run or a card of zoo",
        "cards/x": "a run or a card of zoo",
        "cats/loop": "a link to a folder that is there already",
        "acats": "a link to a folder that is there already",
        "cats/again.png": "a link to a file that is there already",
    }


SAID = [
    (layouts.by_class, "9 images in 3 classes: bus, test, train"),
    (layouts.mixed, "6 images, no classes, since 2 of them are outside of the folders"),
    (lambda folder: layouts.pictures(folder, ["1.png"]), "1 image"),
    (layouts.splits, "4 images; 2 more in the test split; 1 file left out: see --list-skipped"),
    (layouts.flat, "16 images"),
    (layouts.celeba, "3 images, described by list_attr_celeba.txt; 2 files left out: see --list-skipped"),
]


@pytest.mark.parametrize(("build", "said"), SAID)
def test_one_line_says_what_was_found(build: Build, said: str, tmp_path: Path) -> None:
    source = open_source(build(tmp_path / "data"))
    assert summary(source, read(source, SMALL)[0], "images") == f"{tmp_path / 'data'}: {said}"


def test_folders_with_names_of_splits_are_classes_if_the_user_says_so(tmp_path: Path) -> None:
    for build, names in ((layouts.splits, ("test", "train")), (layouts.half_splits, ("test", "train"))):
        data = build(tmp_path / build.__name__)
        found = load_dataset(data, SMALL, kind="labelled", reading=Reading(splits=False))
        assert found.names == names


# Faults: each kind is a row


def broken_zip(folder: Path) -> Path:
    folder.mkdir()
    (folder / "x.zip").write_bytes(b"PK\x03\x04 nothing")
    return folder / "x.zip"


def archive(folder: Path) -> Path:
    folder.mkdir()
    (folder / "x.tar.gz").write_bytes(b"nothing")
    return folder / "x.tar.gz"


def texts(folder: Path) -> Path:
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing")
    return folder


def with_text(name: str, text: str) -> Build:
    def build(folder: Path) -> Path:
        layouts.pictures(folder, ["1.png", "2.png"])
        (folder / name).write_text(text)
        return folder

    return build


def in_a_run(folder: Path) -> Path:
    return layouts.with_litter(folder) / "runs" / "mine" / "samples"


def missing_link(folder: Path) -> Path:
    layouts.flat(folder)
    os.symlink(folder / "nowhere", folder / "x.png")
    return folder


def broken_table(folder: Path) -> Path:
    folder.mkdir()
    (folder / "x.parquet").write_bytes(b"PAR1 nothing PAR1")
    return folder


def other_columns(folder: Path) -> Path:
    data = layouts.parquet(folder)
    from tables import write_table

    write_table(data, [layouts.picture(folder / "x.png", 1)], "train-2")
    return data


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


def pointer_table(folder: Path) -> Path:
    folder.mkdir()
    (folder / "x.parquet").write_text(POINTER)
    return folder


def zipped(build: Build) -> Build:
    return lambda folder: Path(shutil.make_archive(str(folder.parent / "packed"), "zip", build(folder)))


FAULTS: list[tuple[Build, str, str]] = [
    (lambda folder: folder / "nowhere", "images", "there is no folder .*nowhere"),
    (texts, "images", "holds no images and no data files"),
    (broken_zip, "images", "x.zip is no zip that can be read"),
    (archive, "images", "(?s)x.tar.gz is an archive.*pack it as a .zip"),
    (layouts.half_splits, "images", "(?s)train has the classes cats, dogs and test has no classes.*--no-splits"),
    (layouts.flat, "labelled", "(?s)labelled batches need to know which column is the label.*folder for each class"),
    (layouts.mixed, "labelled", "which column is the label"),
    (layouts.by_class, "unpaired", "must have exactly two values"),
    (in_a_run, "images", "(?s)belongs to a run or a card of zoo.*your own images"),
    (missing_link, "images", "(?s)1 of 17 images.*x.png: cannot be opened: No such file"),
    (with_text("metadata.csv", "name,label\n1.png,cat\n"), "images", "has no column 'file_name'"),
    (with_text("metadata.csv", "file_name,label\n1.png,cat,dog\n"), "images", "the row of '1.png' has more or fewer"),
    (with_text("metadata.csv", "file_name\n1.png\n3.png\n"), "images", "row 1 names '3.png', which is not there"),
    (with_text("metadata.csv", "file_name\n5.png\n"), "images", "names none of the 2 pictures"),
    (with_text("metadata.jsonl", '{"file_name": "1.png"}\n[1]\n'), "images", "line 2 is not a JSON object"),
    (with_text("metadata.jsonl", '{"file_name": "1.png"}\n{"a"\n'), "images", "line 2: "),
    (with_text("list_attr_celeba.txt", "1\nSmiling Young\n1.png 1\n"), "images", "has 1 values for 2 attributes"),
    (broken_table, "images", "x.parquet cannot be read"),
    (pointer_table, "images", "x.parquet: this is a pointer of Git LFS.*git lfs pull"),
    (zipped(pointer_table), "images", "x.parquet: this is a pointer of Git LFS.*git lfs pull"),
    (with_text("metadata.csv", POINTER), "images", "metadata.csv: this is a pointer of Git LFS.*git lfs pull"),
    (with_text("3.png", POINTER), "images", "(?s)1 of 3 images.*3.png: this is a pointer of Git LFS.*git lfs pull"),
    (other_columns, "images", "train-2-00000-of-00001.parquet has the columns|has the columns image"),
]


@pytest.mark.parametrize(("build", "kind", "message"), FAULTS)
def test_a_fault_is_one_clear_error(build: Build, kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(build(tmp_path / "data"), SMALL, kind=kind)


def test_all_unreadable_images_are_told_at_once_and_may_be_left_out(tmp_path: Path) -> None:
    data = layouts.pictures(tmp_path / "data", [f"{i:02d}.png" for i in range(30)])
    good = load_dataset(data, SMALL)
    broken = sorted(data.iterdir())[::2]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    small = Image.new("RGB", (40, 5))
    small.save(broken[0])
    for _ in range(2):  # the second time the cache has the good ones
        with pytest.raises(DataError) as caught:
            load_dataset(data, SMALL)
        said = caught.value.message
        assert "15 of 30 images cannot be used" in said
        assert [path.name in said for path in broken] == [True] * 10 + [False] * 5
        assert "00.png: 40x5 pixels are too few for 16x16" in said
        assert said.endswith("and 5 more")
        assert "--skip-broken" in str(caught.value.hint)
        found, lost = read(open_source(data, reading=Reading(skip_broken=True)), SMALL)
        assert torch.equal(found.images, good.images[1::2])
        assert len(lost) == 15


def test_a_set_without_a_good_image_is_an_error_even_if_broken_ones_may_be_left_out(tmp_path: Path) -> None:
    data = layouts.pictures(tmp_path / "data", ["1.png", "2.png"])
    for path in data.iterdir():
        path.write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match="2 of 2 images cannot be used"):
        load_dataset(data, SMALL, reading=Reading(skip_broken=True))


def test_labels_stay_with_their_images_when_broken_ones_are_left_out(tmp_path: Path) -> None:
    data = layouts.lone(tmp_path / "data")
    (data / "photos" / "cats" / "1.png").write_bytes(b"")
    found = load_dataset(data, SMALL, kind="labelled", reading=Reading(skip_broken=True))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1, 1]


def test_only_pictures_in_files_are_pairs_side_by_side(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a table, and only pictures in files"):
        open_source(layouts.parquet(tmp_path / "data"), kind="pairs", reading=Reading(pairs="ab"))
    with pytest.raises(DataError, match="pairs='AB' is none of ab, ba"):
        Reading(pairs="AB")


# Names of folders and of the Hub


@pytest.mark.parametrize(
    "name", ["photos", "./photos", "~/photos", "photos.zip", "a/b/c", "dta/photos", "data/phtos", "x y"]
)
def test_a_mistyped_folder_is_never_taken_for_a_name_on_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts.splits(tmp_path / "data" / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(DataError, match=r"there is no (folder|file)"):
        local(name)


def test_a_mistyped_folder_is_told_with_its_neighbours(tmp_path: Path) -> None:
    layouts.splits(tmp_path / "photos")
    with pytest.raises(DataError, match=r"(?s)no folder .*photso.*Did you mean .*photos\?"):
        local(str(tmp_path / "photso"))


@pytest.mark.parametrize("name", ["flwrlabs/celeba", "https://huggingface.co/datasets/flwrlabs/celeba"])
def test_a_name_with_an_owner_is_on_the_hub(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local(name) is None
    (tmp_path / "flwrlabs" / "celeba").mkdir(parents=True)
    assert (local(name) is None) == name.startswith("https"), "a folder of that name comes first"


def test_the_librarys_own_error_reaches_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def failing(name: str) -> None:
        try:
            raise ValueError("the third column is damaged")
        except ValueError as error:
            raise datasets.exceptions.DatasetGenerationError("An error occurred") from error

    monkeypatch.setattr(datasets, "load_dataset", failing)
    with pytest.raises(DataError, match="cannot read org/name: ValueError: the third column is damaged"):
        open_source("org/name")


def test_the_tables_of_the_hub_are_read_as_those_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    folder = layouts.parquet(tmp_path / "data")
    shutil.copytree(folder, tmp_path / "plain")
    found = datasets.load_dataset(str(tmp_path / "plain"))
    monkeypatch.setattr(datasets, "load_dataset", lambda name: found)
    here, there = (
        load_dataset(given, SMALL, kind="labelled", columns={"label": "label"}) for given in (folder, "org/name")
    )
    assert here.fingerprint == there.fingerprint
    assert here.names == there.names == ("cat", "dog")


def test_what_the_user_names_must_be_there_and_what_the_recipe_names_may_be(tmp_path: Path) -> None:
    source = open_source(layouts.by_class(tmp_path / "data"), kind="labelled")
    with pytest.raises(DataError, match="has no column 'digit'"):
        resolved(source, "train", "labelled", {"label": "digit"})
    assert resolved(source, "train", "labelled", {}, {"image": "img", "label": "digit"}) == {
        "image": "image",
        "label": "label",
    }


# A process of its own


def test_local_images_need_neither_a_home_nor_a_cache_nor_the_library_of_the_hub(tmp_path: Path) -> None:
    data = layouts.by_class(tmp_path / "data")
    code = f"""
import sys
from zoo.data.source import load_dataset
from zoo.family.spec import Preparation
print(len(load_dataset({str(data)!r}, Preparation(16), kind="labelled")), "datasets" in sys.modules)
"""
    nowhere = {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "HF_HOME": "/proc/none"}
    env = {key: value for key, value in os.environ.items() if key != "ZOO_CACHE"} | nowhere
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True, timeout=120
    )
    assert done.stdout.split() == ["9", "False"]
    assert "decoded images cannot be stored" in done.stderr
