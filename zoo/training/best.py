"""The best checkpoint of a run, by a figure on images that no step sees.

Each checkpoint holds in its state which step was the best one up to there. So a killed run cannot lose it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from zoo.errors import NotFoundError
from zoo.training import checkpoints


@dataclass(frozen=True)
class Figure:
    """What a run measures of its module again and again."""

    name: str
    """Its name in the log."""
    better: Literal["lower", "higher"]
    images: int
    """Number of images that it is measured on."""
    whence: str
    """Which images these are, in words."""
    on: str
    """Hash of all that it depends on beside the module. Only values with the same one are compared."""
    of: Callable[[nn.Module], float] = field(compare=False)
    """Measures a module that is in eval mode."""

    def best(self, step: int, value: float, before: "Best | None") -> "Best | None":
        """The best one, with this step. A value that is not finite is never the best."""
        rival = before.value if before and (before.name, before.on) == (self.name, self.on) else None
        if not math.isfinite(value) or (rival is not None and not self._is_better(value, rival)):
            return before
        return Best(step, value, self.name, self.images, self.whence, self.on)

    def _is_better(self, value: float, before: float) -> bool:
        return value < before if self.better == "lower" else value > before


@dataclass(frozen=True)
class Best:
    """The best step so far, and what a `Figure` was there."""

    step: int
    value: float
    name: str
    images: int
    whence: str
    on: str


def remembered(out: Path, state: Mapping[str, Any]) -> Best | None:
    """The best step as the state of a checkpoint has it; None if there is none, or if its own checkpoint is gone."""
    found = state.get("best")
    best = Best(**found) if found else None
    return best if best and checkpoints.at(out, best.step).is_dir() else None


def best_of(out: Path) -> Best | None:
    """The best step of the run in this folder, as its newest complete checkpoint has it."""
    path = checkpoints.newest(out)
    return None if path is None else remembered(out, checkpoints.read_state(path))


def chosen_of(out: Path) -> Best:
    """The best step of the run in this folder. NotFoundError if there is none whose checkpoint is complete."""
    found = best_of(out)
    if found is None:
        raise NotFoundError(
            f"the run in {out} has no best checkpoint: nothing was measured in it",
            "To measure from now on, go on with it: --resume --evaluate-every N. "
            "Without --best the card is that of the newest checkpoint.",
        )
    path = checkpoints.at(out, found.step)
    if not checkpoints.is_whole(path):
        raise NotFoundError(
            f"{path}, the best checkpoint, is damaged", "Without --best the card is that of the newest checkpoint."
        )
    return found
