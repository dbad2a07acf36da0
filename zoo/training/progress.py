"""What a run says while it trains: a bar on a terminal, a line in a notebook, a line every half minute elsewhere.

All of it goes to stderr, so that stdout holds results alone. In a notebook it is the output of the cell.
"""

import time
from collections.abc import Mapping

import torch

from zoo.card.facts import duration
from zoo.telling import LINE_EVERY, console, in_notebook, say

FIRST = 10
"""Number of steps after which a run says how long it will take."""
NOTEBOOK_EVERY = 0.5
"""Seconds between two states of a notebook's line."""


class Display:
    """Shows nothing. The others show the latest step."""

    def __init__(self, step: int, total: int, device: torch.device) -> None:
        self.first, self.total, self.device = step, total, device
        self.means: Mapping[str, float] = {}
        self.began = time.monotonic()

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def advance(self, step: int, means: Mapping[str, float] | None = None) -> None:
        """A step has ended. means: the latest of the loop's values, if there are new ones."""


class Lines(Display):
    """A line now and then, and how long the run will take."""

    every = LINE_EVERY
    shows_the_end = False

    def __enter__(self) -> "Display":
        self.shown = time.monotonic()
        return self

    def advance(self, step: int, means: Mapping[str, float] | None = None) -> None:
        self.means = means or self.means
        self._estimate(step)
        if time.monotonic() - self.shown >= self.every or (self.shows_the_end and step == self.total):
            self.shown = time.monotonic()
            self.show(step)

    def _estimate(self, step: int) -> None:
        """The first step is left out: it takes longer than others. The host waits for the device, but only twice."""
        done = step - self.first
        if done not in (1, FIRST) or self.total - self.first <= FIRST:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        if done == 1:
            self.began = time.monotonic()
        else:
            say(f"{self.total - step:,} more steps will take about {duration(self.left(step))}.")

    def left(self, step: int) -> float:
        """Seconds that the rest of the run takes if it goes on as up to this step, which is not the first."""
        return (time.monotonic() - self.began) / max(step - self.first - 1, 1) * (self.total - step)

    def text(self, step: int) -> str:
        left = f"{duration(self.left(step))} left" if step - self.first > 1 else ""
        return "  ".join(filter(None, (f"step {step:,} of {self.total:,}", describe(self.means), left)))

    def show(self, step: int) -> None:
        say(self.text(step))


class Notebook(Lines):
    """One line in the output of a cell, which changes. It needs no widgets."""

    every = NOTEBOOK_EVERY
    shows_the_end = True

    def __enter__(self) -> "Display":
        from IPython.display import display  # type: ignore[import-not-found,unused-ignore]

        self.line = display({"text/plain": f"step {self.first:,} of {self.total:,}"}, raw=True, display_id=True)
        return super().__enter__()

    def show(self, step: int) -> None:
        done = 24 * step // self.total
        self.line.update({"text/plain": f"[{'#' * done}{'.' * (24 - done)}] {self.text(step)}"}, raw=True)


class Bar(Lines):
    """A bar that moves at every step. It is drawn ten times a second, by a thread of its own."""

    def __enter__(self) -> "Display":
        from rich import progress as rich

        times = (rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
        columns = (rich.BarColumn(), rich.MofNCompleteColumn(), *times, rich.TextColumn("{task.description}"))
        self.bar = rich.Progress(*columns, console=console())
        self.task = self.bar.add_task("", total=self.total, completed=self.first)
        self.bar.start()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def advance(self, step: int, means: Mapping[str, float] | None = None) -> None:
        self.means = means or self.means
        self._estimate(step)
        self.bar.update(self.task, completed=step, description=describe(self.means) if means else None)


def display(step: int, total: int, device: torch.device, *, shown: bool) -> Display:
    """What shows a run from `step` to `total`, here."""
    if not shown:
        return Display(step, total, device)
    kind = Notebook if in_notebook() else Bar if console().is_terminal else Lines
    return kind(step, total, device)


def describe(means: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in means.items())
