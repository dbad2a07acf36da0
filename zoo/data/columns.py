"""Which column of a data set is what, and the labels that follow from them."""

from collections.abc import Mapping, Sequence

from zoo.data import labels, tables
from zoo.data.layout import Source
from zoo.data.tables import Table
from zoo.errors import DataError, did_you_mean

LABELS = {"labelled": "label", "attributes": "attributes", "unpaired": "domain"}
"""Kind of batch -> the key in a recipe's `columns` that names the column of labels."""


def of_split(source: Source, split: str) -> Table:
    """The rows of a split. DataError if there is no such split."""
    if split not in source.splits:
        raise DataError(f"{source.name} has no split {split!r}", did_you_mean(split, source.splits))
    return source.splits[split]


def resolved(
    source: Source, split: str, kind: str, given: Mapping[str, str], usual: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Which column is what. What is given must be there. For the rest the usual columns are taken if they are there,
    else those that the layout has.

    DataError for a column that is not there, and for one that this kind of batch needs and nothing names.
    """
    table = of_split(source, split)
    found = set(table.columns)
    for key, text in given.items():
        used = key in ("image", "input", LABELS.get(kind))
        absent = [name for name in _split(text, found) if name not in found] if used else []
        if absent:
            raise DataError(f"{source.name} has no column {absent[0]!r}", did_you_mean(absent[0], found))
    chosen = {key: text for key, text in (usual or {}).items() if set(_split(text, found)) <= found} | dict(given)
    label = LABELS.get(kind)
    own = {"image": "image", "input": "input" if kind == "pairs" else ""} | (
        {} if label is None else {label: _of_layout(table, kind)}
    )
    chosen = {key: name for key, name in own.items() if name and set(_split(name, found)) <= found} | chosen
    if "image" not in chosen:
        name = (usual or {}).get("image", "image")
        raise DataError(f"{source.name} has no column {name!r}", _choose("image", table.pictured or table.columns))
    if label is not None and label not in chosen:
        wanted = (usual or {}).get(label, "")
        lack = f"The recipe's column {wanted!r} is not there. " if wanted else ""
        raise DataError(
            f"{source.name}: {kind} batches need to know which column is the {label}",
            f"{lack}{_choose(label, [name for name in table.columns if name not in table.pictured])}",
        )
    return chosen


def _choose(key: str, columns: Sequence[str]) -> str:
    if not columns:
        return f"Its pictures have no {key}: give a folder for each class, or a metadata.csv."
    return f"Choose among its columns: {', '.join(columns)}. For example: --column {key}={columns[0]}"


def _split(text: str, found: set[str]) -> list[str]:
    """The columns that a text names, with commas between them, unless it is the name of one itself."""
    return [text] if text in found else text.split(",")


def _of_layout(table: Table, kind: str) -> str:
    """The column of labels that the layout itself has for this kind of batch; empty if it has none."""
    if not isinstance(table, tables.Files):
        return ""
    if kind == "attributes":
        names = [name for name in table.facts if labels.is_attribute(table.values(name))]
        return ",".join(names) or ("label" if "label" in table.facts else "")
    return next((name for name in (LABELS[kind], "label") if name in table.facts), "")


def read_labels(source: Source, split: str, kind: str, columns: Mapping[str, str]) -> labels.Labels | None:
    """The labels of all rows of a split, and their names; None for a kind of batch without labels."""
    if kind not in LABELS:
        return None
    table = of_split(source, split)
    names = _split(columns[LABELS[kind]], set(table.columns))
    where = f"{source.name}: the column {', '.join(map(repr, names))}" if len(names) == 1 else source.name
    if kind == "labelled" or (kind == "attributes" and names == ["label"] and isinstance(table, tables.Files)):
        found = labels.classes(table.values(names[0]), table.classes(names[0]), where)
        return found if kind == "labelled" else labels.one_hot(found)
    read = [(name, table.values(name)) for name in names]
    if kind == "attributes":
        return labels.attributes(read, source.name)
    return labels.domains(read, table.classes(names[0]) if len(names) == 1 else (), source.name)
