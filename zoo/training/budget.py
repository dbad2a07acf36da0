"""Trains many recipes within a time budget. Each goes on where it stopped. If one fails, the others still train."""

import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from zoo.errors import DataError, InputError, ZooError, did_you_mean
from zoo.extras import require
from zoo.family.registry import registry
from zoo.training.checkpoints import reached
from zoo.training.plan import Plan, planned
from zoo.training.recipes import train
from zoo.training.result import is_finished
from zoo.training.stopping import OutOfTime

State = Literal["finished", "stopped", "skipped", "failed", "not begun"]


@dataclass(frozen=True)
class Outcome:
    """What happened to one recipe."""

    recipe: str
    state: State
    detail: str = ""
    """At which step the recipe stopped, or why it was skipped or failed."""
    minutes: float = 0.0
    """Time in this call, with reading the data and making the card."""
    images_per_second: float | None = None
    """Number of steps in this call times the batch size, divided by the seconds that these steps took."""
    error: Exception | None = None


def train_all(
    out: str | Path = "runs",
    *,
    family: str | None = None,
    budget: float | None = None,
    data: Mapping[str, str | Path] | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: bool = True,
    report: Callable[[Outcome], object] | None = None,
    **overrides: Any,
) -> list[Outcome]:
    """Train every recipe, or every recipe of one family, each in the folder `out`/NAME. The same call again goes on.

    Recipes of scoring classifiers come first. A folder that holds the finished card of its recipe is skipped.
    budget: minutes for all recipes together. When they are over, the present run writes a checkpoint and stops between
    two steps. Reading data and making a card are not interrupted, so the call may take longer than the budget.
    data: folders of data sets, by the names that the recipes use. threads, overrides: as in `zoo.train`, for every
    recipe. report: a function that is called with each outcome.

    Raises MissingExtraError, NotFoundError for an unknown family, ConfigError for an override that one of the recipes
    does not know, and InputError for a data set that no recipe names or if several processes make this call together.
    An error in one recipe is not raised: it is in the outcome of that recipe.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "several processes cannot train all recipes together",
            "Start one process; or train one recipe in several processes: zoo train NAME --out FOLDER",
        )
    require("train", "training")
    names, folders = in_order(family), {key: Path(folder).expanduser() for key, folder in (data or {}).items()}
    _check_data(names, folders)
    plans = {name: planned(name, overrides, data_name=registry().recipe(name)[1].data) for name in names}
    deadline = None if budget is None else time.monotonic() + 60 * budget
    outcomes = []
    for name in names:
        options = {"device": device, "threads": threads, "progress": progress} | overrides
        outcome = _attempt(plans[name], Path(out).expanduser() / name, folders, deadline, options)
        outcomes.append(outcome)
        if report is not None:
            report(outcome)
        _release()
    return outcomes


def in_order(family: str | None = None) -> list[str]:
    """The names of all recipes, or of one family's. Those that other recipes name as their `judge` come first."""
    known = registry()
    if family is not None:
        known.spec(family)
    judges = {recipe.judge for _, recipe in known.recipes.values()}
    names = [name for name, (spec, _) in known.recipes.items() if family in (None, spec.name)]
    return sorted(names, key=lambda name: name not in judges)  # stable: otherwise the registry's order stays


def _check_data(names: list[str], folders: Mapping[str, Path]) -> None:
    wanted = {registry().recipe(name)[1].data for name in names}
    for key in folders:
        if key not in wanted:
            raise InputError(f"no recipe in this call uses the data set {key!r}", did_you_mean(key, wanted))


def _attempt(
    todo: Plan, out: Path, folders: Mapping[str, Path], deadline: float | None, options: Mapping[str, Any]
) -> Outcome:
    """Train one recipe until it is finished or the time is over."""
    started = time.monotonic()
    before = (0, 0.0)
    name, batch_size = todo.recipe, todo.settings.batch_size

    def outcome(state: State, detail: str = "", error: Exception | None = None) -> Outcome:
        step, seconds = (now - then for now, then in zip(reached(out), before, strict=True))
        speed = step * batch_size / seconds if step > 0 and seconds > 0 else None
        return Outcome(name, state, detail, (time.monotonic() - started) / 60, speed, error)

    try:
        if is_finished(out, todo):
            return Outcome(name, "skipped", "already there")
        if deadline is not None and started >= deadline:
            return Outcome(name, "not begun" if not out.exists() else "stopped", "no time left")
        before = reached(out)
        train(
            name,
            out=out,
            data=_folder(folders, todo.data),
            data_name=todo.data,
            resume=(out / "run.json").is_file(),
            budget=None if deadline is None else (deadline - started) / 60,
            **options,
        )
    except OutOfTime as stop:
        return outcome("stopped", f"at step {stop.step} of {stop.total}")
    except ZooError as error:
        return outcome("failed", " ".join(filter(None, (error.message, error.hint))), error)
    except Exception as error:  # a family's code may raise anything, and the device may run out of memory
        return outcome("failed", f"{type(error).__name__}: {error}".splitlines()[0], error)
    return outcome("finished", f"{todo.steps} steps")


def _folder(folders: Mapping[str, Path], data: str) -> Path | None:
    """The folder given for a data set. DataError if it does not exist: it would be taken for a name on the Hub."""
    folder = folders.get(data)
    if folder is not None and not folder.is_dir():
        raise DataError(f"data: there is no folder {folder}", f"Correct the folder: --data {data}=FOLDER")
    return folder


def _release() -> None:
    """Free the memory of the device before the next recipe asks how much is free."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
