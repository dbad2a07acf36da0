"""Data sets in every layout that people have, written on the spot from generated images."""

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tables import classes, write_table

STRANGE = (
    "a[1].png",
    "b*.png",
    "c,d.png",
    "e f.png",
    "g\nh.png",
    "é顔.png",
    "100%.png",
    "{x}.png",
    "'q'.png",
    "i?.png",
)
"""Names that a file system allows and that mean something to a shell, to patterns or to tables."""


def picture(path: Path, number: int, size: tuple[int, int] = (24, 20)) -> Path:
    """A file with an image of its own for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def pictures(folder: Path, names: Iterable[str], start: int = 0) -> Path:
    for number, name in enumerate(names, start):
        picture(folder / name, number)
    return folder


def numbered(folders: Mapping[str, int]) -> list[str]:
    """Names of so many files in each folder."""
    return [f"{folder}/{i}.png" for folder, n in folders.items() for i in range(n)]


def flat(folder: Path) -> Path:
    return pictures(folder, [*STRANGE, "train.png", "test.png", "val_1.png", "dev.png", "validation.png", "eval.png"])


def by_class(folder: Path) -> Path:
    return pictures(folder, numbered({"bus": 2, "test": 3, "train": 4}))


def strange_classes(folder: Path) -> Path:
    return pictures(folder, numbered({"[a]*": 2, "b, c": 1, "2": 2, "10": 1}))


def mixed(folder: Path) -> Path:
    return pictures(folder, ["1.png", "2.png", *numbered({"cats": 2, "dogs": 2})])


def lone(folder: Path) -> Path:
    """All in one folder, as an archive is unpacked."""
    return pictures(folder, numbered({"photos/cats": 2, "photos/dogs": 3}))


def splits(folder: Path) -> Path:
    (pictures(folder, numbered({"train": 4, "test": 2})) / "README.md").write_text("words")
    return folder


def splits_of_classes(folder: Path) -> Path:
    return pictures(folder, numbered({"train/cats": 2, "train/dogs": 2, "val/cats": 1, "val/dogs": 2}))


def half_splits(folder: Path) -> Path:
    return pictures(folder, numbered({"train/cats": 2, "train/dogs": 2, "test/cats": 1}))


def unpaired(folder: Path) -> Path:
    return pictures(folder, numbered({"trainA": 3, "trainB": 2, "testA": 1, "testB": 2}))


def side_by_side(folder: Path) -> Path:
    """Four pictures of 48x20 with a dark half on the left and a light one on the right."""
    for i in range(4):
        values = np.full((20, 48, 3), 10 + i, dtype=np.uint8)
        values[:, 24:] = 200 + i
        (folder / "train").mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / "train" / f"{i}.png")
    return folder


def two_folders(folder: Path) -> Path:
    """Pairs 0 to 2 with two kinds of suffixes, and a picture without a partner in each folder."""
    for i in range(3):
        picture(folder / "A" / f"{i}.png", i)
        picture(folder / "B" / f"{i}.jpg", 10 + i)
    picture(folder / "A" / "lonely.png", 5)
    picture(folder / "B" / "alone.png", 6)
    return folder


def named_folders(folder: Path) -> Path:
    return pictures(folder, numbered({"edges": 3, "photos": 3}))


FACES = {"000001.png": (-1, 1), "000002.png": (1, -1), "000003.png": (-1, -1), "000009.png": (1, 1)}


def celeba(folder: Path) -> Path:
    pictures(folder / "img_align_celeba", ["000001.png", "000002.png", "000003.png", "extra.png"])
    lines = [f"{name} {a:2d} {b:2d}" for name, (a, b) in FACES.items()]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(len(lines)), "Smiling Young ", *lines]) + "\n")
    return folder


def celeba_table(folder: Path) -> Path:
    pictures(folder, ["000001.png", "000002.png", "000003.png"])
    words = {-1: "no", 1: "YES"}
    lines = [f"{name},{words[a]},{words[b]}" for name, (a, b) in FACES.items()]
    (folder / "list_attr_celeba.csv").write_text("\n".join(["image_id,Smiling,Young", *lines]) + "\n")
    return folder


def metadata_table(folder: Path) -> Path:
    pictures(folder, ["train/1.png", "train/2,x.png", "test/3.png", "test/unnamed.png"])
    rows = ['file_name,label,note\ntrain/1.png,cat,"one, two"', '"train/2,x.png",dog,"a\nb"', "test/3.png,cat,"]
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


def metadata_lines(folder: Path) -> Path:
    pictures(folder, ["a/1.png", "a/2.png", "b/1.png", "b/2.png"])
    rows = [{"input_file_name": f"a/{i}.png", "file_name": f"b/{i}.png", "class": i == 1} for i in (1, 2)]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return folder


def parquet(folder: Path) -> Path:
    made = sorted(pictures(folder / "tmp", ["0.png", "1.png", "2.png"]).iterdir())
    for split, chosen in (("train", made[:2]), ("test", made[2:])):
        write_table(folder / "set [1]*", chosen, split, label=classes([1, 0][: len(chosen)], ["cat", "dog"]))
    return folder / "set [1]*"


def saved(folder: Path) -> Path:
    """What `DatasetDict.save_to_disk` leaves."""
    import datasets

    datasets.disable_progress_bars()
    rows = {"label": [0, 1, 1]}
    rows["image"] = [
        {"bytes": path.read_bytes(), "path": None} for path in sorted(lone(folder / "x").rglob("*.png"))[:3]
    ]
    features = datasets.Features({"label": datasets.ClassLabel(names=["cat", "dog"]), "image": datasets.Image()})
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features)}).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def packed(build: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """A zip of another layout, with what a Mac puts into it."""

    def build_zip(folder: Path) -> Path:
        inner = build(folder / "inside")
        with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
            archive.writestr("__MACOSX/._1.png", "nothing")
            for path in sorted(inner.rglob("*")):
                archive.write(path, Path("photos") / path.relative_to(inner))
        return folder / "photos.zip"

    return build_zip


def with_litter(folder: Path) -> Path:
    """Two classes among what systems, people and zoo leave in folders; and links."""
    pictures(
        folder, numbered({"cats": 2, "dogs": 2, ".hidden": 2, "__MACOSX": 1, "runs/mine/samples": 2, "cards/x": 1})
    )
    for name in (".DS_Store", "Thumbs.db", "cats/.DS_Store", "notes.txt"):
        (folder / name).write_text("nothing")
    (folder / "runs" / "mine" / "run.json").write_text("{}")
    for name in ("config.json", "model.safetensors"):
        (folder / "cards" / "x" / name).write_text("{}")
    os.symlink(folder, folder / "cats" / "loop")
    os.symlink(folder / "cats", folder / "acats")
    os.symlink(folder / "dogs" / "0.png", folder / "cats" / "again.png")
    os.symlink(picture(folder.parent / "elsewhere.png", 77), folder / "dogs" / "linked.png")
    return folder
