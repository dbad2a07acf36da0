"""Trains a recipe on a data set. The run leaves a card."""

import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo.card import weights
from zoo.data.batches import Batches
from zoo.data.source import Dataset, load_dataset
from zoo.devices import machine, pick_device
from zoo.errors import DataError, InputError, NotFoundError
from zoo.extras import require
from zoo.family.registry import registry, resolve
from zoo.family.spec import ModelSpec, Preparation, Recipe
from zoo.images.batch import Images
from zoo.model import Model, load
from zoo.training import pictures
from zoo.training.checkpoints import reached
from zoo.training.claims import check_free, claim, plan_of, recalled
from zoo.training.finetune import Start, remembered, shortened, start_from, suited
from zoo.training.plan import Plan, planned
from zoo.training.progress import say
from zoo.training.result import handle, shown_rows, write_card
from zoo.training.run import Run
from zoo.training.stopping import raised
from zoo.values import whole


def train(
    name: str | None = None,
    *,
    out: str | Path,
    parent: str | Path | None = None,
    data: str | Path | None = None,
    data_name: str | None = None,
    card_name: str | None = None,
    columns: Mapping[str, str] | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
    limit: int | None = None,
    budget: float | None = None,
    threads: int | None = None,
    **overrides: Any,
) -> Model:
    """Train the recipe `name` in the folder `out`, which becomes a card, and return the model of that card.

    parent: a card, by name, folder or Hub repository. The training begins from its weights, with its config and by
    default with its recipe. Networks of the loop that are not in the card, like a discriminator, begin anew.
    data: the data set, a Hub name or a folder; by default that of the recipe. data_name: the data set's name in the
    card. card_name: the card's name; by default that of the recipe, or family and data set if the data are your own.
    columns: which columns are the `image`, the `label` and so on, if their names differ from those in the recipe.
    resume: go on from the newest checkpoint in `out`. What may change then is in `zoo.training.claims.CHANGEABLE`.
    limit: use only so many images, the first ones. budget: minutes for reading the data and for training. When they are
    over, the run writes a checkpoint and raises OutOfTime; there is no card then.
    threads: of the CPU. By default zoo uses as many as are free, and looks again every minute. Another number of
    threads rounds sums in another way: give a number if a run must be repeated to the last bit.
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
    start, adapted = None, None
    if parent is not None:
        start = start_from(parent)
        adapted = shortened(start.recipe(name))
        overrides = remembered(out, overrides) if resume else overrides
    elif name is None:
        raise InputError("no recipe was given", "Give the name of a recipe, or a card to begin from: parent=CARD")
    recipe = adapted or registry().recipe(str(name))[1]
    source = str(data or recipe.data)
    todo = planned(
        recipe.name,
        overrides,
        data=data,
        data_name=data_name,
        card_name=card_name,
        columns=columns,
        adapted=adapted,
    )
    if start is not None:
        start.check_fits(todo)
        todo = replace(todo, parent=start.parent.model_dump())
    named = [key for key, value in {"name": card_name, "data": data_name}.items() if value is not None]
    todo = recalled(todo, out, pick_device(device), named)
    check_free(out, todo, resume)
    with raised():
        return _carry_out(
            todo,
            out,
            source,
            resume=resume,
            device=device,
            progress=progress,
            limit=limit,
            threads=threads,
            deadline=deadline,
            start=start,
            given=overrides,
        )


def _carry_out(
    todo: Plan,
    out: Path,
    source: str,
    *,
    resume: bool,
    device: str,
    progress: bool,
    limit: int | None,
    threads: int | None = None,
    deadline: float | None = None,
    start: Start | None = None,
    given: Collection[str] = (),
    finishing: bool = False,
) -> Model:
    """Read the data, train, and make the card.

    start: the card to begin from. given: the settings that the user gave. finishing: the plan has no more steps than
    the newest checkpoint, and is not to be recorded.
    """
    spec, recipe = registry().recipe(todo.recipe)
    progress = progress and os.environ.get("RANK", "0") == "0"
    if progress:
        _announce(todo, spec, out, source, pick_device(device))
    preparation = Preparation(**todo.preparation)
    dataset = load_dataset(source, preparation, kind=todo.batch, columns=todo.columns, limit=limit, progress=progress)
    _check_names(todo.config, dataset)
    if start is not None and not resume:
        todo, said = suited(todo, dataset, given)
        for line in said if progress else ():
            say(f"{line}. To change it: --set {line.partition('=')[0]}=VALUE")
    settings = todo.settings
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
        resume=resume,
        progress=progress,
        preview=_preview(spec, recipe, todo, dataset),
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
        write_card(out, spec, recipe, todo, run, dataset, source)
    run.wait()
    return load(out, device=device)


def finish(
    out: str | Path,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
    limit: int | None = None,
) -> Model:
    """Make a card of the run in the folder `out` as it is, and return its model.

    The card is that of the newest complete checkpoint, and says how many steps were made. Nothing is trained, and the
    run can still go on.

    data: the data set that the run was begun with. It must be given if its folder is not found by the name that the
    card has for it, since a run records no path. limit: as it was given to `train`.

    Raises NotFoundError if there is no run or no complete checkpoint in `out`, MissingExtraError, and DataError, also
    for data with another content.
    """
    require("train", "training")
    out = Path(out).expanduser()
    todo, (steps, _) = plan_of(out), reached(out)
    if steps == 0:
        raise NotFoundError(f"the run in {out} has no complete checkpoint yet", "To go on with it, add --resume.")
    with raised():
        return _carry_out(
            replace(todo, steps=steps),
            out,
            str(data or todo.data),
            resume=True,
            device=device,
            progress=progress,
            limit=limit,
            finishing=True,
        )


def _announce(todo: Plan, spec: ModelSpec, out: Path, source: str, device: torch.device) -> None:
    """Say what will be done, before anything is read."""
    done, _ = reached(out)
    size, batch = todo.preparation["size"], todo.settings.batch_size
    rows = {
        "recipe": f"{todo.recipe} ({spec.title})",
        **({"from": f"the card {todo.parent['name']}"} if todo.parent else {}),
        "data": source,
        "steps": f"{todo.steps:,} of {batch} images at {size}x{size}{f', from step {done:,} on' if done else ''}",
        "device": f"{machine(device)}, in {todo.settings.precision}",
        "folder": str(out),
        "card": todo.name,
    }
    for key, text in rows.items():
        say(f"{key:8}{text}")


def _check_names(config: Mapping[str, Any], dataset: Dataset) -> None:
    """DataError if the model does not name as many classes or attributes as the data have."""
    names = config.get("names")
    if names is not None and dataset.names and len(names) != len(dataset.names):
        raise DataError(
            f"{dataset.source} has {len(dataset.names)} classes or attributes, but the model names {len(names)}",
            f"Give the names of the data set: --set 'names={json.dumps(dataset.names)}'",
        )


def _preview(spec: ModelSpec, recipe: Recipe, todo: Plan, dataset: Dataset) -> Callable[[nn.Module], Images] | None:
    """The pictures that a run saves: samples, or for a translator the first training images with their translations."""
    if not {"sample", "translate"} & set(spec.capabilities):
        return None
    shown = shown_rows(recipe, todo)

    def preview(module: nn.Module) -> Images:
        model = handle(spec, todo, module)
        if "sample" in spec.capabilities:
            return pictures.samples(model, shown, columns=12)
        if dataset.inputs is not None:
            return pictures.pairs(model, dataset.inputs[:12] / 255, dataset.images[:12] / 255, recipe.credit)
        return pictures.beside(model, dataset.images[:12], shown)

    return preview
