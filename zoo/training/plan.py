"""A recipe with overrides: what a run is told, and whose folder it runs in."""

import dataclasses
import inspect
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import torch
from pydantic import Field

from zoo.card.names import PLAN
from zoo.devices import fast_precision, warn_if_slow
from zoo.errors import ConfigError, InputError, NotFoundError, PluginError, ZooError, did_you_mean
from zoo.family.config import Config, validate
from zoo.family.registry import registry, resolve
from zoo.family.spec import NAME, ModelSpec, Recipe
from zoo.files import parse_json, read_json, to_json, write_atomically

Homes = Mapping[str, Collection[str]]
"""Where settings belong, with the names there: the family's `loop`, the `run`, the model's `config`."""


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
    """Sort overrides into arguments of the loop, run settings and model config, and check each against its type.

    A key may say which: `loop.x`, `run.x`, `config.x`. ConfigError with suggestions for an unknown key, and for a plain
    one that the loop or the run shares with the config; PluginError for a loop that breaks the contract.
    """
    module, arguments = resolve(spec.module), loop_arguments(spec)
    homes: Homes = {"loop": arguments, "run": Settings.model_fields, "config": module.Config.model_fields}
    # A recipe keeps its config apart, so what it says of the loop and the run is never ambiguous.
    values = _sorted(recipe.name, recipe.train, {"loop": homes["loop"], "run": homes["run"]})
    given = _sorted(recipe.name, overrides, homes)
    defaults = {key: parameter.default for key, parameter in arguments.items()}
    loop = defaults | values["loop"] | given["loop"]
    checked = {key: _typed(key, value, arguments[key].annotation) for key, value in loop.items()}
    steps = checked.pop("steps")
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, found {steps}")
    full = validate(module.Config, dict(recipe.config) | given["config"], f"config of {recipe.name}")
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
        settings=validate(Settings, values["run"] | given["run"], f"settings of {recipe.name}"),
        arguments=checked,
        config=full.model_dump(mode="json"),
        preparation=dataclasses.asdict(preparation),
        columns={**recipe.columns, **(columns or {})},
        batch=recipe.batch or spec.batch,
    )


def loop_arguments(spec: ModelSpec) -> dict[str, inspect.Parameter]:
    """The settings that a family's loop takes, `steps` among them.

    PluginError for one that is called like a setting of every run: the run would take each value meant for it.
    """
    parameters = inspect.signature(resolve(spec.train), eval_str=True).parameters.values()
    arguments = {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    for key in arguments.keys() & Settings.model_fields.keys():
        raise PluginError(
            f"{spec.train}: the argument {key!r} has the name of the run's setting {key!r}",
            f"Rename it; every run has {', '.join(Settings.model_fields)}.",
        )
    return arguments


def _sorted(recipe: str, values: Mapping[str, Any], homes: Homes) -> dict[str, dict[str, Any]]:
    """The values by where they belong."""
    found: dict[str, dict[str, Any]] = {home: {} for home in homes}
    for key, value in values.items():
        home, name = _home(recipe, key, homes)
        found[home][name] = value
    return found


def _home(recipe: str, key: str, homes: Homes) -> tuple[str, str]:
    """Where a key belongs, and its name there."""
    said, dot, name = key.rpartition(".")
    homes = {home: names for home, names in homes.items() if not dot or home == said}
    fitting = [home for home, names in homes.items() if name in names]
    if not fitting:
        known = [f"{said}{dot}{one}" for names in homes.values() for one in names]
        raise ConfigError(f"{recipe} has no setting {key!r}", did_you_mean(key, known))
    if len(fitting) > 1:
        spelled = [f"{home}.{name}" for home in fitting]
        raise ConfigError(
            f"{recipe} has two settings {key!r}: {' and '.join(spelled)}",
            f"Say which: --set {spelled[0]}=... or --set {spelled[1]}=....",
        )
    return fitting[0], name


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


def _slug(text: str) -> str:
    """Lower-case words joined by hyphens, as names of cards are."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:64].strip("-")


def with_precision(todo: Plan, out: Path, device: torch.device) -> Plan:
    """The plan with what `auto` comes to: in a run that goes on what it began with, else what the device is fast in.

    Warns where a precision that was asked for, or begun with on another machine, is slow here.
    """
    begun = begun_in(out)
    precision = begun or fast_precision(device) if todo.settings.precision == "auto" else todo.settings.precision
    why = "The run keeps what it began with." if precision == begun else "Leave precision at auto."
    warn_if_slow(device, precision, why)
    return in_precision(todo, precision)


def in_precision(todo: Plan, precision: str) -> Plan:
    return dataclasses.replace(todo, settings=todo.settings.model_copy(update={"precision": precision}))


def begun_in(out: Path) -> Any:
    """The precision that the run in this folder began with; None where there is no run."""
    try:
        return read_json(out / PLAN)["settings"]["precision"]
    except (ZooError, OSError, KeyError, TypeError):
        return None


def check_free(out: Path, todo: Plan, resume: bool) -> None:
    """Make sure that `out` is new, or the folder of this run, before anything in it is touched."""
    if (out / PLAN).is_file():
        if not resume:
            raise InputError(f"{out} already holds a run", "Give --resume to go on with it, or another --out.")
        _same(out, read_json(out / PLAN), parse_json(plan_text(todo).encode(), PLAN))
    elif out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "Give another --out.")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no run", "Give another --out.")
    elif resume:
        raise NotFoundError(f"there is no run in {out} to resume", "Leave --resume out to begin one.")


def claim(out: Path, todo: Plan) -> None:
    """Only once the data are read: a mistyped folder must not leave a run behind."""
    write_atomically(out / PLAN, lambda path: path.write_text(plan_text(todo), encoding="utf-8"))


def plan_text(todo: Plan) -> str:
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
