"""Sources of data sets, what is said about bad ones, and the laws of batches."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from tables import classes, flags, write_table

from zoo.data import cache, decode
from zoo.data.batches import Batches, augment
from zoo.data.source import Dataset, load_dataset, some
from zoo.distances import detail
from zoo.errors import DataError
from zoo.family.spec import Preparation

SMALL = Preparation(size=16)
GREY = Preparation(size=8, mode="L")


@pytest.fixture
def pictures(faces: Path) -> list[Path]:
    return sorted(faces.iterdir())[:8]


@pytest.fixture
def copied(pictures: Sequence[Path], tmp_path: Path) -> Path:
    """A folder of eight images that a test may break."""
    folder = tmp_path / "copied"
    folder.mkdir()
    for picture in pictures:
        shutil.copy(picture, folder)
    return folder


# Sources


def test_a_folder_of_images_is_a_data_set(faces: Path) -> None:
    found = load_dataset(faces, SMALL)
    assert found.images.shape == (48, 3, 16, 16)
    assert found.images.dtype == torch.uint8
    assert len(found.images.flatten(1).unique(dim=0)) == 48
    assert found.labels is None


def test_images_are_prepared_as_the_model_prepares_them(pictures: Sequence[Path], copied: Path) -> None:
    from zoo.images.prepare import prepare

    preparation = Preparation(size=16, mode="L", crop=0.8)
    expected = prepare(list(pictures), preparation)
    assert torch.equal(load_dataset(copied, preparation).images.float() / 255, expected)


def test_a_limit_takes_images_of_all_classes_and_always_the_same(pictures: Sequence[Path], tmp_path: Path) -> None:
    for i, path in enumerate(pictures):
        folder = tmp_path / "data" / ("cats" if 2 * i < len(pictures) else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.name)
    whole, part = (load_dataset(tmp_path / "data", SMALL, kind="labelled", limit=limit) for limit in (None, 6))
    assert part.labels is not None
    assert set(part.labels.tolist()) == {0, 1}
    assert len(part) == 6
    rows = some(len(whole), 6)
    assert torch.equal(part.images, whole.images[rows])
    assert torch.equal(rows, some(len(whole), 6))
    assert torch.equal(some(len(whole), 100), torch.arange(len(whole)))


def test_a_folder_per_class_gives_labels(pictures: Sequence[Path], tmp_path: Path) -> None:
    for i, picture in enumerate(pictures):
        folder = tmp_path / "set" / ("cats", "dogs")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder)
    found = load_dataset(tmp_path / "set", SMALL, kind="labelled", columns={"label": "label"})
    assert found.names == ("cats", "dogs")
    assert found.labels is not None
    assert found.labels.tolist() == [0] * 4 + [1] * 4


def test_splits_may_be_folders(pictures: Sequence[Path], tmp_path: Path) -> None:
    for split, chosen in {"train": pictures[:5], "test": pictures[5:]}.items():
        (tmp_path / split).mkdir()
        for picture in chosen:
            shutil.copy(picture, tmp_path / split)
    assert len(load_dataset(tmp_path, SMALL)) == 5
    assert len(load_dataset(tmp_path, SMALL, split="test")) == 3


def test_a_parquet_file_in_a_folder_is_a_data_set(pictures: Sequence[Path], copied: Path, tmp_path: Path) -> None:
    write_table(tmp_path, pictures)
    (tmp_path / "flat").mkdir()
    shutil.move(tmp_path / "data" / "train-00000-of-00001.parquet", tmp_path / "flat" / "faces.parquet")
    assert torch.equal(load_dataset(tmp_path / "flat", SMALL).images, load_dataset(copied, SMALL).images)


def test_the_layout_of_the_hub_is_read_from_a_folder(pictures: Sequence[Path], tmp_path: Path) -> None:
    folder = write_table(
        tmp_path,
        pictures,
        label=classes([0, 1, 2, 1, 0, 1, 2, 1], ["ann", "bob", "cleo"]),
        Smiling=flags([True, False] * 4),
        Young=flags([False] * 8),
        sketch=(datasets.Image(), [{"bytes": p.read_bytes(), "path": None} for p in reversed(pictures)]),
    )
    write_table(tmp_path, pictures[:3], split="test")
    assert len(load_dataset(folder, SMALL, split="test")) == 3

    labelled = load_dataset(folder, SMALL, kind="labelled", columns={"label": "label"})
    assert labelled.names == ("ann", "bob", "cleo")
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [0, 1, 2, 1, 0, 1, 2, 1]

    known = load_dataset(folder, SMALL, kind="attributes", columns={"attributes": "Young,Smiling"})
    assert known.names == ("Young", "Smiling")
    assert known.labels is not None
    assert known.labels.tolist() == [[0.0, 1.0], [0.0, 0.0]] * 4

    pairs = load_dataset(folder, SMALL, kind="pairs", columns={"input": "sketch"})
    assert pairs.inputs is not None
    assert torch.equal(pairs.inputs.flip(0), pairs.images)

    domains = load_dataset(folder, SMALL, kind="unpaired", columns={"domain": "Smiling"})
    assert domains.names == ("False", "True")
    assert domains.labels is not None
    assert domains.labels.tolist() == [1, 0] * 4


def test_two_columns_part_the_images_and_leave_out_what_is_in_neither_or_both(
    pictures: Sequence[Path], tmp_path: Path
) -> None:
    folder = write_table(tmp_path, pictures, dark=flags([1, 0, 1, 0, 1, 0, 0, 1]), fair=flags([0, 1, 1, 0, 0, 1, 0, 0]))
    everything = load_dataset(folder, SMALL)
    found = load_dataset(folder, SMALL, kind="unpaired", columns={"domain": "dark,fair"})
    assert found.names == ("dark", "fair")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    assert torch.equal(found.images, everything.images[[0, 1, 4, 5, 7]])


def test_integer_labels_without_names_are_their_own_names(pictures: Sequence[Path], tmp_path: Path) -> None:
    folder = write_table(tmp_path, pictures, digit=(datasets.Value("int32"), [3, 1, 4, 1, 5, 0, 2, 6]))
    assert load_dataset(folder, SMALL, kind="labelled", columns={"label": "digit"}).names == tuple("0123456")


# The cache


class Count:
    """Counts the images that are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images, decode_one = 0, decode._decode_one

        def counted(*arguments: Any) -> Any:
            self.images += 1
            return decode_one(*arguments)

        monkeypatch.setattr(decode, "_decode_one", counted)

    def of(self, *arguments: Any, **options: Any) -> tuple[int, Dataset]:
        """How many images a call of `load_dataset` decodes, and its result."""
        before = self.images
        found = load_dataset(*arguments, **options)
        return self.images - before, found


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Count:
    return Count(monkeypatch)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of this test's own, not yet made."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_images_are_decoded_once(copied: Path, count: Count, cached: Path) -> None:
    cold, first = count.of(copied, SMALL)
    warm, second = count.of(copied, SMALL)
    assert (cold, warm) == (8, 0)
    assert torch.equal(first.images, second.images)
    assert first.fingerprint == second.fingerprint
    assert count.of(copied, Preparation(size=16, filter="any", binarize=True))[0] == 0  # the bytes are the same
    assert [path.stat().st_size for path in cached.iterdir()] == [32 + 8 * (3 * 16 * 16 + 16)]


@pytest.mark.parametrize("other", [{"size": 8}, {"mode": "L"}, {"crop": 0.9}], ids=str)
def test_another_preparation_is_decoded_anew(other: dict[str, Any], copied: Path, count: Count, cached: Path) -> None:
    count.of(copied, SMALL)
    assert count.of(copied, replace(SMALL, **other))[0] == 8


def test_columns_and_splits_are_told_apart(
    pictures: Sequence[Path], tmp_path: Path, count: Count, cached: Path
) -> None:
    cells = [{"bytes": p.read_bytes(), "path": None} for p in reversed(pictures)]
    folder = write_table(tmp_path / "set", pictures, sketch=(datasets.Image(), cells))
    write_table(folder, pictures[::-1], split="test", sketch=(datasets.Image(), cells))
    for _ in range(2):
        pairs = load_dataset(folder, SMALL, kind="pairs", columns={"input": "sketch"})
        assert pairs.inputs is not None
        assert torch.equal(pairs.inputs.flip(0), pairs.images)
        assert torch.equal(load_dataset(folder, SMALL, split="test").images, pairs.inputs)
    assert count.images == 8 + 8 + 8


def test_parts_of_a_split_are_taken_from_the_whole_or_cached_by_themselves(
    pictures: Sequence[Path], tmp_path: Path, count: Count, cached: Path
) -> None:
    columns = {"dark": flags([1, 0, 1, 0, 1, 0, 0, 1]), "fair": flags([0, 1, 1, 0, 0, 1, 0, 0])}
    folder = write_table(tmp_path / "set", pictures, **columns)
    domains: dict[str, Any] = {"kind": "unpaired", "columns": {"domain": "dark,fair"}}
    assert [count.of(folder, SMALL, **domains)[0] for _ in range(2)] == [5, 0]
    assert [count.of(folder, SMALL, limit=3)[0] for _ in range(2)] == [3, 0]
    decoded, whole = count.of(folder, SMALL)
    assert decoded == 8
    shutil.rmtree(cached)
    load_dataset(folder, SMALL)
    for picked, options in (([0, 1, 4, 5, 7], domains), (some(8, 3).tolist(), {"limit": 3})):
        decoded, part = count.of(folder, SMALL, **options)
        assert decoded == 0
        assert torch.equal(part.images, whole.images[picked])


def test_a_replaced_file_of_the_same_size_and_date_is_noticed(copied: Path, count: Count, cached: Path) -> None:
    for name, shade in (("a.png", 10), ("b.png", 200)):
        Image.new("RGB", (32, 32), (shade,) * 3).save(copied / name)
    first, second = copied / "a.png", copied / "b.png"
    size = max(first.stat().st_size, second.stat().st_size)
    for path in (first, second):
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    before = load_dataset(copied, SMALL)
    state = first.stat()
    first.write_bytes(second.read_bytes())
    os.utime(first, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (first.stat().st_size, first.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    decoded, after = count.of(copied, SMALL)
    assert decoded == 10
    assert not torch.equal(before.images, after.images)


def test_an_added_or_removed_file_is_noticed(copied: Path, count: Count, cached: Path) -> None:
    load_dataset(copied, SMALL)
    (copied / "000.png").unlink()
    assert count.of(copied, SMALL)[0] == 7
    shutil.copy(copied / "001.png", copied / "999.png")
    assert count.of(copied, SMALL)[0] == 8


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(path.read_bytes()[:-9] + bytes([path.read_bytes()[-9] ^ 1]) + bytes(8)),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
    ],
    ids=["cut short", "too long", "other bytes", "empty", "zeros"],
)
def test_a_damaged_cache_file_is_decoded_anew(
    damage: Callable[[Path], object], copied: Path, count: Count, cached: Path
) -> None:
    _, first = count.of(copied, SMALL)
    (file,) = cached.iterdir()
    damage(file)
    decoded, second = count.of(copied, SMALL)
    assert decoded == 8
    assert torch.equal(first.images, second.images)
    assert count.of(copied, SMALL)[0] == 0  # mended


def test_a_file_under_the_name_of_another_is_not_trusted(
    copied: Path, faces: Path, tmp_path: Path, count: Count, cached: Path
) -> None:
    load_dataset(copied, SMALL)
    (own,) = cached.iterdir()
    (tmp_path / "others").mkdir()
    for picture in sorted(faces.iterdir())[8:16]:
        shutil.copy(picture, tmp_path / "others")
    load_dataset(tmp_path / "others", SMALL)
    (other,) = set(cached.iterdir()) - {own}
    shutil.copy(other, own)
    assert count.of(copied, SMALL)[0] == 8


def test_images_that_changed_while_they_were_read_are_not_cached(
    copied: Path, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode_one = decode._decode_one

    def slow(*arguments: Any) -> Any:
        (copied / "000.png").touch()
        return decode_one(*arguments)

    monkeypatch.setattr(decode, "_decode_one", slow)
    load_dataset(copied, SMALL)
    assert not cached.exists()


def test_a_new_way_of_decoding_leaves_the_old_files_alone(
    copied: Path, count: Count, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_dataset(copied, SMALL)
    monkeypatch.setattr(decode, "DECODING", decode.DECODING + 1)
    assert count.of(copied, SMALL)[0] == 8


def test_a_cache_that_cannot_be_written_costs_a_warning(copied: Path, tmp_path: Path, count: Count) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file" / "cache"))
        with pytest.warns(UserWarning, match="Not a directory.*Set ZOO_CACHE to another folder"):
            assert len(count.of(copied, SMALL)[1]) == 8


def test_a_full_disk_costs_a_warning_and_leaves_nothing(
    copied: Path, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("zoo.files.fsync", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert len(load_dataset(copied, SMALL)) == 8
    assert not list(cached.iterdir())


def test_the_cache_can_be_turned_off_and_has_the_usual_place(
    copied: Path, tmp_path: Path, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("ZOO_CACHE", "off")
    assert [count.of(copied, SMALL)[0] for _ in range(2)] == [8, 8]
    assert not (tmp_path / "xdg").exists()
    monkeypatch.delenv("ZOO_CACHE")
    assert cache.location() == tmp_path / "xdg" / "zoo" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard says to ignore
    assert cache.location() == tmp_path / "home" / ".cache" / "zoo" / "data"


def test_what_no_run_has_read_for_long_is_removed(copied: Path, count: Count, cached: Path) -> None:
    load_dataset(copied, SMALL)
    (old,) = cached.iterdir()
    long_ago = time.time() - cache.UNUSED - 60
    os.utime(old, (long_ago, long_ago))
    assert count.of(copied, SMALL)[0] == 0  # reading it makes it young
    load_dataset(copied, GREY)
    assert old.exists()
    os.utime(old, (long_ago, long_ago))
    load_dataset(copied, SMALL, limit=2)  # from the whole split: young again
    os.utime(old, (long_ago, long_ago))
    load_dataset(copied, Preparation(size=12))
    assert not old.exists()


# Bad sources: the error names what is at fault


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        load_dataset(tmp_path / "nowhere", SMALL)


@pytest.mark.parametrize("files", [(), ("notes.txt", "table.csv")])
def test_a_folder_without_images_says_what_is_expected(files: Sequence[str], tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_text("nothing")
    with pytest.raises(DataError, match=r"(?s)holds no images.*\.png, \.jpg.*\.parquet"):
        load_dataset(tmp_path, SMALL)


def test_an_unknown_hub_name_is_one_clear_error() -> None:
    with pytest.raises(DataError, match=r"(?s)cannot read nobody/nothing.*--data FOLDER"):
        load_dataset("nobody/nothing", SMALL)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:500]),
        lambda path: path.write_bytes(b"<html>404</html>"),
        lambda path: path.write_bytes(b""),
    ],
    ids=["cut short", "a web page", "empty"],
)
def test_a_broken_image_among_good_ones_is_named(damage: Callable[[Path], object], copied: Path) -> None:
    damage(copied / "005.png")
    with pytest.raises(DataError, match=r"(?s)1 of 8 images cannot be used.*005\.png"):
        load_dataset(copied, SMALL)


def test_too_small_images_are_named_with_their_size(copied: Path) -> None:
    Image.new("RGB", (40, 7)).save(copied / "003.png")
    with pytest.raises(DataError, match=r"(?s)003\.png: 40x7 pixels are too few for 16x16"):
        load_dataset(copied, SMALL)


def test_a_missing_split_is_told_with_those_there(faces: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)has no split 'tset'.*'?train"):
        load_dataset(faces, SMALL, split="tset")


@pytest.mark.parametrize(
    ("kind", "columns", "message"),
    [
        ("images", {"image": "imge"}, "(?s)no column 'imge'.*Did you mean 'image'"),
        ("images", {"image": "age"}, "(?s)column 'age' is not an image but int.*image=NAME"),
        ("pairs", {"input": "sketch"}, "no column 'sketch'"),
        ("pairs", {"input": "age"}, "column 'age' is not an image"),
        ("labelled", {}, "(?s)labelled batches need to know.*age.*--column label="),
        ("labelled", {"label": "lable"}, "(?s)no column 'lable'.*Did you mean 'label'"),
        ("labelled", {"label": "name"}, "column 'name' has 8 different values, and every row has another one"),
        ("labelled", {"label": "serial"}, "column 'serial' has 8 different values, and every row has another one"),
        ("labelled", {"label": "share"}, "column 'share' holds numbers with fractions, which are no classes"),
        ("labelled", {"label": "holes"}, "column 'holes': 4 rows have no label. The first is row 1"),
        ("attributes", {}, "which column is the attributes"),
        ("attributes", {"attributes": "Young,Yong"}, "(?s)no column 'Yong'.*Did you mean 'Young'"),
        ("attributes", {"attributes": "Young,name"}, "column 'name' is not an attribute"),
        ("attributes", {"attributes": "three"}, "column 'three' is not an attribute"),
        ("attributes", {"attributes": "holes"}, "column 'holes' is not an attribute"),
        ("unpaired", {}, "which column is the domain"),
        ("unpaired", {"domain": "age"}, "column 'age' must have exactly two values"),
        ("unpaired", {"domain": "age,holes"}, "column 'age' is not an attribute"),
        ("unpaired", {"domain": "holes"}, "column 'holes' must have exactly two values"),
    ],
)
def test_wrong_columns_are_named(
    kind: str, columns: dict[str, str], message: str, pictures: Sequence[Path], tmp_path: Path
) -> None:
    whole, text = datasets.Value("int64"), datasets.Value("string")
    folder = write_table(
        tmp_path,
        pictures,
        label=classes([0] * 8, ["only"]),
        age=(whole, list(range(8))),
        name=(text, list("abcdefgh")),
        serial=(whole, [10**15 + i for i in range(8)]),
        three=(whole, [-1, 0, 1, 1] * 2),
        share=(datasets.Value("float32"), [0.5] * 8),
        holes=(datasets.Value("bool"), [True, None] * 4),
        Young=flags([True, False] * 4),
    )
    with pytest.raises(DataError, match=message):
        load_dataset(folder, SMALL, kind=kind, columns=columns)


# Batches


def numbered(n: int = 12, side: int = 8, labels: torch.Tensor | None = None) -> Dataset:
    """Image i has the value i in every pixel, so that it is known after any augmentation."""
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, side, side).contiguous()
    return Dataset("numbered", "train", images, None, labels)


def numbers(x: torch.Tensor) -> list[int]:
    return [int(value) for value in (x[:, 0, 4, 4] * 255).round().tolist()]


def batches(dataset: Dataset | None = None, kind: str = "images", batch_size: int = 4, **options: Any) -> Batches:
    return Batches(dataset or numbered(), kind, batch_size, preparation=GREY, **options)


def test_batch_k_depends_on_the_seed_and_k_alone() -> None:
    options: dict[str, Any] = {"seed": 3, "flip": True, "jitter": True}
    first = batches(**options)
    straight = [next(first) for _ in range(9)]
    second = batches(**options)
    for k in (8, 0, 5, 4, 1, 7, 3, 2, 6):
        assert torch.equal(second.at(k), straight[k])
    other = batches(**options | {"seed": 4})
    assert any(numbers(other.at(k)) != numbers(straight[k]) for k in range(9))


def test_every_pass_shows_every_image_once_in_another_order() -> None:
    stream = batches()
    assert len(stream) == 3
    passes = [[number for _ in range(3) for number in numbers(next(stream))] for _ in range(4)]
    assert all(sorted(seen) == list(range(12)) for seen in passes)
    assert len({tuple(seen) for seen in passes}) == 4


def test_a_rest_too_small_for_a_batch_is_left_out_of_a_pass() -> None:
    stream = batches(batch_size=5)
    assert len(stream) == 2
    assert len({number for k in (0, 1) for number in numbers(stream.at(k))}) == 10


def test_a_stream_goes_on_where_its_state_was_taken() -> None:
    stream = batches(flip=True, jitter=True)
    for _ in range(5):
        next(stream)
    state = stream.state_dict()
    expected = [next(stream) for _ in range(4)]
    resumed = batches(flip=True, jitter=True)
    resumed.load_state_dict(state)
    assert all(torch.equal(next(resumed), batch) for batch in expected)


@pytest.mark.parametrize(
    "other",
    [
        numbered(13),
        Dataset("changed", "train", numbered().images.flip(0)),
        Dataset("labelled", "train", numbered().images, labels=torch.arange(12)),
    ],
    ids=["another image", "another order", "other labels"],
)
def test_a_stream_does_not_go_on_with_other_data(other: Dataset) -> None:
    state = batches().state_dict()
    with pytest.raises(DataError, match=r"(?s)the run was begun with other data.*12 images then.*same data"):
        batches(other).load_state_dict(state)


@pytest.mark.parametrize("kind", ["images", "labelled", "pairs", "unpaired"])
def test_the_shares_of_all_processes_make_up_the_batch(kind: str) -> None:
    dataset = numbered(labels=torch.arange(12) % 2)
    options: dict[str, Any] = {"flip": True, "jitter": True, "filter": lambda x: 1 - x}
    whole = batches(dataset, kind, **options).at(4)
    shares = [batches(dataset, kind, rank=rank, world=2, **options).at(4) for rank in (0, 1)]
    if kind == "images":
        whole, shares = [whole], [[share] for share in shares]
    for i, part in enumerate(whole):
        assert torch.equal(torch.stack([share[i] for share in shares], dim=1).flatten(0, 1), part)


def test_labels_stay_with_their_images() -> None:
    x, y = batches(numbered(labels=100 + torch.arange(12)), "labelled").at(1)
    assert y.tolist() == [100 + number for number in numbers(x)]


def test_attributes_stay_with_their_images() -> None:
    table = torch.stack([torch.arange(12.0) % 2, torch.arange(12.0) // 6], dim=1)
    x, a = batches(numbered(labels=table), "attributes").at(1)
    assert a.tolist() == [[number % 2, number // 6] for number in numbers(x)]


def test_unpaired_domains_are_complete_and_shuffled_by_themselves() -> None:
    domains = torch.tensor([0, 1, 1] * 4)
    stream = batches(numbered(labels=domains), "unpaired", batch_size=2)
    assert len(stream) == 4
    pairs = [next(stream) for _ in range(8)]
    a, b = ([number for pair in pairs for number in numbers(pair[side])] for side in (0, 1))
    assert sorted(a) == sorted([0, 3, 6, 9] * 4)
    assert sorted(b) == sorted([1, 2, 4, 5, 7, 8, 10, 11] * 2)
    assert sorted(b[:8]) == sorted(b[8:])
    partners = [set(zip(a[:8], b[:8], strict=True)), set(zip(a[8:], b[8:], strict=True))]
    assert partners[0] != partners[1]


def test_pairs_by_a_filter_give_the_filtered_image_first() -> None:
    x, y = batches(kind="pairs", filter=lambda image: 1 - image, flip=True, jitter=True).at(0)
    assert torch.equal(x, 1 - y)


def test_both_halves_of_a_pair_are_augmented_alike() -> None:
    images = torch.randint(256, (12, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    twice = Dataset("twice", "train", images, images.clone())
    x, y = batches(twice, "pairs", flip=True, jitter=True).at(0)
    assert torch.equal(x, y)
    plain, _ = batches(twice, "pairs").at(0)
    assert not torch.equal(x, plain)


def test_flip_mirrors_half_of_the_images_and_does_nothing_else() -> None:
    x = torch.rand(400, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = augment(x, torch.Generator().manual_seed(0), flip=True, jitter=False)
    mirrored = (y == x.flip(3)).flatten(1).all(1)
    assert bool((mirrored | (y == x).flatten(1).all(1)).all())
    assert abs(int(mirrored.sum()) - 200) < 50  # five standard deviations


def test_jitter_moves_images_and_keeps_their_size_and_every_pixels_value() -> None:
    ramp = torch.linspace(0, 1, 64).expand(64, 1, 64, 64).contiguous()
    y = augment(ramp, torch.Generator().manual_seed(0), flip=False, jitter=True)
    assert y.shape == ramp.shape
    assert set(y.unique().tolist()) <= set(ramp.unique().tolist())
    moved_by = {round(63 * value) for value in y[:, 0, 0, 32].tolist()}
    assert moved_by == set(range(28, 37))  # 15/256 of 64 pixels are 4, either way


def test_a_jittered_image_is_as_sharp_as_the_original() -> None:
    """A model that is trained on blurred targets makes blurred images."""
    x = torch.rand(32, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    y = augment(x, torch.Generator().manual_seed(0), flip=False, jitter=True)
    assert detail(y).mean() > 0.95 * detail(x).mean()


def test_binary_images_are_drawn_afresh_with_the_grey_values_as_their_means() -> None:
    binary = Preparation(size=32, mode="L", binarize=True)
    images = torch.full((4, 1, 32, 32), 64, dtype=torch.uint8)
    stream = Batches(Dataset("grey", "train", images), "images", 4, preparation=binary)
    first, second = next(stream), next(stream)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert first.mean().item() == pytest.approx(64 / 255, abs=0.035)  # five standard errors
    assert not torch.equal(first, second)
    extremes = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 32, 32).contiguous()
    x = next(Batches(Dataset("ends", "train", extremes), "images", 2, preparation=binary))
    assert sorted(x.flatten(1).mean(1).tolist()) == [0.0, 1.0]


@pytest.mark.parametrize("batch_size", [0, 13])
def test_a_batch_larger_than_the_data_is_refused(batch_size: int) -> None:
    with pytest.raises(
        DataError, match=r"(?s)batch size .* does not fit numbered, which has 12 images.*--batch-size 12"
    ):
        batches(batch_size=batch_size)


def test_the_smaller_domain_bounds_the_batch() -> None:
    labels = torch.tensor([0] * 10 + [1] * 2)
    with pytest.raises(DataError, match="smaller domain has 2 images"):
        batches(numbered(labels=labels), "unpaired", batch_size=3)


def test_a_batch_must_be_shared_equally() -> None:
    with pytest.raises(DataError, match="3 processes cannot share a batch"):
        batches(world=3)


def test_batches_without_what_their_kind_needs_are_refused() -> None:
    with pytest.raises(DataError, match=r"pairs need a column with the inputs, or an input filter\n.*--column input="):
        batches(kind="pairs")
    for kind, column in {"labelled": "label", "attributes": "attributes", "unpaired": "domain"}.items():
        with pytest.raises(DataError, match=f"{kind} batches need a column of the kind.*\n.*--column {column}="):
            batches(kind=kind)


def test_reading_data_and_batches_leave_the_global_random_state_alone(faces: Path) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # type: ignore[index,union-attr]
    stream = Batches(load_dataset(faces, SMALL), "images", 4, preparation=SMALL, flip=True, jitter=True)
    next(stream)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert numpy_state == np.random.get_state()[1].tobytes()  # type: ignore[index,union-attr]
