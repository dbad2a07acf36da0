"""A recipe with its overrides."""

import dataclasses
import inspect
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from zoo.errors import ConfigError, PluginError, did_you_mean
from zoo.family.config import Config, misread, validate
from zoo.family.registry import registry, resolve
from zoo.family.spec import NAME, ModelSpec, Recipe
from zoo.files import to_json

Homes = Mapping[str, Collection[str]]
"""The places that settings belong to, each with its names: the family's `loop`, the `run`, the model's `config`."""


class Settings(Config):
    """The settings that every run has, in every family. The arguments of the family's loop come in addition."""

    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """Precision of forward passes. `auto` is the fastest one on the device when the run begins. run.json and the card
    say which one it was."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the averaged weights, which then go into the card. With 0 nothing is averaged."""
    flip: bool = False
    """Mirror half of the training images."""
    jitter: bool = False
    """Shift training images by up to 15/256 of the side. The image is reflected at its border."""
    hold_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the images that are kept for evaluation, at most 1,000, if the data have no test split."""
    weights: Literal["float32", "float16", "bfloat16"] = "float32"
    """Number format of the card's weights, if its results agree with those of float32 within 1/255; else float32."""
    log_every: Annotated[int, Field(ge=1)] = 50
    save_every: Annotated[int, Field(ge=1)] = 1000
    sample_every: Annotated[int, Field(ge=1)] = 1000
    evaluate_every: Annotated[int, Field(ge=0)] = 0
    """Steps between measurements on images that no step sees; 0 measures nothing."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recipe with all overrides applied. run.json holds it, and a resumed run must find the same one."""

    name: str
    """Name of the card."""
    recipe: str
    family: str
    data: str
    steps: int
    settings: Settings
    arguments: dict[str, Any]
    """Arguments of the family's `train`, without `steps`."""
    config: dict[str, Any]
    preparation: dict[str, Any]
    columns: dict[str, str]
    batch: str
    parent: dict[str, str] | None = None
    """The card that the training begins from, as `Parent` of the new card; None for random weights."""


def plan(
    recipe: Recipe,
    spec: ModelSpec,
    overrides: Mapping[str, Any],
    *,
    name: str,
    data: str,
    columns: Mapping[str, str] | None = None,
) -> Plan:
    """Sort overrides into arguments of the loop, settings of the run and model config, and check the type of each.

    A key may say where it belongs: `loop.x`, `run.x`, `config.x`. Raises ConfigError with suggestions for an unknown
    key, ConfigError for a plain key that the config has and the loop or the run too, and PluginError for a loop that
    breaks the contract.
    """
    module, arguments = resolve(spec.module), loop_arguments(spec)
    homes: Homes = {"loop": arguments, "run": Settings.model_fields, "config": module.Config.model_fields}
    # A recipe has its config in another field, so a key in `train` belongs to the loop or to the run.
    values = _sorted(recipe.name, recipe.train, {"loop": homes["loop"], "run": homes["run"]})
    given = _sorted(recipe.name, overrides, homes)
    defaults = {key: parameter.default for key, parameter in arguments.items()}
    loop = defaults | values["loop"] | given["loop"]
    checked = {key: _typed(key, value, arguments[key].annotation) for key, value in loop.items()}
    steps = checked.pop("steps")
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, found {steps}", "Give a larger number: --steps 1000")
    settings = validate(Settings, values["run"] | given["run"], f"settings of {recipe.name}")
    if settings.batch_size < spec.smallest_batch:
        raise ConfigError(
            f"batch_size={settings.batch_size}: {spec.name} trains on batches of {spec.smallest_batch} images or more, "
            "because it compares the images of a batch with each other",
            f"Give at least as many: --batch-size {spec.smallest_batch}",
        )
    full = validate(module.Config, dict(recipe.config) | given["config"], f"config of {recipe.name}")
    preparation = dataclasses.replace(recipe.preparation, size=getattr(full, "image_size", recipe.preparation.size))
    channels = getattr(full, "channels", preparation.channels)
    if channels != preparation.channels:
        found = f"channels={channels} does not fit {preparation.mode} images, which the recipe prepares"
        raise ConfigError(f"config of {recipe.name}: {found}", f"Leave channels at {preparation.channels}.")
    return Plan(
        name=name,
        recipe=recipe.name,
        family=spec.name,
        data=data,
        steps=steps,
        settings=settings,
        arguments=checked,
        config=full.model_dump(mode="json"),
        preparation=dataclasses.asdict(preparation),
        columns={**recipe.columns, **(columns or {})},
        batch=recipe.batch or spec.batch,
    )


def loop_arguments(spec: ModelSpec) -> dict[str, inspect.Parameter]:
    """The settings that a family's loop takes, with `steps`.

    PluginError for one that has the name of a setting of every run: the run would take each value meant for the loop.
    """
    parameters = inspect.signature(resolve(spec.train), eval_str=True).parameters.values()
    arguments = {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    for key in arguments.keys() & Settings.model_fields.keys():
        raise PluginError(
            f"{spec.train}: the argument {key!r} has the name of the run's setting {key!r}",
            f"Rename the argument. These names belong to the run: {', '.join(Settings.model_fields)}.",
        )
    return arguments


def _sorted(recipe: str, values: Mapping[str, Any], homes: Homes) -> dict[str, dict[str, Any]]:
    """The values, sorted by the place that they belong to."""
    found: dict[str, dict[str, Any]] = {home: {} for home in homes}
    for key, value in values.items():
        home, name = _home(recipe, key, homes)
        found[home][name] = value
    return found


def _home(recipe: str, key: str, homes: Homes) -> tuple[str, str]:
    """The place that a key belongs to, and its name there."""
    said, dot, name = key.rpartition(".")
    homes = {home: names for home, names in homes.items() if not dot or home == said}
    fitting = [home for home, names in homes.items() if name in names]
    if not fitting:
        known = [f"{said}{dot}{one}" for names in homes.values() for one in names]
        raise ConfigError(f"{recipe} has no setting {key!r}", did_you_mean(key, known))
    if len(fitting) > 1:
        spelled = [f"{home}.{name}" for home in fitting]
        raise ConfigError(
            f"{recipe} has two settings with the name {key!r}: {' and '.join(spelled)}",
            f"Say which one you mean: --set {spelled[0]}=VALUE or --set {spelled[1]}=VALUE",
        )
    return fitting[0], name


def _typed(key: str, value: Any, annotation: Any) -> Any:
    try:
        finite = pydantic.ConfigDict(allow_inf_nan=False)
        read = pydantic.TypeAdapter(annotation, config=finite).validate_python(value)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{key}={value!r}: {error.errors()[0]['msg']}") from None
    if kind := misread(value, read):
        raise ConfigError(f"{key}={value!r}: expected {kind}")
    return read


def planned(
    name: str,
    overrides: Mapping[str, Any],
    *,
    data: str | Path | None = None,
    data_name: str | None = None,
    card_name: str | None = None,
    columns: Mapping[str, str] | None = None,
    adapted: Recipe | None = None,
) -> Plan:
    """The plan that `train` would follow with these arguments. Raises NotFoundError or ConfigError.

    adapted: the recipe of that name as it is to be followed, if not as it is written.
    """
    spec, recipe = registry().recipe(name)
    recipe = adapted or recipe
    source = str(data or recipe.data)
    # A card names only the last part of a folder's path, so that it does not show where a disk was mounted.
    called = data_name or (recipe.data if data is None else Path(source).name if Path(source).exists() else source)
    card = card_name or (name if called == recipe.data else f"{spec.name}-{_slug(called)}")
    if not NAME.fullmatch(card):
        raise ConfigError(
            f"the card name {card!r} is not made of lower-case words with hyphens between them",
            "Give another name. For example: --card-name dcgan-celeba",
        )
    return plan(recipe, spec, overrides, name=card, data=called, columns=columns)


def _slug(text: str) -> str:
    """The text as lower-case words with hyphens between them, like the name of a card. Accents are left out.

    ConfigError for a text of which less than half of the letters and digits are left, as for other scripts.
    """
    letters = [c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c)]
    slug = re.sub(r"[^a-z0-9]+", "-", "".join(letters)).strip("-")[:64].strip("-")
    if 2 * len(slug.replace("-", "")) < min(64, sum(map(str.isalnum, letters))) or not slug:
        raise ConfigError(
            f"the data are called {text!r}, which makes no name of a card: that has letters from a to z, and digits",
            "Give one. For example: --card-name dcgan-faces",
        )
    return slug


def plan_text(todo: Plan) -> str:
    return to_json(dataclasses.asdict(todo) | {"settings": todo.settings.model_dump(mode="json")})
