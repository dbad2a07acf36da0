"""Labels by name: classes, attributes and domains out of plain values, and how two lists of names agree."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.errors import DataError

Labels = tuple[Tensor, tuple[str, ...]]
"""The labels, and the names of the classes, attributes or domains."""

MOST = 1000
"""The largest number of classes."""
TRUTH = {"1": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "-1": 0.0, "false": 0.0, "no": 0.0}
"""The words of an attribute."""


def classes(values: Sequence[Any], names: Sequence[str], where: str) -> Labels:
    """int64 (n,): the number of each row's class. names: of numbered classes, if the data say them.

    Words, whole numbers and true and false are classes. Without names the classes are the different values in their
    order, and each is called by its value. DataError for rows without a label, for numbers with fractions and for more
    than MOST classes.
    """
    words = [_word(value) for value in values]
    gaps = [row for row, word in enumerate(words) if word is None]
    if gaps:
        raise DataError(f"{where}: {len(gaps):,} rows have no label. The first is row {gaps[0]}", _OTHER)
    if names:
        numbers = torch.tensor([int(value) for value in values], dtype=torch.int64)
        if bool(((numbers < 0) | (numbers >= len(names))).any()):
            raise DataError(f"{where}: some rows have no label: their numbers belong to none of its classes", _OTHER)
        return numbers, tuple(names)
    found = sorted({word for word in words if word is not None}, key=_order)
    if len(found) > MOST or len(found) == len(words) > 2:
        each = "every row has another one" if len(found) == len(words) else f"at most {MOST:,} can be classes"
        raise DataError(f"{where} has {len(found):,} different values, and {each}", _OTHER)
    if any(re.fullmatch(r"-?\d*\.\d+", word) for word in found):
        raise DataError(f"{where} holds numbers with fractions, which are no classes", _OTHER)
    place = {word: i for i, word in enumerate(found)}
    return torch.tensor([place[str(word)] for word in words], dtype=torch.int64), tuple(found)


_OTHER = "Give another column: --column label=NAME"


def _word(value: Any) -> str | None:
    """A value as the name of its class; None for no label."""
    if isinstance(value, float):
        return None if value != value else str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, bytes | dict | list):
        return None
    return str(value) if value is not None and str(value) != "" else None


def _order(word: str) -> tuple[bool, int, str]:
    """Numbers by their value, before words by their letters."""
    number = re.fullmatch(r"-?\d{1,18}", word)
    return (False, int(word), word) if number else (True, 0, word)


def is_attribute(values: Sequence[Any]) -> bool:
    """Whether each value says yes or no: true and false, yes and no, 1 and 0, 1 and -1."""
    found = {_truth_word(value) for value in values}
    return found <= TRUTH.keys() and not {"0", "-1"} <= found


def attributes(columns: Sequence[tuple[str, Sequence[Any]]], where: str) -> Labels:
    """float (n, k) of 0 and 1: the values of k columns, each with its name. DataError for another value."""
    for name, values in columns:
        if not is_attribute(values):
            odd = [value for value in dict.fromkeys(map(str, values)) if value.lower() not in TRUTH][:3]
            raise DataError(
                f"{where}: the column {name!r} is not an attribute: it has values other than true and false, or 1 and 0"
                f"{', or 1 and -1' if not odd else ': ' + ', '.join(odd)}",
                "Give another column: --column attributes=NAME,NAME",
            )
    table = [[TRUTH[_truth_word(value)] for value in values] for _, values in columns]
    return torch.tensor(table, dtype=torch.float32).T.contiguous(), tuple(name for name, _ in columns)


def _truth_word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


def one_hot(found: Labels) -> Labels:
    """Classes as attributes, of which each image has one."""
    numbers, names = found
    return torch.nn.functional.one_hot(numbers, len(names)).float(), names


def domains(columns: Sequence[tuple[str, Sequence[Any]]], names: Sequence[str], where: str) -> Labels:
    """int64 (n,): 0 and 1 for images of the two domains, -1 for those of neither or both.

    One column with two values; or two attributes, each true for the images of its domain.
    """
    if len(columns) > 1:
        table, found = attributes(columns, where)
        if len(found) != 2:
            raise DataError(
                f"{where}: the domain takes one column or two, found {len(found)}: {', '.join(found)}",
                "Give one column or two: --column domain=NAME or --column domain=NAME,NAME",
            )
        return torch.where(table.sum(1) == 1, table[:, 1], -1).long(), found
    name, values = columns[0]
    known = list(map(_word, values))
    found = tuple(sorted({word for word in known if word is not None}, key=_order))
    if len(found) != 2 or None in known:
        raise DataError(
            f"{where}: the column {name!r} must have exactly two values, one for each domain",
            "Give another column, or a column of true and false for each domain: --column domain=NAME,NAME",
        )
    numbers = torch.tensor([found.index(str(word)) for word in known])
    return numbers, tuple(names[int(word)] for word in found) if names else found


def agreed(wanted: Sequence[str], found: Sequence[str], where: str, *, part: bool = False) -> list[int]:
    """For each name of the data its place among the wanted names. Letters and digits count, other signs and capitals do
    not: "Black_Hair" is "black hair". part: the data may lack some of the names.

    DataError with both lists if they are not the same words.
    """
    for same in (str, _plain):
        places = {same(name): i for i, name in enumerate(wanted)}
        keys = [same(name) for name in found]
        whole = len(places) == len(wanted) and len(set(keys)) == len(found)
        if whole and set(keys) <= places.keys() and (part or len(found) == len(wanted)):
            return [places[key] for key in keys]
    raise DataError(
        f"{where} has other names than the model. The data have {', '.join(found)}; the model has {', '.join(wanted)}",
        "Rename the classes of the data, or give another data set.",
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def ordered(labels: Tensor, found: Sequence[str], places: Sequence[int], wanted: Sequence[str]) -> Labels:
    """The labels in the order of the wanted names. A name keeps the spelling of the data."""
    names = list(wanted)
    for name, place in zip(found, places, strict=True):
        names[place] = name
    if labels.is_floating_point():
        return labels[:, torch.tensor(places).argsort()], tuple(names)
    moved = torch.tensor(places)[labels.clamp_min(0)]
    return torch.where(labels < 0, labels, moved), tuple(names)
