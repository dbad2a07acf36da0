"""The folder of a run: whether it is free, which plan it was begun with, and what a resumed run may change."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from zoo.card.names import PLAN
from zoo.devices import fast_precision, warn_if_slow
from zoo.errors import FormatError, InputError, NotFoundError, ZooError
from zoo.family.config import validate
from zoo.files import TEMPORARY, parse_json, read_json, write_atomically
from zoo.training import checkpoints
from zoo.training.plan import Plan, Settings, plan_text

CHANGEABLE = {
    "steps": "at least as many as the newest checkpoint has",
    "name": "the card's name",
    "data": "the name of the data set; its content must be the same",
    "settings.weights": "the number format of the card's weights",
    "settings.log_every": "steps between lines of the log",
    "settings.save_every": "steps between checkpoints",
    "settings.sample_every": "steps between pictures",
    "settings.evaluate_every": "steps between measurements",
}
"""What of run.json a resumed run may change. All the rest decides what the steps do, and stays."""
BEFORE = {"hold_out": 0.0}
"""What a run did that was begun before these settings existed, where that is not their default of today."""
OURS = ("checkpoints", "samples", "tensorboard")
"""The folders that a run makes in its own."""


def check_free(out: Path, todo: Plan, resume: bool) -> None:
    """Make sure that `out` is new or the folder of this run. Nothing in it is changed before.

    InputError for a folder with another content, and for another run; NotFoundError if there is no run to resume.
    """
    if (out / PLAN).is_file():
        if not resume:
            raise InputError(
                f"{out} already holds a run",
                "To go on with that run, add --resume. To begin a new one, give another folder: --out FOLDER",
            )
        _check_same(out, todo)
        _check_steps(out, todo.steps)
    elif out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, not a folder", "Give another folder: --out FOLDER")
    elif out.exists() and not all(_is_left_over(path) for path in out.iterdir()):
        raise InputError(f"{out} is not empty and holds no run", "Give another folder: --out FOLDER")
    elif resume:
        raise NotFoundError(f"there is no run in {out} to resume", "To begin a run, leave out --resume.")


def _is_left_over(path: Path) -> bool:
    """Whether a killed run left this before it had claimed its folder: a temporary file, or a folder without files."""
    return path.name.startswith(TEMPORARY) or (path.name in OURS and path.is_dir() and not any(path.iterdir()))


def claim(out: Path, todo: Plan) -> None:
    """Write run.json, the first file of a run."""
    write_atomically(out / PLAN, lambda path: path.write_text(plan_text(todo), encoding="utf-8"))


def begun(out: Path) -> dict[str, Any] | None:
    """The content of run.json; None if there is no run in this folder."""
    try:
        found = read_json(out / PLAN)
        return found if isinstance(found["settings"]["precision"], str) else None
    except (ZooError, OSError, KeyError, TypeError):
        return None


def plan_of(out: Path) -> Plan:
    """The plan that the run in this folder was begun with. NotFoundError if there is none."""
    found = begun(out)
    if found is None:
        raise NotFoundError(f"there is no run in {out}", "Give the folder of a run: the --out of 'zoo train'.")
    try:
        settings = validate(Settings, BEFORE | found["settings"], f"settings of {out / PLAN}")
        return Plan(**found | {"settings": settings})
    except TypeError as error:
        raise FormatError(f"{out / PLAN}: {error}", "It was written by another version of zoo.") from None


def recalled(todo: Plan, out: Path, device: torch.device, given: Collection[str] = ()) -> Plan:
    """The plan, with what was not given but chosen from what the run in `out` began with, or chosen now.

    given: what the user gave of `name`, `data` and the settings. A card keeps its name if only the folder of the data
    was renamed.
    Warns if the precision is slow here, because it was asked for or because the run began on another machine.
    """
    before = begun(out)
    kept: Any = {}
    if before and checkpoints.found(out):  # without a checkpoint no content has been recorded
        kept = {key: before[key] for key in ("name", "data") if key not in given}
    precision: Any = todo.settings.precision
    if precision == "auto":
        precision = before["settings"]["precision"] if before else fast_precision(device)
    same = before is not None and precision == before["settings"]["precision"]
    warn_if_slow(
        device, precision, "The run keeps the precision that it began with." if same else "Leave precision at auto."
    )
    return _set(as_before(dataclasses.replace(todo, **kept), before, given), precision=precision)


def as_before(todo: Plan, before: Mapping[str, Any] | None, given: Collection[str] = ()) -> Plan:
    """The plan as run.json has it where it leaves a choice: its precision, and what its version did without a setting
    that is new, unless that is given."""
    if before is None:
        return todo
    said = {key.rpartition(".")[2] for key in given}
    new = {key: value for key, value in BEFORE.items() if key not in said and key not in before["settings"]}
    auto = todo.settings.precision == "auto"
    return _set(todo, **new, **({"precision": before["settings"]["precision"]} if auto else {}))


def _set(todo: Plan, **settings: Any) -> Plan:
    return dataclasses.replace(todo, settings=todo.settings.model_copy(update=settings))


def is_begun(out: Path, todo: Plan) -> bool:
    """Whether run.json in `out` says the same as this plan."""
    before = begun(out)
    return before is not None and not _changes(before, todo)


def _check_same(out: Path, todo: Plan) -> None:
    changed = [
        f"{key.rpartition('.')[2]} {how}"
        for key, how in _changes(read_json(out / PLAN), todo).items()
        if key not in CHANGEABLE
    ]
    if changed:
        raise InputError(
            f"the run in {out} has other settings: {'; '.join(changed)}",
            "Resume with the same settings, or begin a new run in another folder: --out FOLDER",
        )


def _changes(before: Mapping[str, Any], todo: Plan) -> dict[str, str]:
    """What a plan says in another way than run.json, by name: a setting of a group is `group.key`."""
    now = _flat(parse_json(plan_text(todo).encode(), PLAN))
    # A run of an older version does not have the settings that are new.
    old = _flat(dict(before) | {"settings": Settings().model_dump(mode="json") | BEFORE | before.get("settings", {})})
    keys = [key for key in old | now if old.get(key) != now.get(key)]
    return {key: f"was {old.get(key)}, now {now.get(key)}" for key in keys}


def _flat(plan: Mapping[str, Any]) -> dict[str, Any]:
    groups = {key: value if isinstance(value, dict) else {"": value} for key, value in plan.items()}
    return {f"{group}.{key}".rstrip("."): value for group, own in groups.items() for key, value in own.items()}


def _check_steps(out: Path, steps: int) -> None:
    done, _ = checkpoints.reached(out)
    if steps < done:
        raise InputError(
            f"the run in {out} has made {done} steps, and cannot go back to {steps}",
            f"Give at least --steps {done}. Or make a card of the newest checkpoint: zoo finish {out}",
        )
