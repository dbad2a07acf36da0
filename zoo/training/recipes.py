"""Trains a recipe on a data set. The run leaves a card."""

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from zoo.card import weights
from zoo.data.batches import Batches
from zoo.data.columns import resolved
from zoo.data.held import hold_out
from zoo.data.layout import Reading
from zoo.data.opening import PAGE, Given, local, open_source
from zoo.data.source import read, summary
from zoo.data.tree import Left
from zoo.devices import machine, pick_device
from zoo.errors import InputError, NotFoundError
from zoo.extras import require
from zoo.family.registry import registry, resolve
from zoo.family.spec import ModelSpec, Preparation, Recipe
from zoo.model import Model, load
from zoo.telling import say
from zoo.training.best import Best, chosen_of
from zoo.training.checkpoints import at, reached
from zoo.training.claims import begun, check_free, claim, plan_of, recalled
from zoo.training.finetune import Start, remembered, shortened, start_from, suited
from zoo.training.fitting import fitted, names_of
from zoo.training.measuring import figure_of
from zoo.training.plan import Plan, planned
from zoo.training.result import data_facts, preview_of, write_card
from zoo.training.run import Run
from zoo.training.stopping import raised
from zoo.values import whole


def train(
    name: str | None = None,
    *,
    out: str | Path,
    parent: str | Path | None = None,
    data: Given | None = None,
    data_name: str | None = None,
    card_name: str | None = None,
    columns: Mapping[str, str] | None = None,
    pairs: str = "",
    splits: bool = True,
    skip_broken: bool = False,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
    limit: int | None = None,
    budget: float | None = None,
    threads: int | None = None,
    judge: str | Path | None = None,
    **overrides: Any,
) -> Model:
    """Train the recipe `name` in the folder `out`, which becomes a card, and return the model of that card.

    parent: a card, by name, folder or Hub repository. The training begins from its weights, with its config and by
    default with its recipe. Networks of the loop that are not in the card, like a discriminator, begin anew.
    data: the data set: a folder, a .zip, a list of image files or a Hub name; by default that of the recipe. data_name:
    the data set's name in the card. card_name: the card's name; by default that of the recipe, or family and data set
    if the data are your own. columns: which columns are the `image`, the `label` and so on, if their names differ from
    those in the recipe. pairs: each picture holds a pair side by side, with the input on the left (`ab`) or on the
    right (`ba`). splits: whether folders with names of splits are splits. skip_broken: whether to go on without the
    pictures that cannot be read. "Your data" in the docs shows the layouts that are known.
    resume: go on from the newest checkpoint in `out`. What may change then is in `zoo.training.claims.CHANGEABLE`.
    limit: use only so many random images, always the same ones. budget: minutes for reading the data and for training.
    When they are over, the run writes a checkpoint and raises OutOfTime; there is no card then.
    threads: of the CPU. By default zoo uses as many as are free, and looks again every minute. Another number of
    threads rounds sums in another way: give a number if a run must be repeated to the last bit.
    judge: with `evaluate_every`, the card in whose features samples are compared with images; by default the recipe's.
    overrides: `steps`, `batch_size`, `image_size`, or any setting of the recipe.

    On Ctrl-C, SIGTERM and SIGHUP the run ends between two steps with a checkpoint and raises Stopped, a
    KeyboardInterrupt. A second signal ends it at once.

    Raises NotFoundError, MissingExtraError, ConfigError, InputError for a folder `out` that is not free, DataError and
    TrainingError. Nothing that was in `out` is lost, and what is refused before the first step leaves nothing behind.
    """
    limit = None if limit is None else whole("limit", limit, 1)
    deadline = None if budget is None else time.monotonic() + 60 * budget
    require("train", "training")
    out = Path(out).expanduser()
    start = None if parent is None else start_from(parent)
    recipe = _recipe(name, start)
    todo = planned(
        recipe.name,
        remembered(out, overrides) if start is not None and resume else overrides,
        data=None if data is None else _name_of(data),
        data_name=data_name,
        card_name=card_name,
        columns=columns,
        adapted=None if start is None else shortened(recipe),
    )
    if start is not None:
        start.check_fits(todo)
        todo = replace(todo, parent=start.parent.model_dump())
    named = [key for key, value in {"name": card_name, "data": data_name}.items() if value is not None]
    todo = recalled(todo, out, pick_device(device), [*named, *overrides])
    if begun(out) is None or not resume:  # a run that goes on is compared when its plan fits the data
        check_free(out, todo, resume)
    with raised():
        return _carry_out(
            todo,
            out,
            recipe.data if data is None else data,
            Reading(pairs, splits, skip_broken),
            columns=columns or {},
            given=overrides,
            start=start,
            resume=resume,
            device=device,
            progress=progress,
            limit=limit,
            threads=threads,
            deadline=deadline,
            judge=judge,
        )


def _recipe(name: str | None, start: Start | None) -> Recipe:
    """The recipe of that name, or that of the card to begin from. InputError without either."""
    if start is not None:
        return start.recipe(name)
    if name is None:
        raise InputError("no recipe was given", "Give the name of a recipe, or a card to begin from: parent=CARD")
    return registry().recipe(name)[1]


def _carry_out(
    todo: Plan,
    out: Path,
    data: Given,
    reading: Reading,
    *,
    columns: Mapping[str, str],
    given: Collection[str] = (),
    start: Start | None = None,
    resume: bool,
    device: str,
    progress: bool,
    limit: int | None,
    threads: int | None = None,
    deadline: float | None = None,
    judge: str | Path | None = None,
    finishing: bool = False,
    chosen: Best | None = None,
) -> Model:
    """Read the data, train, and make the card.

    columns, given: the columns and settings that the user named. start: the card to begin from. finishing: the plan is
    that of the run, with as many steps as its checkpoint, and is not to be recorded. chosen: that checkpoint, if it is
    not the newest.
    """
    spec, recipe = registry().recipe(todo.recipe)
    progress = progress and os.environ.get("RANK", "0") == "0"
    tell = say if progress else lambda text: None
    for one in [data] if isinstance(data, str | Path) else data:
        local(one)  # a mistyped folder is told before all else
    _announce(todo, spec, out, data, pick_device(device), tell)
    source = open_source(data, kind=todo.batch, columns=columns, reading=reading)
    if not finishing:
        # The classes of a card to begin from stay: those of the data must be the same.
        kept = todo.config.keys() if start is not None else set()
        todo, changed = fitted(todo, spec, recipe, source, columns, {*given, *kept})
        if changed:
            tell(changed)
        check_free(out, todo, resume)
    preparation, names = Preparation(**todo.preparation), names_of(todo, recipe, source)
    images = partial(read, source, preparation, kind=todo.batch, columns=todo.columns, names=names)
    dataset, lost = images(limit=limit, progress=progress)
    share = 0.0 if "test" in source.splits else todo.settings.hold_out
    dataset, test, held = hold_out(dataset, todo.batch, share, todo.settings.seed)
    tell(summary(source, dataset, todo.batch, len(test or ()), len(lost)))
    if start is not None and not resume:
        todo, said = suited(todo, dataset, given)
        for line in said:
            tell(f"{line}. To change it: --set {line.partition('=')[0]}=VALUE")
    settings, figure = todo.settings, None
    if settings.evaluate_every and not finishing:
        own = "test" in source.splits
        unseen = images(split="test", limit=limit, progress=progress)[0] if own else test
        whence = "of the test split" if own else "held out"
        figure = figure_of(spec, recipe, todo, unseen, whence, judge=judge, device=device)
    torch.manual_seed(settings.seed)
    model = weights.build(spec, todo.config)
    if start is not None:
        start.load_into(model)
    run = Run(
        out,
        seed=settings.seed,
        precision=settings.precision,
        threads=threads,
        ema=settings.ema,
        device=device,
        log_every=settings.log_every,
        save_every=settings.save_every,
        sample_every=settings.sample_every,
        evaluate_every=settings.evaluate_every,
        resume=at(out, chosen.step) if chosen else resume,
        progress=progress,
        preview=preview_of(spec, recipe, todo, dataset),
        figure=figure,
        deadline=deadline,
        claim=(lambda: None) if finishing else partial(claim, out, todo),
    )
    filter = resolve(spec.filters[preparation.filter]) if preparation.filter else None
    batches = Batches(
        dataset,
        todo.batch,
        settings.batch_size,
        preparation=preparation,
        seed=settings.seed,
        flip=settings.flip,
        jitter=settings.jitter,
        filter=filter,
        device=run.device,
        rank=run.rank,
        world=run.world,
    )
    resolve(spec.train)(model.train(), batches, run, steps=todo.steps, **todo.arguments)
    if run.rank == 0:
        write_card(out, spec, recipe, todo, run, dataset, data_facts(source, dataset, test, held), source, chosen)
    if run.best and run.best.step != run.step:
        tell(
            f"At step {run.best.step:,} {run.best.name} was best: {run.best.value:.5g}. "
            f"For the card of that step: zoo finish {out} --best"
        )
    run.wait()
    return load(out, device=device)


def finish(
    out: str | Path,
    *,
    data: Given | None = None,
    pairs: str = "",
    splits: bool = True,
    skip_broken: bool = False,
    device: str = "auto",
    progress: bool = True,
    limit: int | None = None,
    best: bool = False,
) -> Model:
    """Make a card of the run in the folder `out` as it is, and return its model.

    The card is that of the newest complete checkpoint, and says how many steps were made. With `best` it is that of the
    checkpoint whose figure was best, if the run has measured one with `evaluate_every`. Nothing is trained, and the run
    can still go on.

    data: the data set that the run was begun with. It must be given if its folder is not found by the name that the
    card has for it, since a run records no path. pairs, splits, skip_broken, limit: as they were given to `train`.

    Raises NotFoundError if there is no run or no such checkpoint in `out`, MissingExtraError, and DataError, also
    for data with another content.
    """
    require("train", "training")
    out = Path(out).expanduser()
    todo, (steps, _) = plan_of(out), reached(out)
    if steps == 0:
        raise NotFoundError(f"the run in {out} has no complete checkpoint yet", "To go on with it, add --resume.")
    picked = chosen_of(out) if best else None
    with raised():
        return _carry_out(
            replace(todo, steps=picked.step if picked else steps),
            out,
            data or todo.data,
            Reading(pairs, splits, skip_broken),
            columns=todo.columns,
            resume=True,
            device=device,
            progress=progress,
            limit=limit,
            finishing=True,
            chosen=picked,
        )


def left_out(
    name: str | None = None,
    *,
    parent: str | Path | None = None,
    data: Given | None = None,
    columns: Mapping[str, str] | None = None,
    image_size: int | None = None,
    pairs: str = "",
    splits: bool = True,
    progress: bool = True,
) -> list[Left]:
    """Every file of a data set that `train` with these arguments would leave out, with the reason.

    The pictures are decoded for that. DataError if none can be read.
    """
    require("train", "training")
    recipe = _recipe(name, None if parent is None else start_from(parent))
    kind = recipe.batch or registry().recipe(recipe.name)[0].batch
    source = open_source(
        recipe.data if data is None else data, kind=kind, columns=columns, reading=Reading(pairs, splits, True)
    )
    preparation = replace(recipe.preparation, size=image_size or recipe.preparation.size)
    chosen = resolved(source, "train", kind, columns or {}, recipe.columns)
    return [*source.left, *read(source, preparation, kind=kind, columns=chosen, progress=progress)[1]]


def _announce(
    todo: Plan, spec: ModelSpec, out: Path, data: Given, device: torch.device, tell: Callable[[str], object]
) -> None:
    """Say what will be done, before anything is read."""
    done, _ = reached(out)
    size, batch = todo.preparation["size"], todo.settings.batch_size
    made = f"; {min(done, todo.steps):,} of them are made already" if done else ""
    rows = {
        "recipe": f"{todo.recipe} ({spec.title})",
        **({"from": f"the card {todo.parent['name']}"} if todo.parent else {}),
        "data": str(data) if isinstance(data, str | Path) else f"{len(data)} files",
        "steps": f"{todo.steps:,} of {batch} images at {size}x{size}{made}",
        "device": f"{machine(device)}, in {todo.settings.precision}",
        "folder": str(out),
        "card": todo.name,
    }
    for key, text in rows.items():
        tell(f"{key:8}{text}")


def _name_of(data: Given) -> str | Path:
    """What gives a data set its name on a card: for a list of files their folder, for a page of the Hub its address."""
    if not isinstance(data, str | Path):
        return Path(data[0]).expanduser().absolute().parent
    return PAGE.sub("", data).strip("/") if isinstance(data, str) and PAGE.match(data) else data
