"""Trains a recipe on a data set. The run leaves a card."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo.card import weights
from zoo.data.batches import Batches
from zoo.data.columns import resolved
from zoo.data.held import hold_out
from zoo.data.layout import Reading, Source
from zoo.data.opening import PAGE, Given, open_source
from zoo.data.source import Dataset, read, say, summary
from zoo.data.tree import Left
from zoo.devices import pick_device
from zoo.extras import require
from zoo.family.registry import registry, resolve
from zoo.family.spec import ModelSpec, Preparation, Recipe
from zoo.images import Images
from zoo.model import Model, load
from zoo.training import pictures
from zoo.training.fitting import fitted, names_of
from zoo.training.plan import Plan, check_free, claim, planned, with_precision
from zoo.training.result import data_facts, handle, shown_rows, write_card
from zoo.training.run import Run


def train(
    name: str,
    *,
    out: str | Path,
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
    **overrides: Any,
) -> Model:
    """Train the recipe `name` in the folder `out`, which becomes a card, and return the model of that card.

    data: the data set: a folder, a .zip, a list of image files or a Hub name; by default that of the recipe. data_name:
    the data set's name in the card. card_name: the card's name; by default that of the recipe, or family and data set
    if the data are your own. columns: which columns are the `image`, the `label` and so on, if their names differ from
    those in the recipe. pairs: each picture holds a pair side by side, with the input on the left (`ab`) or on the
    right (`ba`). splits: whether folders with names of splits are splits. skip_broken: whether to go on without the
    pictures that cannot be read. "Your data" in the docs shows the layouts that are known.
    resume: go on from the newest checkpoint in `out`. All settings must be the same, only `steps` may be larger.
    limit: use only so many images, the first ones. budget: minutes for reading the data and for training. When they are
    over, the run writes a checkpoint and raises OutOfTime; there is no card then.
    threads: of the CPU. By default zoo uses as many as are free, and looks again every minute. Another number of
    threads rounds sums in another way: give a number if a run must be repeated to the last bit.
    overrides: `steps`, `batch_size`, `image_size`, or any setting of the recipe.

    Raises NotFoundError, MissingExtraError, ConfigError, InputError for a folder `out` that is not free, DataError and
    TrainingError. Nothing that was in `out` is lost.
    """
    deadline = None if budget is None else time.monotonic() + 60 * budget
    spec, recipe = registry().recipe(name)
    require("train", "training")
    called = None if data is None else _name_of(data)
    todo = planned(name, overrides, data=called, data_name=data_name, card_name=card_name, columns=columns)
    out = Path(out).expanduser()
    todo = with_precision(todo, out, pick_device(device))
    if not resume:  # before the data are read
        check_free(out, todo, resume)
    source = opened(name, data, columns, pairs=pairs, splits=splits, skip_broken=skip_broken)
    todo, changed = fitted(todo, spec, recipe, source, columns or {}, overrides)
    check_free(out, todo, resume)

    settings, preparation = todo.settings, Preparation(**todo.preparation)
    names = names_of(todo, recipe, source)
    dataset, lost = read(
        source, preparation, kind=todo.batch, columns=todo.columns, names=names, limit=limit, progress=progress
    )
    share = 0.0 if "test" in source.splits else settings.hold_out
    dataset, test, held = hold_out(dataset, todo.batch, share, settings.seed)
    say(summary(source, dataset, todo.batch, len(test or ()), len(lost)), progress)
    say(changed, progress)
    torch.manual_seed(settings.seed)
    model = weights.build(spec, todo.config)
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
    )
    run.wait()  # every process must have checked `out` before the first one writes to it
    if run.rank == 0:
        claim(out, todo)
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
        write_card(out, spec, recipe, todo, run, dataset, data_facts(source, dataset, test, held), source)
    run.wait()
    return load(out, device=device)


def opened(name: str, data: Given | None = None, columns: Mapping[str, str] | None = None, **reading: Any) -> Source:
    """The data set that a recipe would be trained on with these arguments of `train`, before a picture is read."""
    spec, recipe = registry().recipe(name)
    source = recipe.data if data is None else data
    return open_source(source, kind=recipe.batch or spec.batch, columns=columns, reading=Reading(**reading))


def left_out(
    name: str,
    *,
    data: Given | None = None,
    columns: Mapping[str, str] | None = None,
    image_size: int | None = None,
    progress: bool = True,
    **reading: Any,
) -> list[Left]:
    """Every file of a data set that `train` with these arguments would leave out, with the reason.

    The pictures are decoded for that. DataError if none can be read.
    """
    spec, recipe = registry().recipe(name)
    require("train", "training")
    source = opened(name, data, columns, **reading | {"skip_broken": True})
    preparation = replace(recipe.preparation, size=image_size or recipe.preparation.size)
    kind = recipe.batch or spec.batch
    chosen = resolved(source, "train", kind, columns or {}, recipe.columns)
    lost = read(source, preparation, kind=kind, columns=chosen, progress=progress)[1]
    return [*source.left, *lost]


def _name_of(data: Given) -> str | Path:
    """What gives a data set its name on a card: for a list of files their folder, for a page of the Hub its address."""
    if not isinstance(data, str | Path):
        return Path(data[0]).expanduser().absolute().parent
    return PAGE.sub("", data).strip("/") if isinstance(data, str) and PAGE.match(data) else data


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
