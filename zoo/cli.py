"""The command `zoo`: a thin skin over the API. Every command imports what it needs, so that listing stays light."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from zoo._version import __version__
from zoo.errors import InputError, ZooError, did_you_mean

if TYPE_CHECKING:
    from zoo.images import Images
    from zoo.model import Model


class Commands(TyperGroup):
    """Turns what a command raises into a line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ZooError, OSError) as error:
            if os.environ.get("ZOO_TRACEBACK") == "1":
                raise
            _fail(error)
        except KeyboardInterrupt:
            resume = "; the same command with --resume goes on" if ctx.invoked_subcommand == "train" else ""
            typer.echo(f"interrupted{resume}", err=True)
            raise typer.Exit(130) from None


def _fail(error: Exception) -> NoReturn:
    from zoo.terminal import clean

    hint = getattr(error, "hint", None)
    text = getattr(error, "message", None) or str(error)
    typer.echo(clean(f"error: {text}\n  {hint}" if hint else f"error: {text}"), err=True)
    raise typer.Exit(1) from None


app = typer.Typer(
    name="zoo",
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

# Conditions are declared by each model, so the parser cannot know their names: it hands them over as they are.
CONDITIONS = {"ignore_unknown_options": True, "allow_extra_args": True}

Card = Annotated[str, typer.Argument(metavar="NAME_OR_FOLDER", help="A card, as 'zoo list' shows it, or a folder.")]
RecipeName = Annotated[str, typer.Argument(metavar="NAME", help="A recipe, as 'zoo list' shows it.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same images; a fresh one by default.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
BatchSize = Annotated[int, typer.Option(help="Images at once; changes the memory used, not the images.")]
Columns = Annotated[int | None, typer.Option(help="Of the grid; as square as possible by default.")]
Data = Annotated[str | None, typer.Option(help="Data set: a folder or a Hub name; the recipe's own by default.")]
DataName = Annotated[str | None, typer.Option(help="What the card calls the data set.")]
Limit = Annotated[int | None, typer.Option(help="Use the first so many images.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be given many times.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zoo {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Deep generative models by name: zoo sample dcgan-celeba -n 16 --out faces.png"""


@app.command("list")
def list_(
    family: Annotated[str | None, typer.Option(help="Of this family only.")] = None, as_json: Json = False
) -> None:
    """The cards that load by name, and the recipes that can be trained."""
    from zoo.hub import bundled
    from zoo.registry import registry
    from zoo.terminal import show

    found = registry()
    entries = [
        {
            "name": recipe.name,
            "family": spec.name,
            "task": spec.task,
            "capabilities": [*spec.capabilities],
            "state": "bundled" if recipe.name in bundled() else "trainable",
            "summary": recipe.summary,
        }
        for spec in (found.specs.values() if family is None else [found.spec(family)])
        for recipe in sorted(spec.recipes, key=lambda recipe: recipe.name)
    ]
    if as_json:
        return _print_json(entries)
    headers = ("name", "family", "task", "capabilities", "state")
    show([[_text(entry[key]) for key in headers] for entry in entries], headers)
    aside = sum(plugin.error is not None for plugin in found.plugins)
    if aside:
        typer.echo(f"{aside} plugin(s) set aside: 'zoo plugins' says why.", err=True)


@app.command()
def info(
    name: Card,
    as_json: Json = False,
    where: Annotated[bool, typer.Option("--where", help="Only the card's folder.")] = False,
) -> None:
    """What a card is, what it can do, how it was made and how good it is."""
    from zoo import hub
    from zoo.registry import registry
    from zoo.terminal import recipe_rows, show

    recipes = {recipe.name: (recipe, spec) for spec in registry().specs.values() for recipe in spec.recipes}
    if where:
        return typer.echo(hub.locate(name))
    if name not in recipes or name in hub.bundled():
        return _show_card(hub.locate(name), as_json)
    recipe, spec = recipes[name]
    if as_json:
        import dataclasses

        return _print_json({"family": spec.name, "state": "trainable"} | dataclasses.asdict(recipe))
    show(recipe_rows(recipe, spec))


@app.command(context_settings=CONDITIONS)
def sample(
    ctx: typer.Context,
    name: Card,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 16,
    out: Annotated[Path | None, typer.Option(help="A .png, .jpg or .webp file, or a folder.")] = None,
    seed: Seed = None,
    start: Annotated[int, typer.Option(help="Number of the first sample in the seed's stream.")] = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    columns: Columns = None,
    force: Force = False,
    setting: Settings = None,
) -> None:
    """Draw new images. Conditions of the model go by name: --label 7, --Blond_Hair true, or --set label=7."""
    from zoo.model import fresh_seed, load

    extra = _extra(ctx, name, ctx.args)
    model = load(name, device=device, dtype=dtype)
    seed = fresh_seed(seed)
    out = out or Path(f"{model.name}-seed{seed}.png")
    _check_out(out, force, range(start, start + n))
    images = model.sample(
        n, seed=seed, start=start, batch_size=batch_size, progress=sys.stdout.isatty(), **_controls(ctx, model, setting, extra)
    )
    _save(images, out, columns)


@app.command(context_settings=CONDITIONS)
def translate(
    ctx: typer.Context,
    name: Card,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="PNG, JPEG or WebP files.")],
    out: Annotated[Path, typer.Option(help="A .png, .jpg or .webp file, or a folder.")],
    prepared: Annotated[bool, typer.Option("--prepared", help="The images are in the input domain already.")] = False,
    seed: Annotated[int, typer.Option(help="Of the model's noise, if it has any.")] = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    columns: Columns = None,
    force: Force = False,
    setting: Settings = None,
) -> None:
    """Carry images into the other domain. Conditions of the model go by name, after the images."""
    from zoo.model import load

    files = [*_until_option(images)]
    extra = _extra(ctx, name, images[len(files) :])
    model = load(name, device=device, dtype=dtype)
    _check_out(out, force, range(len(files)))
    given = _controls(ctx, model, setting, extra)
    _save(model.translate(files, prepared=prepared, seed=seed, batch_size=batch_size, **given), out, columns)


@app.command()
def plugins(as_json: Json = False) -> None:
    """Every installed plugin: what it provides, or why it was set aside."""
    from zoo.registry import registry
    from zoo.terminal import show

    entries = [
        {
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "module": plugin.module,
            "families": [*plugin.families],
            "seconds": round(plugin.seconds, 4),
            "state": "loaded" if plugin.error is None else "set aside",
            "reason": plugin.error or "",
        }
        for plugin in registry().plugins
    ]
    if as_json:
        return _print_json(entries)
    headers = ("plugin", "distribution", "version", "module", "families", "seconds", "state", "reason")
    show([[_text(entry[key]) for key in headers] for entry in entries], headers)


@app.command()
def train(
    name: RecipeName,
    out: Annotated[Path, typer.Option(help="Folder of the run; at the end it is a card.")],
    data: Data = None,
    data_name: DataName = None,
    steps: Annotated[int | None, typer.Option()] = None,
    batch_size: Annotated[int | None, typer.Option()] = None,
    image_size: Annotated[int | None, typer.Option()] = None,
    device: Device = "auto",
    limit: Limit = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")] = False,
    setting: Settings = None,
) -> None:
    """Train a recipe, on its own data or on yours. The result is a card."""
    import zoo

    own = {"steps": steps, "batch_size": batch_size, "image_size": image_size}
    overrides = {key: _value(text) for key, text in _pairs(setting)} | {k: v for k, v in own.items() if v is not None}
    for key in overrides.keys() & {"name", "out", "data", "data_name", "resume", "device", "progress", "limit"}:
        raise typer.BadParameter(f"{key} is no setting of a recipe; see 'zoo train --help'", param_hint="--set")
    model = zoo.train(
        name, out=out, data=data, data_name=data_name, resume=resume, device=device, limit=limit, **overrides
    )
    typer.echo(f"{out} is now the card {model.name}: 'zoo info {_path(out)}' shows it.")


@app.command()
def evaluate(
    name: Card,
    data: Data = None,
    data_name: DataName = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option()] = 0,
    device: Device = "auto",
    write: Annotated[bool, typer.Option(help="Write the figures into the card.")] = True,
    as_json: Json = False,
) -> None:
    """Measure a card on a data set."""
    import zoo
    from zoo.terminal import METRIC_HEADERS, metric_rows, show

    metrics = zoo.evaluate(
        name, data=data, data_name=data_name, limit=limit, device=device, write=write, seed=seed, progress=not as_json
    )
    if as_json:
        return _print_json([metric.model_dump(mode="json") for metric in metrics])
    show(metric_rows(metrics), METRIC_HEADERS)


def _show_card(folder: Path, as_json: bool) -> None:
    from zoo.cards import read_facts
    from zoo.registry import registry
    from zoo.terminal import card_rows, show
    from zoo.weights import build, read_config

    config, facts = read_config(folder), read_facts(folder)
    spec = registry().spec(config.family)
    conditions = getattr(build(spec, config.config), "conditions", {})
    if not as_json:
        return show(card_rows(config, facts, spec, conditions, folder))
    said = {"conditions": {key: kind.text() for key, kind in conditions.items()}, "capabilities": spec.capabilities}
    _print_json({"folder": str(folder), **said, **config.model_dump(mode="json"), **facts.model_dump(mode="json")})


def _extra(ctx: typer.Context, name: str, words: Sequence[str]) -> list[tuple[str, str]]:
    """Conditions given as options, `--label 7` or `--label=7`, which the parser left alone."""
    if name.startswith("-"):
        ctx.fail(f"{name!r} stands before the model's name; conditions come after it.")
    pairs, rest = [], iter(words)
    for word in rest:
        if not word.startswith("--"):
            ctx.fail(f"unexpected argument {word!r}.")
        key, equals, text = word[2:].partition("=")
        if not equals and (text := next(rest, "")) == "":
            ctx.fail(f"option {word!r} needs a value.")
        pairs.append((key.replace("-", "_"), text))
    return pairs


def _until_option(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if word.startswith("--"):
            return
        yield word


def _pairs(given: Sequence[str] | None) -> list[tuple[str, str]]:
    """`key=value` of each --set; a hyphen in a key is an underscore."""
    for item in given or ():
        if "=" not in item.lstrip("="):
            raise typer.BadParameter(f"{item!r} is not KEY=VALUE, like lr=0.0001", param_hint="--set")
    return [(key.replace("-", "_"), text) for key, _, text in (item.partition("=") for item in given or ())]


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def _controls(
    ctx: typer.Context, model: "Model", setting: Sequence[str] | None, extra: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The conditions for one call; the model checks their values."""
    from zoo.conditions import Categorical, Flags

    declared = model.conditions
    flags = [name for kind in declared.values() if isinstance(kind, Flags) for name in kind.names]
    options = [param.opts[-1].lstrip("-").replace("-", "_") for param in ctx.command.params]
    for key, _ in extra:
        if key not in declared and key not in flags:
            ctx.fail(f"{model.name} has no option or condition --{key}. {did_you_mean(key, [*declared, *flags, *options])}")

    def read(key: str, text: str) -> Any:
        kind = declared.get(key)
        return text if isinstance(kind, Categorical) and text in kind.names else _value(text)

    return {key: read(key, text) for key, text in [*_pairs(setting), *extra]}


def _check_out(out: Path, force: bool, samples: range) -> None:
    """Refuse before any work what could not be written, or would overwrite a file."""
    from zoo.images import SUFFIXES

    folder = not out.suffix or out.is_dir()
    if not folder and out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out}: cannot write {out.suffix!r} files; use {', '.join(SUFFIXES)} or a folder")
    taken = [path for path in ([out / f"{i:05d}.png" for i in samples] if folder else [out]) if path.exists()]
    if taken and not force:
        raise InputError(f"{taken[0]} exists already", "Give another --out, or --force to overwrite.")


def _save(images: "Images", out: Path, columns: int | None) -> None:
    images.save(out, columns=columns)
    seed = f", seed {images.info['seed']}" if "seed" in images.info else ""
    typer.echo(f"wrote {_path(out)}: {len(images)} image{'s' * (len(images) > 1)}{seed}")


def _path(out: Path) -> str:
    """A path as `zoo info` takes it back: a folder in the current one needs its './'."""
    return str(out) if os.sep in str(out) else f".{os.sep}{out}"


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _print_json(value: Any) -> None:
    from zoo.files import to_json

    typer.echo(to_json(value), nl=False)


def main() -> None:
    """The console script. A reader that has gone, as in `zoo list | head -1`, is no error worth words."""
    try:
        try:
            app(prog_name="zoo")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
