"""Recipe + data -> run -> card."""

import dataclasses
import inspect
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import torch
from pydantic import Field
from torch import nn

from zoo._version import __version__
from zoo.card import facts as cards
from zoo.card import weights
from zoo.card.config import CardConfig, WeightsFacts, read_config
from zoo.card.names import PICTURE, PLAN, WEIGHTS
from zoo.data.source import Batches, Dataset, domain_rows, load_dataset
from zoo.devices import fast_precision, machine, pick_device, warn_if_slow
from zoo.errors import ConfigError, DataError, InputError, NotFoundError, ZooError, did_you_mean
from zoo.family.config import Config, validate
from zoo.family.registry import registry, resolve
from zoo.family.spec import NAME, ModelSpec, Preparation, Recipe
from zoo.files import TEMPORARY, parse_json, read_json, sha256, to_json, write_atomically
from zoo.images import Images
from zoo.model import Model, load
from zoo.training import pictures
from zoo.training.rounding import as_stored
from zoo.training.run import Run

UNSHOWN = {"batch_size", "precision", "seed", "log_every", "save_every", "sample_every"}
"""Settings that a card's record names elsewhere, or that do not touch the weights."""


class Settings(Config):
    """What every run can be told, whatever its family; given beside the loop's own arguments."""

    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """Of forward passes. `auto` is what the device is fast in, when the run begins; run.json and the card say what that
    was."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the averaged weights, which are then the published ones; 0 publishes the raw weights."""
    flip: bool = False
    """Mirror half of the training images."""
    jitter: bool = False
    """Shift training images by up to 15/256 of the side; what comes in at the border is the image reflected."""
    weights: Literal["float32", "float16", "bfloat16"] = "float32"
    """Number format of the card's weights, if what they make agrees with float32 within 1/255; else float32."""
    log_every: Annotated[int, Field(ge=1)] = 50
    save_every: Annotated[int, Field(ge=1)] = 1000
    sample_every: Annotated[int, Field(ge=1)] = 1000


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recipe with all overrides applied: what run.json holds, and what a resumed run must find unchanged."""

    name: str
    """Of the card."""
    recipe: str
    family: str
    data: str
    steps: int
    settings: Settings
    arguments: dict[str, Any]
    """Of the family's `train`, steps aside."""
    config: dict[str, Any]
    preparation: dict[str, Any]
    columns: dict[str, str]
    batch: str


def plan(
    recipe: Recipe,
    spec: ModelSpec,
    overrides: Mapping[str, Any],
    *,
    name: str,
    data: str,
    columns: Mapping[str, str] | None = None,
) -> Plan:
    """Sort overrides into run settings, arguments of the loop and model config, and check each against its type.

    ConfigError with suggestions for an unknown key.
    """
    arguments = _arguments(resolve(spec.train))
    config_fields = resolve(spec.module).Config.model_fields
    values = dict(recipe.train) | {key: value for key, value in overrides.items() if key not in config_fields}
    config = dict(recipe.config) | {key: value for key, value in overrides.items() if key in config_fields}
    settings = {key: value for key, value in values.items() if key in Settings.model_fields}
    loop = {key: value for key, value in values.items() if key not in settings}
    for key in loop:
        if key not in arguments:
            known = [*arguments, *Settings.model_fields, *config_fields]
            raise ConfigError(f"{recipe.name} has no setting {key!r}", did_you_mean(key, known))
    defaults = {key: parameter.default for key, parameter in arguments.items()}
    checked = {key: _typed(key, value, arguments[key].annotation) for key, value in (defaults | loop).items()}
    steps = checked.pop("steps")
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, found {steps}")
    full = validate(resolve(spec.module).Config, config, f"config of {recipe.name}")
    preparation = dataclasses.replace(recipe.preparation, size=getattr(full, "image_size", recipe.preparation.size))
    channels = getattr(full, "channels", preparation.channels)
    if channels != preparation.channels:
        hint = f"{recipe.name} prepares {preparation.mode} images: leave channels at {preparation.channels}."
        raise ConfigError(f"config of {recipe.name}: channels={channels} does not fit", hint)
    return Plan(
        name=name,
        recipe=recipe.name,
        family=spec.name,
        data=data,
        steps=steps,
        settings=validate(Settings, settings, f"settings of {recipe.name}"),
        arguments=checked,
        config=full.model_dump(mode="json"),
        preparation=dataclasses.asdict(preparation),
        columns={**recipe.columns, **(columns or {})},
        batch=recipe.batch or spec.batch,
    )


def _arguments(loop: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(loop, eval_str=True).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _typed(key: str, value: Any, annotation: Any) -> Any:
    try:
        finite = pydantic.ConfigDict(allow_inf_nan=False)
        return pydantic.TypeAdapter(annotation, config=finite).validate_python(value)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{key}={value!r}: {error.errors()[0]['msg']}") from None


def planned(
    name: str,
    overrides: Mapping[str, Any],
    *,
    data: str | Path | None = None,
    data_name: str | None = None,
    card_name: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Plan:
    """What `train` would do with these arguments. Raises NotFoundError or ConfigError."""
    spec, recipe = registry().recipe(name)
    source = str(data or recipe.data)
    # A folder is called by its own name, so that no card tells where a disk was mounted.
    called = data_name or (recipe.data if data is None else Path(source).name if Path(source).exists() else source)
    card = card_name or (name if called == recipe.data else _slug(f"{spec.name}-{called}"))
    if not NAME.fullmatch(card):
        raise ConfigError(f"card name {card!r} must be lower-case words joined by hyphens, like 'dcgan-celeba'")
    return plan(recipe, spec, overrides, name=card, data=called, columns=columns)


def train(
    name: str,
    *,
    out: str | Path,
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
    """Train the recipe `name` and return the model of the card that it leaves in the folder `out`.

    data: the data set, by Hub name or folder; the recipe's own by default. data_name: what the card calls it.
    card_name: what the card is called: like the recipe, or after the family and the data where these are your own.
    columns: which of its columns is the `image`, the `label`, ... where they are not called as in the recipe's data.
    resume: go on from the newest checkpoint in `out`; all settings must be the same, only `steps` may grow.
    limit: use the first so many images. budget: minutes after which the run stops between two steps, with a checkpoint
    and without a card, by raising OutOfTime; reading the data counts, making the card does not.
    threads: of the CPU; by default as many as are free, looked at now and then. Another number changes how sums are
    rounded: a run that must be repeated to the last bit needs a fixed one.
    overrides: `steps`, `batch_size`, `image_size`, or any setting of the recipe.

    Raises NotFoundError, ConfigError, DataError, TrainingError; nothing that was in `out` is lost.
    """
    deadline = None if budget is None else time.monotonic() + 60 * budget
    spec, recipe = registry().recipe(name)
    source = str(data or recipe.data)
    todo = planned(name, overrides, data=data, data_name=data_name, card_name=card_name, columns=columns)
    out = Path(out).expanduser()
    todo = with_precision(todo, out, pick_device(device))
    _check_free(out, todo, resume)

    preparation = Preparation(**todo.preparation)
    dataset = load_dataset(source, preparation, kind=todo.batch, columns=todo.columns, limit=limit, progress=progress)
    _check_names(todo.config, dataset)
    settings = todo.settings
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
    run.wait()  # every process must have looked at `out` before the first one claims it
    if run.rank == 0:
        _claim(out, todo)
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
        _write_card(out, spec, recipe, todo, run, dataset, source)
    run.wait()
    return load(out, device=device)


def with_precision(todo: Plan, out: Path, device: torch.device) -> Plan:
    """The plan with what `auto` comes to: in a run that goes on what it began with, else what the device is fast in.

    Warns where a precision that was asked for, or begun with on another machine, is slow here.
    """
    begun = begun_in(out)
    precision = begun or fast_precision(device) if todo.settings.precision == "auto" else todo.settings.precision
    why = "The run keeps what it began with." if precision == begun else "Leave precision at auto."
    warn_if_slow(device, precision, why)
    return _in(todo, precision)


def _in(todo: Plan, precision: str) -> Plan:
    return dataclasses.replace(todo, settings=todo.settings.model_copy(update={"precision": precision}))


def begun_in(out: Path) -> Any:
    """The precision that the run in this folder began with; None where there is no run."""
    try:
        return read_json(out / PLAN)["settings"]["precision"]
    except (ZooError, OSError, KeyError, TypeError):
        return None


def _check_names(config: Mapping[str, Any], dataset: Dataset) -> None:
    """A model that names its classes or attributes must have as many as the data."""
    names = config.get("names")
    if names is not None and dataset.names and len(names) != len(dataset.names):
        raise DataError(
            f"{dataset.source} has {len(dataset.names)} classes or attributes, the model names {len(names)}",
            f"Name those of the data: --set 'names={json.dumps(dataset.names)}'.",
        )


def _slug(text: str) -> str:
    """Lower-case words joined by hyphens, as names of cards are."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:64].strip("-")


def is_finished(out: Path, todo: Plan) -> bool:
    """Whether `out` holds the whole card of this plan, with all its steps."""
    if todo.settings.precision == "auto":
        todo = _in(todo, begun_in(out) or "auto")
    try:
        facts = cards.read_facts(out)
        same = read_json(out / PLAN) == parse_json(_plan_text(todo).encode(), PLAN)
        whole = sha256(out / WEIGHTS) == read_config(out).weights.sha256
    except (ZooError, OSError):
        return False
    return same and whole and facts.training is not None and facts.training.steps == todo.steps


def _check_free(out: Path, todo: Plan, resume: bool) -> None:
    """Make sure that `out` is new, or the folder of this run, before anything in it is touched."""
    if (out / PLAN).is_file():
        if not resume:
            raise InputError(f"{out} already holds a run", "Give --resume to go on with it, or another --out.")
        _same(out, read_json(out / PLAN), parse_json(_plan_text(todo).encode(), PLAN))
    elif out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "Give another --out.")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no run", "Give another --out.")
    elif resume:
        raise NotFoundError(f"there is no run in {out} to resume", "Leave --resume out to begin one.")


def _claim(out: Path, todo: Plan) -> None:
    """Only once the data are read: a mistyped folder must not leave a run behind."""
    write_atomically(out / PLAN, lambda path: path.write_text(_plan_text(todo), encoding="utf-8"))


def _plan_text(todo: Plan) -> str:
    return to_json(dataclasses.asdict(todo) | {"settings": todo.settings.model_dump(mode="json")})


def _same(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    free = {"steps"}
    changed = [key for key in now if key not in free and before.get(key) != now[key]]
    if changed:
        raise InputError(
            f"{out} was begun with other settings: {'; '.join(_change(k, before.get(k), now[k]) for k in changed)}",
            "Resume with the same settings, or begin anew in another --out.",
        )
    if now["steps"] < before["steps"]:
        raise InputError(f"{out} was begun for {before['steps']} steps; a resumed run may only be longer")


def _change(key: str, before: Any, now: Any) -> str:
    """Of a group of settings, only those that differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return f"{key} was {before}, now {now}"
    keys = [k for k in before | now if before.get(k) != now.get(k)]
    return ", ".join(_change(k, before.get(k), now.get(k)) for k in keys)


def _preview(spec: ModelSpec, recipe: Recipe, todo: Plan, dataset: Dataset) -> Callable[[nn.Module], Images] | None:
    """What a run shows as it grows: samples, or for a translator the first training images and their translations."""
    if not {"sample", "translate"} & set(spec.capabilities):
        return None
    shown = _shown(recipe, todo)

    def preview(module: nn.Module) -> Images:
        model = _handle(spec, todo, module)
        if "sample" in spec.capabilities:
            return pictures.samples(model, shown, columns=12)
        if dataset.inputs is not None:
            return pictures.pairs(model, dataset.inputs[:12] / 255, dataset.images[:12] / 255, recipe.credit)
        return pictures.beside(model, dataset.images[:12], shown)

    return preview


def _handle(spec: ModelSpec, todo: Plan, module: nn.Module) -> Model:
    """The handle of a card that is still in the making."""
    config = CardConfig(
        name=todo.name,
        family=todo.family,
        config=todo.config,
        preparation=Preparation(**todo.preparation),
        weights=WeightsFacts(dtype="float32", sha256="0" * 64),
    )
    return Model(module, spec, config, device=str(next(module.parameters()).device))


def _shown(recipe: Recipe, todo: Plan) -> tuple[Mapping[str, Any], ...]:
    """The recipe's rows of conditions, whose names are those of its own data."""
    return recipe.shown if todo.data == recipe.data else ()


def _picture(module: nn.Module, spec: ModelSpec, recipe: Recipe, todo: Plan, config: CardConfig, source: str) -> Any:
    """What stands on top of the card: made of the model alone, unless the data may be shown."""
    if not (recipe.credit and todo.data == recipe.data and "input" in todo.columns):
        return pictures.picture(module, spec, config, recipe.inputs, _shown(recipe, todo))
    test = load_dataset(source, config.preparation, split="test", kind=todo.batch, columns=todo.columns)
    assert test.inputs is not None
    rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:12]
    return pictures.pairs(_handle(spec, todo, module), test.inputs[rows] / 255, test.images[rows] / 255, recipe.credit)


def _write_card(
    out: Path, spec: ModelSpec, recipe: Recipe, todo: Plan, run: Run, dataset: Dataset, source: str
) -> None:
    """Make the card aside and move it in once it is complete: a failure leaves an earlier card as it was."""
    shown = _shown(recipe, todo)
    given = dataset.images if dataset.inputs is None else dataset.inputs
    module, dtype = as_stored(run.published, partial(_handle, spec, todo), todo.settings.weights, given, shown)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out) as name:
        folder = Path(name)
        config = CardConfig(
            name=todo.name,
            family=todo.family,
            package=registry().provider(spec.name).distribution,
            config=todo.config,
            preparation=Preparation(**todo.preparation),
            weights=weights.save_weights(module, folder, dtype),
        )
        cards.write_config(folder, config)
        picture = _picture(module, spec, recipe, todo, config, source)
        if picture is not None:
            picture.save(folder / PICTURE)
        facts = _facts(spec, recipe, todo, run, dataset, dtype, pictured=picture is not None)
        golden = pictures.golden(_handle(spec, todo, module))
        cards.write_facts(folder, facts.model_copy(update={"golden": golden}))
        for file in folder.iterdir():
            os.replace(file, out / file.name)


def _facts(
    spec: ModelSpec, recipe: Recipe, todo: Plan, run: Run, dataset: Dataset, dtype: str, *, pictured: bool
) -> cards.Facts:
    """What the card says. Words of the recipe that are about its own data are not said of other data."""
    settings, size = todo.settings, todo.preparation["size"]
    training = cards.Training(
        recipe=todo.recipe,
        data=todo.data,
        split=dataset.split,
        columns=todo.columns,
        images=len(dataset),
        steps=run.step,
        batch_size=settings.batch_size,
        passes=round(run.step * settings.batch_size / max(map(len, domain_rows(dataset, todo.batch))), 2),
        seconds=round(run.seconds),
        device=machine(run.device),
        precision=settings.precision,
        seed=settings.seed,
        settings=todo.arguments | settings.model_dump(exclude=UNSHOWN) | {"weights": dtype},
        software={"zoo": __version__, "torch": version("torch"), "python": platform.python_version()},
    )
    own = todo.data == recipe.data
    plain = f"{spec.title} at {size}x{size}: {spec.summary}."
    return cards.Facts(
        summary=recipe.summary if own and size == recipe.preparation.size else plain,
        license=recipe.license if own else "other",
        data_terms=recipe.terms if own else f"Trained on {todo.data}; its terms are those of whoever gave it.",
        limits=list(recipe.limits) if own else [],
        larger=recipe.larger if own else "",
        training=training,
        picture_inputs=recipe.inputs if pictured else None,
        picture_credit=recipe.credit if pictured and own else "",
        picture_rows=[dict(row) for row in _shown(recipe, todo)] if pictured else [],
    )
