"""Data sets written on the spot, for tests that train."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets

Column = tuple[Any, Sequence[Any]]
"""A feature of the `datasets` library and its values."""


def write_table(folder: Path, pictures: Sequence[Path], split: str = "train", **columns: Column) -> Path:
    """A data set as the Hub lays it out: data/<split>-00000-of-00001.parquet, images inside as encoded bytes."""
    cells = [{"bytes": picture.read_bytes(), "path": None} for picture in pictures]
    columns = {"image": (datasets.Image(), cells)} | columns
    features = datasets.Features({name: feature for name, (feature, _) in columns.items()})
    table = datasets.Dataset.from_dict({name: list(values) for name, (_, values) in columns.items()}, features)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()
    table.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def flags(values: Sequence[bool]) -> Column:
    return datasets.Value("bool"), values


def classes(values: Sequence[int], names: Sequence[str]) -> Column:
    return datasets.ClassLabel(names=list(names)), values
