"""Files that describe the pictures beside them: metadata.csv, metadata.jsonl, and CelebA's list of attributes."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo.data.tree import Entry, Left, Reader, Tree
from zoo.errors import DataError, FormatError
from zoo.files import refuse_pointer
from zoo.images.read import SUFFIXES

METADATA = ("metadata.csv", "metadata.jsonl")
ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
FILE = "file_name"
TEXT = 1 << 30
"""Bytes that a file of descriptions may have."""


@dataclass(frozen=True)
class Row:
    """One row of a data set of pictures: its pictures by column, and what is said about them."""

    pictures: Mapping[str, Entry]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names that lead to its first picture."""
        return next(iter(self.pictures.values())).parts


@dataclass
class Described:
    """The rows that were described, and the kind of the description."""

    rows: list[Row]
    by: str
    """Name of the files that describe them; empty if no file does, and each picture is a row."""


def rows(found: Tree) -> Described:
    """The rows of a source. Pictures that a description leaves out, and names without a picture, are put to those
    left out. DataError for a description that cannot be read."""
    pictures = [entry for entry in found.entries if entry.suffix in SUFFIXES]
    for names, read in ((METADATA, _metadata), (ATTRIBUTES, _attributes)):
        files = [entry for entry in found.entries if entry.name in names]
        if files and pictures:
            made = [row for file in files for row in read(file, pictures, found)]
            if not made:
                raise DataError(f"{files[0]} names none of the {len(pictures)} pictures", "Correct the names in it.")
            used = {entry.parts for row in made for entry in row.pictures.values()}
            found.left += [
                Left(str(entry), f"not named in {files[0].name}") for entry in pictures if entry.parts not in used
            ]
            return Described(made, files[0].name)
    return Described([Row({"image": entry}) for entry in pictures], "")


def _metadata(file: Entry, pictures: Sequence[Entry], found: Tree) -> list[Row]:
    """Rows as the library `datasets` defines them: `file_name` names the picture, from the folder of the file on.
    `NAME_file_name` names the picture of the column NAME."""
    known, made = {entry.parts: entry for entry in pictures}, []
    for number, said in enumerate(_lines(file)):
        columns = {key: _column(key) for key in said if key == FILE or key.endswith(f"_{FILE}")}
        if not columns:
            raise DataError(
                f"{file} has no column {FILE!r}, which names the picture of each row",
                f"Its columns are {', '.join(map(str, said))}. Rename one, or remove the file.",
            )
        wanted = {column: _parts(file, said[key]) for key, column in columns.items()}
        missing = [column for column, parts in wanted.items() if parts not in known]
        if missing:
            key = next(key for key, column in columns.items() if column == missing[0])
            found.broken.append(Left(str(file), f"row {number} names {said[key]!r}, which is not there"))
            continue
        facts = {key: value for key, value in said.items() if key not in columns}
        made.append(Row({column: known[parts] for column, parts in wanted.items()}, facts))
    return made


def _column(key: str) -> str:
    return "image" if key == FILE else key.removesuffix(f"_{FILE}")


def _parts(file: Entry, name: Any) -> tuple[str, ...]:
    return (*file.parts[:-1], *(part for part in str(name).split("/") if part not in ("", ".")))


def _lines(file: Entry) -> Iterator[Mapping[str, Any]]:
    """The rows of a table of texts, or of JSON lines. Empty lines do not count."""
    if file.suffix == ".jsonl":
        for number, line in enumerate(_text(file).split("\n")):
            try:
                value = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError) as error:
                raise DataError(f"{file}, line {number + 1}: {error}", "Correct that line.") from error
            if isinstance(value, dict):
                yield value
            elif line.strip():
                raise DataError(f"{file}, line {number + 1} is not a JSON object", "Correct that line.")
        return
    try:
        for row in csv.DictReader(io.StringIO(_text(file), newline="")):
            if None in row or None in row.values():
                raise DataError(f"{file}: the row of {next(iter(row.values()))!r} has more or fewer cells than columns")
            yield row
    except csv.Error as error:
        raise DataError(f"{file}: {error}") from error


def _attributes(file: Entry, pictures: Sequence[Entry], found: Tree) -> list[Row]:
    """CelebA's list: how many, the names of the attributes, then a file name and a value for each of them; or the same
    as a table of texts whose first column is the file name. Pictures are found by their file names alone."""
    if file.suffix == ".csv":
        table = {str(next(iter(row.values()))): dict(list(row.items())[1:]) for row in _lines(file)}
    else:
        lines = [line.split() for line in _text(file).split("\n") if line.strip()]
        if lines and len(lines[0]) == 1 and lines[0][0].isdigit():
            lines = lines[1:]
        names = lines[0] if lines else []
        for line in lines[1:]:
            if len(line) != len(names) + 1:
                raise DataError(
                    f"{file}: the line of {line[0]} has {len(line) - 1} values for {len(names)} attributes",
                    "Correct that line.",
                )
        table = {line[0]: dict(zip(names, line[1:], strict=True)) for line in lines[1:]}
    absent = len(table.keys() - {entry.name for entry in pictures})
    if absent:
        found.left.append(Left(str(file), f"{absent:,} of its {len(table):,} names have no picture here"))
    return [Row({"image": entry}, table[entry.name]) for entry in pictures if entry.name in table]


def _text(file: Entry) -> str:
    try:
        with Reader(TEXT) as read:
            data = read(file)
        refuse_pointer(data[:128], str(file))
        return data.decode("utf-8-sig")
    except FormatError as error:
        raise DataError(f"data: {error.message}", "Replace that file.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"data: {file} cannot be read as text: {error}", "Save it as UTF-8.") from error
