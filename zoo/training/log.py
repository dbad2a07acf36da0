"""What a run records while it trains: losses as a table and as curves, and pictures."""

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.files import write_atomically

FIRST_PICTURE = 30.0
"""Seconds after which a run that has no picture yet makes one, so that one sees early whether the data are right."""


class Means:
    """Running means of a loop's values, by name. `take` waits for the device, `add` does not."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        for key, value in values.items():
            tensor = value.detach().float() if isinstance(value, Tensor) else torch.tensor(float(value))
            self._sums[key] = self._sums[key] + tensor if key in self._sums else tensor
            self._counts[key] = self._counts.get(key, 0) + 1

    def take(self) -> dict[str, float]:
        """The means of all values that were added since the last call."""
        means = {key: (self._sums[key] / self._counts[key]).item() for key in self._sums}
        self._sums, self._counts = {}, {}
        return means


class Log:
    """Writes losses as CSV and for TensorBoard, and pictures as PNG. A resumed run drops rows after its checkpoint."""

    def __init__(self, out: Path, step: int, active: bool) -> None:
        self.out, self.step, self.active = out, step, active
        self.path = out / "log.csv"
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> "Log":
        self.opened = time.monotonic()
        if self.active:
            self.pictured = any((self.out / "samples").glob("step-*"))
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.step + 1)
            if self.path.is_file():
                with self.path.open(newline="") as file:
                    self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= self.step]
        return self

    def __exit__(self, *error: object) -> None:
        if self.active:
            self.board.close()

    def write(self, step: int, seconds: float, means: dict[str, float]) -> dict[str, float]:
        if not self.active or not means:
            return means
        self.rows.append({"step": step, "seconds": round(seconds, 1), **means})
        for key, value in means.items():
            self.board.add_scalar(key, value, step)
        # The whole file is written each time: columns may be added, and a killed run must not leave half a row.
        write_atomically(self.path, self._table)
        return means

    def _table(self, path: Path) -> None:
        names = list(dict.fromkeys(key for row in self.rows for key in row))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def lacks_a_picture(self) -> bool:
        return not self.pictured and time.monotonic() - self.opened >= FIRST_PICTURE

    def picture(self, step: int, images: Any) -> None:
        self.pictured = True
        images.save(self.out / "samples" / f"step-{step:08d}.png")
        self.board.add_image("samples", torch.from_numpy(_rgb(images)), step, dataformats="HWC")


def _rgb(images: Any) -> Any:
    import numpy as np

    return np.array(images.grid().convert("RGB"))
