"""Rows of a split, with columns: of local pictures, of parquet and arrow files, and of data sets on the Hub."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from zoo.data.tree import Entry, Reader, unchanged
from zoo.errors import DataError, FormatError
from zoo.files import refuse_pointer

LARGEST = 4 << 30
"""Bytes that a table in a zip may have: it is read as a whole."""

Bytes = bytes | str
"""The bytes of a picture; or a text that says why they cannot be had."""


@dataclass(frozen=True)
class Picture:
    """A picture that is not decoded yet."""

    where: str
    """What errors call it."""
    data: Bytes
    half: str = ""
    """`left` or `right`, if only that half of the picture counts."""


class Table(Protocol):
    """The rows of one split."""

    @property
    def columns(self) -> list[str]: ...

    @property
    def pictured(self) -> list[str]:
        """The columns of pictures."""

    def __len__(self) -> int: ...

    def values(self, column: str) -> list[Any]:
        """The plain values of a column, one for each row."""

    def classes(self, column: str) -> tuple[str, ...]:
        """The names of a column's classes by their numbers, if the data say them."""

    def pictures(self, column: str, rows: Sequence[int]) -> Iterator[Picture]:
        """The pictures of these rows. The numbers of the rows go up."""

    def state(self, column: str) -> str:
        """A text that changes whenever the pictures of a column change."""

    def unchanged(self) -> bool:
        """Whether the files are as they were when the table was made."""


@dataclass(frozen=True)
class Files:
    """Pictures in files of their own."""

    cells: Mapping[str, Sequence[Entry]]
    """Columns of pictures."""
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Columns of plain values."""
    halves: Mapping[str, str] = field(default_factory=dict)
    """Which half of its pictures a column takes."""

    @property
    def columns(self) -> list[str]:
        return [*self.cells, *self.facts]

    @property
    def pictured(self) -> list[str]:
        return list(self.cells)

    def __len__(self) -> int:
        return len(next(iter(self.cells.values())))

    def values(self, column: str) -> list[Any]:
        return list(self.facts[column])

    def classes(self, column: str) -> tuple[str, ...]:
        return ()

    def pictures(self, column: str, rows: Sequence[int]) -> Iterator[Picture]:
        entries, half = self.cells[column], self.halves.get(column, "")
        with Reader() as read:
            for row in rows:
                yield Picture(str(entries[row]), _read(read, entries[row]), half)

    def state(self, column: str) -> str:
        known = [(entry.parts, entry.state) for entry in self.cells[column]]
        return hashlib.sha256(repr((known, self.halves.get(column))).encode()).hexdigest()

    def unchanged(self) -> bool:
        return unchanged(entry for entries in self.cells.values() for entry in entries)


def _read(read: Reader, entry: Entry) -> Bytes:
    try:
        return read(entry)
    except OSError as error:
        return f"{entry}: {error.strerror or error}"
    except FormatError as error:
        return error.message


Stream = Callable[[list[str] | None], Iterator[Any]]
"""Gives the tables of Arrow that hold these columns, one after the other; all columns for None."""


@dataclass(frozen=True)
class Stored:
    """Rows in the tables of Arrow: parquet and arrow files, and data sets of the Hub. Pictures are encoded bytes."""

    name: str
    schema: Any
    length: int
    stream: Stream
    mark: str
    """A text that changes with the content."""
    entries: Sequence[Entry] = ()
    """The files that hold the rows."""

    @property
    def columns(self) -> list[str]:
        return list(self.schema.names)

    @property
    def pictured(self) -> list[str]:
        return [name for name in self.columns if self._holds_pictures(name)]

    def _holds_pictures(self, column: str) -> bool:
        kind = self.schema.field(column).type
        names = {kind.field(i).name for i in range(kind.num_fields)}
        return "bytes" in names or str(kind) in ("binary", "large_binary")

    def __len__(self) -> int:
        return self.length

    def values(self, column: str) -> list[Any]:
        return [value for table in self.stream([column]) for value in table.column(0).to_pylist()]

    def classes(self, column: str) -> tuple[str, ...]:
        try:
            said = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
        except (KeyError, TypeError, ValueError):
            return ()
        return tuple(map(str, said))

    def pictures(self, column: str, rows: Sequence[int]) -> Iterator[Picture]:
        wanted, start = iter(rows), 0
        row = next(wanted, None)
        for table in self.stream([column]):
            while row is not None and row < start + len(table):
                where = f"{self.name}, row {row} of column {column!r}"
                yield _cell(where, table.column(0)[row - start].as_py())
                row = next(wanted, None)
            if row is None:
                return
            start += len(table)

    def state(self, column: str) -> str:
        return self.mark

    def unchanged(self) -> bool:
        return unchanged(self.entries)


def _cell(where: str, cell: Any) -> Picture:
    path = cell.get("path") if isinstance(cell, dict) else None
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    where = f"{where} ({path})" if path else where
    if data is None and path:
        try:
            data = Path(path).read_bytes()
        except (OSError, ValueError) as error:
            return Picture(where, f"{where}: {getattr(error, 'strerror', None) or error}")
    return Picture(where, f"{where}: there is no picture" if data is None else data)


def of_files(name: str, entries: Sequence[Entry]) -> Stored:
    """The rows of parquet and arrow files, one file after the other.

    DataError for a file that cannot be read, or with other columns than the first.
    """
    schemas, length = [], 0
    for entry in entries:
        with _opened(entry) as file:
            schema = file.schema
            length += file.rows
        schemas.append(schema)
        if schema.names != schemas[0].names:
            raise DataError(
                f"{name}: {entry} has the columns {', '.join(schema.names)}, but {entries[0]} has "
                f"{', '.join(schemas[0].names)}",
                "Give files with the same columns.",
            )

    def stream(columns: list[str] | None) -> Iterator[Any]:
        for entry in entries:
            with _opened(entry) as file:
                yield from file.tables(columns)

    known = [(entry.parts, entry.state) for entry in entries]
    mark = hashlib.sha256(repr(known).encode()).hexdigest()
    return Stored(name, schemas[0], length, stream, mark, entries)


def of_hub(name: str, rows: Any) -> Stored:
    """The rows of a split that the library `datasets` has read."""

    def stream(columns: list[str] | None) -> Iterator[Any]:
        chosen = rows if columns is None else rows.select_columns(columns)
        yield from chosen.with_format("arrow").iter(batch_size=1024)

    schema = rows.features.arrow_schema
    return Stored(name, schema, len(rows), stream, rows._fingerprint)


class _Parquet:
    """A parquet file."""

    def __init__(self, source: Any) -> None:
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(source)
        self.schema, self.rows = self._file.schema_arrow, self._file.metadata.num_rows

    def tables(self, columns: list[str] | None) -> Iterator[Any]:
        yield from self._file.iter_batches(batch_size=1024, columns=columns)


class _Arrow:
    """A file of `Dataset.save_to_disk`, or of Arrow's own writers."""

    def __init__(self, source: Any) -> None:
        import pyarrow

        data = pyarrow.memory_map(source) if isinstance(source, str) else source
        try:
            table = pyarrow.ipc.open_stream(data).read_all()
        except pyarrow.ArrowInvalid:
            data.seek(0)
            table = pyarrow.ipc.open_file(data).read_all()
        self._table, self.schema, self.rows = table, table.schema, table.num_rows

    def tables(self, columns: list[str] | None) -> Iterator[Any]:
        yield from (self._table if columns is None else self._table.select(columns)).to_batches()


@contextmanager
def _opened(entry: Entry) -> Iterator[Any]:
    """A file of data. DataError if it is broken, also when that shows later."""
    import pyarrow

    kind = _Parquet if entry.suffix == ".parquet" else _Arrow
    try:
        if entry.member is None:
            with open(entry.path, "rb") as file:
                refuse_pointer(file.read(128), str(entry))
            yield kind(str(entry.path))
        else:
            with Reader(LARGEST) as read:
                data = read(entry)
            refuse_pointer(data[:128], str(entry))
            yield kind(BytesIO(data))
    except FormatError as error:
        raise DataError(f"data: {error.message}", "Replace that file.") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"data: {entry} cannot be read: {error}".splitlines()[0], "Replace that file.") from error
