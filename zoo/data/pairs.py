"""Pairs of an input and a target: side by side in one picture, or by the same name in two folders."""

import os
from collections.abc import Mapping, Sequence

from zoo.data.described import Row
from zoo.data.tables import Files
from zoo.data.tree import Entry, Left, Tree
from zoo.errors import DataError

FOLDERS = (("a", "b"), ("input", "target"), ("input", "output"), ("inputs", "targets"), ("inputs", "outputs"))
"""Names of two folders with pairs, in lower case: that of the inputs, and that of the targets."""
HALVES = {"ab": {"input": "left", "image": "right"}, "ba": {"input": "right", "image": "left"}}
"""Which half of a picture is the input, and which the target."""


def side_by_side(rows: Sequence[Row], order: str) -> Files:
    """Each picture holds both images of a pair."""
    entries = [next(iter(row.pictures.values())) for row in rows]
    return Files({"input": entries, "image": entries}, {}, HALVES[order])


def folders(found: Sequence[str], columns: Mapping[str, str]) -> dict[str, str] | None:
    """The folder of the inputs and that of the targets, each under the name of its column; None if no names say it.

    found: the folders at the top. columns: what the user said, for instance {"input": "edges", "image": "photos"}.
    """
    given = [columns.get("input", ""), columns.get("image", "")]
    if len(set(given)) == 2 and set(given) <= set(found):
        return {name: name for name in given}
    lower = {name.lower(): name for name in found}
    for inputs, targets in FOLDERS:
        if lower.keys() == {inputs, targets}:
            return {"input": lower[inputs], "image": lower[targets]}
    return None


def of_folders(name: str, rows: Sequence[Row], depth: int, named: Mapping[str, str], found: Tree) -> Files:
    """Pictures that have the same name in both folders, whatever their suffixes. The others are left out."""
    sides: dict[str, dict[tuple[str, ...], Entry]] = {folder: {} for folder in named.values()}
    for row in rows:
        entry = row.pictures["image"]
        side = sides.get(entry.parts[depth])
        inner = entry.parts[depth + 1 :]
        key = (*inner[:-1], os.path.splitext(inner[-1])[0])
        if side is not None and side.setdefault(key, entry) is not entry:
            found.left.append(Left(str(entry), f"has the name of {side[key].name}"))
    (first, inputs), (second, targets) = sides.items()
    common = inputs.keys() & targets.keys()
    if not common:
        raise DataError(
            f"{name}: no picture in {first} has the name of one in {second}", "Give both pictures of a pair one name."
        )
    for side, other in ((inputs, second), (targets, first)):
        lonely = [entry for key, entry in side.items() if key not in common]
        found.left += [Left(str(entry), f"has no picture of its name in {other}") for entry in lonely]
    return Files({column: [sides[folder][key] for key in sorted(common)] for column, folder in named.items()})
