"""Recipe + data -> run -> card."""

import dataclasses
import inspect
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import torch
from pydantic import Field
from torch import nn

from zoo import cards, weights
from zoo._version import __version__
from zoo.config import CardConfig, Config, validate
from zoo.data import Batches, Dataset, load_dataset
from zoo.errors import ConfigError, InputError, NotFoundError, did_you_mean
from zoo.files import parse_json, read_json, sweep, to_json, write_atomically
from zoo.images import Images
from zoo.model import Model, load
from zoo.registry import registry, resolve
from zoo.run import Run
from zoo.spec import ModelSpec, Preparation, Recipe

PLAN = "run.json"


class Settings(Config):
    """What every run can be told, whatever its family; recipes and `--set` give these beside the loop's own arguments."""

    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the averaged weights, which are then the published ones; 0 publishes the raw weights."""
    flip: bool = False
    """Mirror half of the training images."""
    jitter: bool = False
    """Enlarge training images by 286/256 and cut a random window."""
    weights: Literal["float32", "float16", "bfloat16"] = "float32"
    """Number format of the card's weights."""
    log_every: Annotated[int, Field(ge=1)] = 50
    save_every: Annotated[int, Field(ge=1)] = 1000
    sample_every: Annotated[int, Field(ge=1)] = 1000


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recipe with all overrides applied: what run.json holds, and what a resumed run must find unchanged."""

    name: str
    family: str
    data: str
    steps: int
    settings: Settings
    arguments: dict[str, Any]
    """Of the family's `train`, steps aside."""
    config: dict[str, Any]
    preparation: dict[str, Any]
    columns: dict[str, str]


def plan(recipe: Recipe, spec: ModelSpec, overrides: Mapping[str, Any], *, name: str, data: str) -> Plan:
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
    preparation = dataclasses.replace(recipe.preparation, size=config.get("image_size", recipe.preparation.size))
    full = validate(resolve(spec.module).Config, config, f"config of {recipe.name}")
    return Plan(
        name=name,
        family=spec.name,
        data=data,
        steps=steps,
        settings=validate(Settings, settings, f"settings of {recipe.name}"),
        arguments=checked,
        config=full.model_dump(mode="json"),
        preparation=dataclasses.asdict(preparation),
        columns=dict(recipe.columns),
    )


def _arguments(loop: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(loop).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _typed(key: str, value: Any, annotation: Any) -> Any:
    try:
        return pydantic.TypeAdapter(annotation).validate_python(value)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{key}={value!r}: {error.errors()[0]['msg']}") from None


def train(
    name: str,
    *,
    out: str | Path,
    data: str | Path | None = None,
    data_name: str | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
    limit: int | None = None,
    **overrides: Any,
) -> Model:
    """Train the recipe `name` and return the model of the card that it leaves in the folder `out`.

    data: the data set, by Hub name or folder; the recipe's own by default. data_name: what the card calls it.
    resume: go on from the newest checkpoint in `out`; all settings must be the same, only `steps` may grow.
    limit: use the first so many images. overrides: `steps`, `batch_size`, `image_size`, or any setting of the recipe.

    Raises NotFoundError, ConfigError, DataError, TrainingError; nothing that was in `out` is lost.
    """
    spec, recipe = registry().recipe(name)
    source = str(data or recipe.data)
    # A folder is called by its own name, so that no card tells where a disk was mounted.
    called = data_name or (recipe.data if data is None else Path(source).name if Path(source).exists() else source)
    todo = plan(recipe, spec, overrides, name=name, data=called)
    out = Path(out).expanduser()
    _claim(out, todo, resume)

    preparation = Preparation(**todo.preparation)
    dataset = load_dataset(
        source, preparation, kind=spec.batch, columns=todo.columns, limit=limit, progress=progress
    )
    settings = todo.settings
    torch.manual_seed(settings.seed)
    model = weights.build(spec, todo.config)
    run = Run(
        out,
        seed=settings.seed,
        precision=settings.precision,
        ema=settings.ema,
        device=device,
        log_every=settings.log_every,
        save_every=settings.save_every,
        sample_every=settings.sample_every,
        resume=resume,
        progress=progress,
        preview=_preview(spec, todo, dataset),
    )
    filter = resolve(spec.filters[preparation.filter]) if preparation.filter else None
    batches = Batches(
        dataset,
        spec.batch,
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
        _write_card(out, spec, recipe, todo, run, dataset)
    return load(out, device=device)


def _claim(out: Path, todo: Plan, resume: bool) -> None:
    """Make `out` the folder of this run, or make sure that it is, before anything in it is touched."""
    text = to_json(dataclasses.asdict(todo) | {"settings": todo.settings.model_dump(mode="json")})
    if (out / PLAN).is_file():
        if not resume:
            raise InputError(f"{out} already holds a run", "Give --resume to go on with it, or another --out.")
        _same(out, read_json(out / PLAN), parse_json(text.encode(), PLAN))
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no run", "Give another --out.")
    elif resume:
        raise NotFoundError(f"there is no run in {out} to resume", "Leave --resume out to begin one.")
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    write_atomically(out / PLAN, lambda path: path.write_text(text, encoding="utf-8"))


def _same(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    free = {"steps"}
    changed = [key for key in now if key not in free and before.get(key) != now[key]]
    if changed:
        raise InputError(
            f"{out} was begun with other settings: " + "; ".join(f"{k} was {before.get(k)}, now {now[k]}" for k in changed),
            "Resume with the same settings, or begin anew in another --out.",
        )
    if now["steps"] < before["steps"]:
        raise InputError(f"{out} was begun for {before['steps']} steps; a resumed run may only be longer")


def _preview(spec: ModelSpec, todo: Plan, dataset: Dataset) -> Callable[[nn.Module], Images]:
    """What a run shows as it grows: samples, or for a translator the first training images and their translations."""
    config = CardConfig(
        name=todo.name,
        family=todo.family,
        config=todo.config,
        preparation=Preparation(**todo.preparation),
        weights=weights.WeightsFacts(dtype="float32", sha256="0" * 64),
    )

    def preview(module: nn.Module) -> Images:
        model = Model(module, spec, config, device=str(next(module.parameters()).device))
        if "sample" in spec.capabilities:
            return model.sample(36, seed=0)
        columns = min(12, len(dataset))
        return cards.beside(model, dataset.images[:columns], columns)

    return preview


def _write_card(out: Path, spec: ModelSpec, recipe: Recipe, todo: Plan, run: Run, dataset: Dataset) -> None:
    """Weights, config, picture, facts, README: in that order, so that a README never stands beside old weights."""
    settings = todo.settings
    facts = weights.save_weights(run.published, out, settings.weights)
    config = CardConfig(
        name=todo.name,
        family=todo.family,
        package=registry().provider(spec.name).distribution,
        config=todo.config,
        preparation=Preparation(**todo.preparation),
        weights=facts,
    )
    cards.write_config(out, config)
    shown = cards.picture(run.published, spec, config, recipe.inputs)
    if shown is not None:
        shown.save(out / cards.PICTURE, columns=None if "sample" in spec.capabilities else 12)
    training = cards.Training(
        data=todo.data,
        split="train",
        images=len(dataset),
        steps=run.step,
        batch_size=settings.batch_size,
        passes=round(run.step * settings.batch_size / len(dataset), 2),
        seconds=round(run.seconds),
        device=machine(run.device),
        precision=settings.precision,
        seed=settings.seed,
        settings=todo.arguments | settings.model_dump(exclude={"batch_size", "seed", "log_every", "save_every", "sample_every"}),
        software={"zoo": __version__, "torch": version("torch"), "python": platform.python_version()},
    )
    own = todo.data == recipe.data
    cards.write_facts(
        out,
        cards.Facts(
            summary=recipe.summary,
            license=recipe.license if own else "other",
            data_terms=recipe.data_terms if own else f"Trained on {todo.data}; its terms are those of whoever gave it.",
            limits=list(recipe.limits) if own else [],
            training=training,
            picture_inputs=recipe.inputs if shown is not None else None,
        ),
    )


def machine(device: torch.device) -> str:
    """The device in words that mean something to others."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"CPU ({model}, {torch.get_num_threads()} threads)"
