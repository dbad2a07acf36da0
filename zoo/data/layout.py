"""What a source of data is. This is decided from names alone, before any picture is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.data import described, pairs, tables
from zoo.data.described import Row
from zoo.data.tables import Files, Table
from zoo.data.tree import Entry, Left, Tree, of_files, tree
from zoo.errors import DataError
from zoo.images.read import SUFFIXES

DATA_FILES = frozenset({".parquet", ".arrow"})
SPLITS = {"train": "train", "test": "test", "val": "validation", "valid": "validation", "validation": "validation"}
"""Names of the folders and files of a split layout, and the splits that they stand for."""
DOMAINS = {split + domain: (SPLITS[split], domain.upper()) for split in ("train", "test", "val") for domain in "ab"}
"""Names of the folders of unpaired data, in lower case."""
NAMES_SHOWN = 10


@dataclass(frozen=True)
class Reading:
    """How a source is read, where its names do not say it."""

    pairs: str = ""
    """Each picture holds a pair side by side: the input on the left (ab) or on the right (ba)."""
    splits: bool = True
    """Whether folders named like splits are splits."""
    skip_broken: bool = False
    """Whether to go on without pictures that cannot be read."""

    def __post_init__(self) -> None:
        if self.pairs not in ("", *pairs.HALVES):
            known = ", ".join(pairs.HALVES)
            raise DataError(f"pairs={self.pairs!r} is none of {known}", "Give --pairs ab or --pairs ba.")


@dataclass(frozen=True)
class Source:
    """A data set whose layout is known and whose pictures are not read yet."""

    name: str
    splits: Mapping[str, Table]
    words: str
    """What the images are, in words that follow their number; empty if there is nothing to say."""
    reading: Reading = field(default_factory=Reading)
    left: Sequence[Left] = ()
    """What was left out, and why."""
    broken: Sequence[Left] = ()
    """What should have been read and cannot be."""


def of_paths(paths: Sequence[Path], kind: str, columns: Mapping[str, str], reading: Reading) -> Source:
    """The source that a folder, a zip, a file of data or a list of pictures is.

    kind: of batch; two folders are pairs for `pairs`, and classes or domains for other kinds. columns: what the user
    said about columns; for pairs these may be folders. DataError for a source without pictures or data, and for one
    that is half of a layout.
    """
    name = str(paths[0]) if len(paths) == 1 else f"{len(paths)} files in {paths[0].parent}"
    alone = len(paths) == 1 and (paths[0].is_dir() or paths[0].suffix.lower() == ".zip")
    found = tree(paths[0]) if alone else of_files(paths)
    data = _data_files(found)
    if data:
        splits, words = _of_tables(name, data, reading), ""
        used = {entry.parts for entry in data}
    else:
        splits, words, used = _of_pictures(name, found, kind, columns, reading)
    left = [*found.left, *(Left(str(entry), _why(entry)) for entry in found.entries if entry.parts not in used)]
    if not any(map(len, splits.values())):
        raise DataError(
            f"data: {name} holds no images and no data files",
            "Give a folder with images (.png, .jpg, .webp and others) or .parquet files, or a .zip of one.",
        )
    if "test" not in splits and "validation" in splits:
        splits = {"train": splits["train"], "test": splits["validation"]}
    return Source(name, splits, words, reading, left, found.broken)


def _why(entry: Entry) -> str:
    if entry.suffix in DATA_FILES | SUFFIXES:
        return "not a part of the layout"
    return f"no image ({entry.suffix or 'a name without a suffix'})"


def _data_files(found: Tree) -> list[Entry]:
    """The files of data: those at the top or in `data`; else, where there are no pictures, those of any folder."""
    data = [entry for entry in found.entries if entry.suffix in DATA_FILES]
    near = [entry for entry in data if len(entry.parts) == 1 or entry.parts[:-1] == ("data",)]
    return near or ([] if any(entry.suffix in SUFFIXES for entry in found.entries) else data)


def _of_tables(name: str, data: Sequence[Entry], reading: Reading) -> dict[str, Table]:
    """A file belongs to a split if its name or its folder's name is a split's, as in test-00000-of-00001.parquet."""
    groups: dict[str, list[Entry]] = {}
    for entry in data:
        words = (entry.name.partition(".")[0].partition("-")[0], *reversed(entry.parts[:-1]))
        split = next((SPLITS[word.lower()] for word in words if word.lower() in SPLITS), "")
        groups.setdefault(split, []).append(entry)
    if not reading.splits or "train" not in groups or "" in groups:
        groups = {"train": list(data)}
    return {split: tables.of_files(name, entries) for split, entries in groups.items()}


def _of_pictures(
    name: str, found: Tree, kind: str, columns: Mapping[str, str], reading: Reading
) -> tuple[dict[str, Table], str, set[tuple[str, ...]]]:
    """The splits, the layout in words, and which files are in a row or describe one."""
    known = described.rows(found)
    rows, depth = known.rows, 0
    while rows and all(len(row.parts) > depth + 1 for row in rows) and len({row.parts[depth] for row in rows}) == 1:
        depth += 1  # a lone folder at the top says nothing
    parts = _split(name, rows, depth, known.by, reading)
    made: dict[str, Table] = {}
    words = ""
    for split, (members, level) in parts.items():
        made[split], words = _table(name, members, level, kind, columns, known.by, reading, found)
    used = {entry.parts for row in rows for entry in row.pictures.values()}
    left = {left.path for left in found.left}
    used |= {entry.parts for entry in found.entries if entry.name == known.by or str(entry) in left}
    return made, words, used


def _split(name: str, rows: list[Row], depth: int, by: str, reading: Reading) -> dict[str, tuple[list[Row], int]]:
    """The rows of each split, and how many names lead to what a split holds.

    A layout of splits is seen as a whole or not at all: nothing but train with test or validation lies at the top.
    """
    tops = {row.parts[depth] for row in rows if len(row.parts) > depth + 1}
    lower = {top.lower() for top in tops}
    if not reading.splits or any(len(row.parts) <= depth + 1 for row in rows) or len(lower) < len(tops):
        return {"train": (rows, depth)}
    if {"traina", "trainb"} <= lower <= DOMAINS.keys():
        groups: dict[str, tuple[list[Row], int]] = {}
        for row in rows:
            split, domain = DOMAINS[row.parts[depth].lower()]
            said = Row(row.pictures, {**row.facts, "domain": domain})
            groups.setdefault(split, ([], depth + 1))[0].append(said)
        return groups
    if "train" in lower and len(lower) > 1 and lower <= SPLITS.keys():
        groups = {}
        for row in rows:
            groups.setdefault(SPLITS[row.parts[depth].lower()], ([], depth + 1))[0].append(row)
        if not by:
            _check_same(name, groups)
        return groups
    return {"train": (rows, depth)}


def _check_same(name: str, groups: Mapping[str, tuple[list[Row], int]]) -> None:
    """DataError if the splits hold different classes: then `train` and `test` may be classes themselves."""
    classes = {split: _classes(rows, depth) for split, (rows, depth) in groups.items()}
    first = classes["train"]
    for split, found in classes.items():
        if found != first:
            raise DataError(
                f"{name} has folders for splits, but train has {_listed(first)} and {split} has {_listed(found)}",
                "Give the splits the same classes. Or, to take the folders as classes, add --no-splits.",
            )


def _listed(classes: Sequence[str]) -> str:
    return f"the classes {', '.join(classes)}" if classes else "no classes"


def _classes(rows: Sequence[Row], depth: int) -> list[str]:
    """The names of the folders that hold all rows, if there are two or more."""
    if any(len(row.parts) <= depth + 1 for row in rows):
        return []
    found = sorted({row.parts[depth] for row in rows})
    return found if len(found) > 1 else []


def _table(
    name: str,
    rows: list[Row],
    depth: int,
    kind: str,
    columns: Mapping[str, str],
    by: str,
    reading: Reading,
    found: Tree,
) -> tuple[Files, str]:
    """The rows of one split as a table, and what they are in words."""
    if reading.pairs:
        return pairs.side_by_side(rows, reading.pairs), ", pairs side by side"
    if by:
        return _of_facts(name, rows, by), f", described by {by}"
    classes = _classes(rows, depth)
    if kind == "pairs" and classes:
        named = pairs.folders(classes, columns)
        if named is not None:
            return pairs.of_folders(name, rows, depth, named, found), f", pairs of {' and '.join(named.values())}"
    facts: dict[str, list[Any]] = {}
    if rows and "domain" in rows[0].facts:
        facts["domain"] = facts["label"] = [row.facts["domain"] for row in rows]
        return _plain(rows, facts), " in 2 domains: A, B"
    if classes:
        facts["label"] = [_text(row.parts[depth]) for row in rows]
        return _plain(rows, facts), f" in {counted('classes', classes)}"
    outside = sum(len(row.parts) <= depth + 1 for row in rows)
    mixed = 0 < outside < len(rows)
    return _plain(rows, facts), f", no classes, since {outside:,} of them are outside of the folders" if mixed else ""


def counted(what: str, names: Sequence[str]) -> str:
    """How many classes, attributes or domains there are, and the names of the first ones."""
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return f"{len(names):,} {what}: {', '.join(names[:NAMES_SHOWN])}{more}"


def _plain(rows: Sequence[Row], facts: Mapping[str, Sequence[Any]]) -> Files:
    return Files({"image": [row.pictures["image"] for row in rows]}, facts)


def _text(name: str) -> str:
    """A name as text that can be written: bytes of it that are no UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode()


def _of_facts(name: str, rows: Sequence[Row], by: str) -> Files:
    pictured, said = list(rows[0].pictures), list(rows[0].facts)
    for row in rows:
        if list(row.pictures) != pictured or set(row.facts) != set(said):
            raise DataError(f"{name}: the rows of {by} have different columns", "Give every row the same columns.")
    cells = {column: [row.pictures[column] for row in rows] for column in pictured}
    return Files(cells, {column: [row.facts[column] for row in rows] for column in said})
