"""Makes the card of a finished run: its weights, its picture and its facts."""

import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo._version import __version__
from zoo.card import facts as cards
from zoo.card import weights
from zoo.card.config import CardDraft, Parent, read_config
from zoo.card.names import PICTURE, WEIGHTS
from zoo.data.batches import domain_rows
from zoo.data.held import Held
from zoo.data.layout import Reading, Source
from zoo.data.source import Dataset, read
from zoo.devices import machine
from zoo.errors import ZooError
from zoo.family.conditions import declared
from zoo.family.registry import registry
from zoo.family.spec import ModelSpec, Preparation, Recipe
from zoo.files import TEMPORARY, sha256
from zoo.images.batch import Images
from zoo.model import Model
from zoo.training import pictures
from zoo.training.best import Best
from zoo.training.claims import as_before, begun, is_begun
from zoo.training.plan import Plan
from zoo.training.rounding import as_stored
from zoo.training.run import Run

UNSHOWN = {"batch_size", "precision", "seed", "log_every", "save_every", "sample_every", "evaluate_every"}
"""Settings that a card records in another place, or that do not change the weights."""


def write_card(
    out: Path,
    spec: ModelSpec,
    recipe: Recipe,
    todo: Plan,
    run: Run,
    dataset: Dataset,
    data: Mapping[str, Any],
    source: Source,
    best: Best | None = None,
) -> None:
    """Make the card in a temporary folder, then move it to `out`. If this fails, an earlier card stays as it was.

    best: how the step was chosen, if it was.
    """
    shown = shown_rows(recipe, todo)
    given = dataset.images if dataset.inputs is None else dataset.inputs
    module, dtype = as_stored(run.published, partial(handle, spec, todo), todo.settings.weights, given, shown)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out) as name:
        folder = Path(name)
        config = _draft(spec, todo).written(declared(module), weights.save_weights(module, folder, dtype))
        cards.write_config(folder, config)
        model = Model(module, spec, config, device=_device(module))
        picture = _picture(model, recipe, todo, source)
        if picture is not None:
            picture.save(folder / PICTURE)
        facts = _facts(spec, recipe, todo, run, dataset, data, dtype, best, pictured=picture is not None)
        golden = pictures.golden(model)
        cards.write_facts(folder, facts.model_copy(update={"golden": golden}))
        for file in folder.iterdir():
            os.replace(file, out / file.name)


def handle(spec: ModelSpec, todo: Plan, module: nn.Module) -> Model:
    """The handle of a card that is not finished yet."""
    return Model(module, spec, _draft(spec, todo), device=_device(module))


def _draft(spec: ModelSpec, todo: Plan) -> CardDraft:
    return CardDraft(
        name=todo.name,
        family=todo.family,
        package=registry().provider(spec.name).distribution,
        config=todo.config,
        preparation=Preparation(**todo.preparation),
    )


def _device(module: nn.Module) -> str:
    return str(next(module.parameters()).device)


def shown_rows(recipe: Recipe, todo: Plan) -> tuple[Mapping[str, Any], ...]:
    """The conditions of each row of the picture. The recipe's use the names of its own data, so others get none."""
    return recipe.shown if todo.data == recipe.data else ()


def preview_of(spec: ModelSpec, recipe: Recipe, todo: Plan, dataset: Dataset) -> Callable[[nn.Module], Images] | None:
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


def data_facts(source: Source, dataset: Dataset, test: Dataset | None, held: Held | None) -> dict[str, Any]:
    """What the card says of the data that the model was trained on. test, held: the images that were held out."""
    out = None if test is None or held is None else cards.HeldOut(images=len(test), **asdict(held))
    usual = asdict(Reading())
    reading = {key: value for key, value in asdict(source.reading).items() if value != usual[key]}
    return {
        "split": dataset.split,
        "columns": dict(dataset.columns),
        "names": list(dataset.names),
        "reading": reading,
        "held_out": out,
        "images": len(dataset),
    }


def _picture(model: Model, recipe: Recipe, todo: Plan, source: Source) -> Images | None:
    """The picture at the top of the card. It shows images of the data set only if the recipe has their credit line."""
    if not (recipe.credit and todo.data == recipe.data and "input" in todo.columns):
        return pictures.picture(model, recipe.inputs, shown_rows(recipe, todo))
    test, _ = read(source, model.preparation, split="test", kind=todo.batch, columns=todo.columns)
    assert test.inputs is not None
    rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:12]
    return pictures.pairs(model, test.inputs[rows] / 255, test.images[rows] / 255, recipe.credit)


def _facts(
    spec: ModelSpec,
    recipe: Recipe,
    todo: Plan,
    run: Run,
    dataset: Dataset,
    data: Mapping[str, Any],
    dtype: str,
    best: Best | None,
    *,
    pictured: bool,
) -> cards.Facts:
    """The facts of the card. The recipe's texts about its own data are left out if the data are others."""
    settings, size = todo.settings, todo.preparation["size"]
    training = cards.Training(
        recipe=todo.recipe,
        data=todo.data,
        **data,
        steps=run.step,
        batch_size=settings.batch_size,
        passes=round(run.step * settings.batch_size / max(map(len, domain_rows(dataset, todo.batch))), 2),
        seconds=round(run.seconds),
        device=machine(run.device),
        precision=settings.precision,
        seed=settings.seed,
        settings=todo.arguments | settings.model_dump(exclude=UNSHOWN) | {"weights": dtype},
        software={"zoo": __version__, "torch": version("torch"), "python": platform.python_version()},
        chosen=best and cards.Chosen(figure=best.name, value=best.value, images=best.images, whence=best.whence),
        parent=Parent(**todo.parent) if todo.parent else None,
    )
    own, parent = todo.data == recipe.data, training.parent
    terms = recipe.terms if own else f"Trained on {todo.data}; its terms are those of whoever gave it."
    plain = f"{spec.title} at {size}x{size}: {spec.summary}."
    return cards.Facts(
        summary=recipe.summary if own and size == recipe.preparation.size else plain,
        license=recipe.license if own and not parent else "other",
        data_terms=f"{terms} The training began from {parent.name}: {parent.terms}" if parent else terms,
        limits=[*(recipe.limits if own else ()), *([_favoured(best)] if best else [])],
        larger=recipe.larger if own else "",
        training=training,
        picture_inputs=recipe.inputs if pictured else None,
        picture_credit=recipe.credit if pictured and own else "",
        picture_rows=[dict(row) for row in shown_rows(recipe, todo)] if pictured else [],
    )


def _favoured(best: Best) -> str:
    """What the choice of a step does to figures."""
    return (
        f"Step {best.step:,} was chosen because its {best.name} was the best on {best.images:,} images "
        f"{best.whence}. So figures on these images are better than they would be on others."
    )


def is_finished(out: Path, todo: Plan) -> bool:
    """Whether `out` holds the complete card of this plan, trained for all its steps."""
    todo = as_before(todo, begun(out))
    try:
        facts = cards.read_facts(out)
        whole = sha256(out / WEIGHTS) == read_config(out).weights.sha256
    except (ZooError, OSError):
        return False
    return is_begun(out, todo) and whole and facts.training is not None and facts.training.steps == todo.steps
