"""The command `zoo`: a thin skin over the API. Every command imports what it needs, so that listing stays light."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from zoo._version import DISTRIBUTION, __version__
from zoo.errors import InputError, ZooError, did_you_mean

if TYPE_CHECKING:
    from zoo.family.registry import Plugin
    from zoo.images import Images
    from zoo.model import Model
    from zoo.publishing import Draft

Pairs = list[tuple[str, str]]


class Commands(TyperGroup):
    """Turns what a command raises into a line on stderr and an exit status; ZOO_TRACEBACK=1 shows all of it."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _light(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ZooError, OSError) as error:
            if os.environ.get("ZOO_TRACEBACK") == "1":
                raise
            _complain(error)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            resume = "; the same command with --resume goes on" if ctx.invoked_subcommand == "train" else ""
            typer.echo(f"interrupted{resume}", err=True)
            raise typer.Exit(130) from None


class Light(TyperCommand):
    """A command that must start fast."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _light(super().get_params(ctx))


def _light(params: list[Any]) -> list[Any]:
    """Leave out typer's conversion of options that were not given: it imports pydantic, a third of a listing's time."""

    def process(param: Any, ctx: Any, value: Any) -> Any:
        return value if value is None or value is False else type(param).process_value(param, ctx, value)

    for param in params:
        param.process_value = partial(process, param)
    return params


def _complain(error: ZooError | OSError) -> None:
    from zoo.cli.terminal import clean

    text, hint = (error.message, error.hint) if isinstance(error, ZooError) else (str(error), None)
    typer.echo(clean(f"error: {text}\n  {hint}" if hint else f"error: {text}"), err=True)


app = typer.Typer(
    name="zoo",
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

# Conditions are declared by each model, so the parser cannot know their names: it hands them over as they are.
CONDITIONS = {"ignore_unknown_options": True, "allow_extra_args": True}

Card = Annotated[str, typer.Argument(metavar="NAME_OR_FOLDER", help="A card as 'zoo list' shows it, or its folder.")]
RecipeName = Annotated[str | None, typer.Argument(metavar="NAME", help="A recipe as 'zoo list' shows it.")]
Out = Annotated[Path, typer.Option(help="A .png, .jpg or .webp file, or a folder.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
BatchSize = Annotated[int, typer.Option(help="Images at once; changes the memory used, not the images.")]
Columns = Annotated[int | None, typer.Option(help="Of the grid; as square as possible by default.")]
Data = Annotated[str | None, typer.Option(help="Data set: a folder or a Hub name; the recipe's own by default.")]
DataName = Annotated[str | None, typer.Option(help="What the card calls the data set.")]
Judge = Annotated[str | None, typer.Option(help="Card of the classifier that judges.", metavar="CARD")]
Limit = Annotated[int | None, typer.Option(help="Use the first so many images.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be given many times.")]
Column = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="KEY=NAME", help="Column of the data: image=img, label=digit, ..."),
]
Key = Annotated[
    Path | None,
    typer.Option("--signature", metavar="KEY", help="The publisher's public key (PEM); the card must be signed."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zoo {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")]


@app.callback()
def root(version: Version = False) -> None:
    """Deep generative models by name: zoo sample dcgan-celeba -n 16 --out faces.png"""


@app.command("list", cls=Light)
def list_(
    family: Annotated[str | None, typer.Option(help="Only of this family.")] = None, as_json: Json = False
) -> None:
    """Cards that load by name, and recipes to train."""
    from zoo.cli.terminal import pick, show
    from zoo.family.registry import cards_of, registry
    from zoo.hub.places import bundled

    found = registry()
    entries = [
        {
            "name": name,
            "family": spec.name,
            "task": spec.task,
            "capabilities": [*spec.capabilities],
            "state": "bundled" if name in bundled() else "trainable" if name in found.recipes else "converted",
            "summary": summary,
        }
        for spec in ([found.spec(family)] if family else found.specs.values())
        for name, summary in cards_of(spec).items()
    ]
    entries.sort(key=lambda entry: str(entry["name"]))
    if as_json:
        return _print_json(entries)
    headers = ("name", "family", "task", "capabilities", "state")
    show(pick(entries, headers), headers)
    aside = sum(plugin.error is not None and not plugin.left_out for plugin in found.plugins)
    if aside:
        typer.echo(f"plugins set aside: {aside}; 'zoo plugins' says why", err=True)


@app.command()
def info(
    name: Card,
    as_json: Json = False,
    where: Annotated[
        bool, typer.Option("--where", help="Print the card's folder, and on stderr where it was looked for.")
    ] = False,
) -> None:
    """What a card is, can do and costs, and how it was made."""
    from zoo.cli.terminal import recipe_rows, show
    from zoo.family.registry import registry
    from zoo.hub import places as hub

    if where:
        for line in hub.order(name):
            typer.echo(line, err=True)
        return typer.echo(hub.locate(name))
    if name in hub.bundled() or hub.namespace() or name not in registry().recipes:
        return _show_card(hub.locate(name), as_json)
    spec, recipe = registry().recipes[name]
    if not as_json:
        return show(recipe_rows(recipe, spec))
    from dataclasses import asdict

    capabilities = {"capabilities": spec.capabilities}
    _print_json({"state": "trainable", "family": spec.name} | capabilities | asdict(recipe))


@app.command(context_settings=CONDITIONS)
def sample(
    ctx: typer.Context,
    name: Card,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 16,
    out: Annotated[Path | None, typer.Option(help="As for translate; NAME-seedSEED.png by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same images; a fresh one by default.")] = None,
    start: Annotated[int, typer.Option(help="Number of the first sample in the seed's stream.")] = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    columns: Columns = None,
    force: Force = False,
    key: Key = None,
    setting: Settings = None,
) -> None:
    """New images. Conditions go by name: --label 7, --Blond_Hair true, or --set label=7."""
    model, given = _opened(ctx, name, ctx.args, setting, device=device, dtype=dtype, key=key)
    from zoo.model import fresh_seed

    seed = fresh_seed(seed)
    out = out or Path(f"{model.name}-seed{seed}.png")
    _check_out(out, force, range(start, start + n))
    bar = sys.stdout.isatty()
    _save(model.sample(n, seed=seed, start=start, batch_size=batch_size, progress=bar, **given), out, columns)


@app.command(context_settings=CONDITIONS)
def translate(
    ctx: typer.Context,
    name: Card,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="PNG, JPEG or WebP files.")],
    out: Out,
    prepared: Annotated[bool, typer.Option("--prepared", help="The images are in the input domain already.")] = False,
    seed: Annotated[int, typer.Option(help="Of the model's noise, if it has any.")] = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    columns: Columns = None,
    force: Force = False,
    key: Key = None,
    setting: Settings = None,
) -> None:
    """Images carried into the other domain. Conditions go by name, after the images."""
    files = [*takewhile(lambda word: not word.startswith("--"), images)]
    model, given = _opened(ctx, name, images[len(files) :], setting, device=device, dtype=dtype, key=key)
    _check_out(out, force, range(len(files)))
    _save(model.translate(files, prepared=prepared, seed=seed, batch_size=batch_size, **given), out, columns)


@app.command()
def plugins(as_json: Json = False) -> None:
    """Installed plugins: what each provides, or why it was set aside."""
    from zoo.cli.terminal import pick, show
    from zoo.family.registry import registry

    entries = [
        {
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "module": plugin.module,
            "families": [*plugin.families],
            "import_ms": round(1000 * plugin.seconds, 1),
            "api": plugin.api,
            "state": _state(plugin),
            "reason": plugin.error or "",
        }
        for plugin in registry().plugins
    ]
    if as_json:
        return _print_json(entries)
    headers = ("plugin", "distribution", "version", "module", "families", "import_ms", "api", "state", "reason")
    show(pick(entries, headers), headers)


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the family, like my-model.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the package; zoo-NAME by default.")] = None,
    title: Annotated[str | None, typer.Option(help="Of the family, as on a card.")] = None,
    summary: Annotated[str | None, typer.Option(help="What it is, in a few words.")] = None,
    author: Annotated[str | None, typer.Option(help="Whose it is.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set of its recipe: a Hub name, or a folder's name.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of its images in pixels.")] = None,
    license: Annotated[str | None, typer.Option(help="Of the code and the weights.")] = None,
) -> None:
    """A package for a new family, complete and working. On a terminal it asks what was not given."""
    from zoo.scaffold import package as scaffold

    given: dict[str, Any] = {"title": title, "summary": summary, "author": author, "data": data}
    given |= {"image_size": image_size, "license": license}
    folder = out or Path(f"zoo-{name}")
    if sys.stdin.isatty():
        scaffold.check_folder(folder)  # before anything is asked
        for question in scaffold.questions(name):
            if given[question.field] is None:
                choices = f" ({', '.join(question.choices)})" if question.choices else ""
                kind = type(question.default)
                given[question.field] = typer.prompt(f"{question.text}{choices}", default=question.default, type=kind)
    for path in scaffold.new(folder, scaffold.answers(name, given)):
        typer.echo(path.relative_to(folder.absolute()))
    typer.echo(f"{folder} is a package; its README.md says how to install, test, train and publish it.")


@app.command()
def check(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="An installed family, as 'zoo plugins' shows it.")],
    optional: Annotated[
        list[str] | None, typer.Option(metavar="MARK", help="Optional laws too: gpu, compile or kill; often.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a family by the laws that every family keeps. Exit status 1 if one is broken."""
    from dataclasses import asdict

    from zoo.cli.terminal import pick, show
    from zoo.testing import OPTIONAL, report

    for mark in optional or ():
        if mark not in OPTIONAL:
            raise typer.BadParameter(f"{mark!r} is none of {', '.join(OPTIONAL)}", param_hint="--optional")
    results = list(report(family, optional or ()))
    entries = [asdict(result) | {"seconds": f"{result.seconds:.2f}"} for result in results]
    if as_json:
        _print_json([{key: entry[key] for key in ("law", "state", "message", "seconds")} for entry in entries])
    else:
        headers = ("law", "state", "seconds", "message")
        show(pick(entries, headers), headers)
        count = Counter(result.state for result in results)
        typer.echo(f"{family}: " + ", ".join(f"{count[state]} {state}" for state in ("kept", "skipped", "broken")))
    if any(result.state == "broken" for result in results):
        raise typer.Exit(1)


def _state(plugin: "Plugin") -> str:
    from zoo.family.spec import API_VERSION

    if plugin.error is not None:
        return "left out" if plugin.left_out else "set aside"
    return "loaded" if plugin.api == API_VERSION else f"loaded, of an older contract than {API_VERSION}"


@app.command()
def train(
    ctx: typer.Context,
    name: RecipeName = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; at the end it is a card. With --all, of all runs: runs.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA", help="A folder or a Hub name; the recipe's own by default. With --all: NAME=FOLDER, often."
        ),
    ] = None,
    data_name: DataName = None,
    card_name: Annotated[str | None, typer.Option(help="What the card is called.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a step.")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels.")] = None,
    device: Device = "auto",
    limit: Limit = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")] = False,
    column: Column = None,
    setting: Settings = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the CPU; by default as many as are free, looked at now and then.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every recipe, judges first, where each stopped.")] = False,
    family: Annotated[str | None, typer.Option(help="With --all: only of this family.")] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, metavar="MINUTES", help="Stop then, with a checkpoint to go on from.")
    ] = None,
) -> None:
    """A recipe, on its own data or on yours. Leaves a card. --set takes any setting of the recipe, loop or model."""
    from zoo.devices import keep_memory

    keep_memory()
    own = {"steps": steps, "batch_size": batch_size, "image_size": image_size}
    overrides = _overrides(setting) | {key: value for key, value in own.items() if value is not None}
    if every:
        if resume or any(value is not None for value in (name, data_name, card_name, limit, column)):
            ctx.fail("--all takes no NAME, --data-name, --card-name, --limit, --column or --resume.")
        options = {"family": family, "budget": budget, "device": device, "threads": threads}
        return _train_all(out or Path("runs"), data, options | overrides)
    if name is None or out is None or family is not None or len(data or ()) > 1:
        ctx.fail("Give NAME and --out, and --data once; or --all.")
    import zoo
    from zoo.training.run import OutOfTime

    try:
        model = zoo.train(
            name,
            out=out,
            data=data[0] if data else None,
            data_name=data_name,
            card_name=card_name,
            columns=dict(_pairs(column, "--column")),
            resume=resume,
            device=device,
            limit=limit,
            budget=budget,
            threads=threads,
            **overrides,
        )
    except OutOfTime as stop:
        return typer.echo(f"{stop.message}; the same command with --resume goes on")
    # A bare word would be looked up as a name.
    folder = out if os.sep in str(out) else f".{os.sep}{out}"
    typer.echo(f"{out} is the card of {model.name}; see it with: zoo info {folder}")


def _train_all(out: Path, data: Sequence[str] | None, options: dict[str, Any]) -> None:
    """Train recipe after recipe; a table at the end. Exit status 1 when one failed."""
    from zoo.cli.terminal import clean, show
    from zoo.training.budget import train_all

    folders = {}
    for item in data or ():
        key, equals, folder = item.partition("=")
        if not (key and equals and folder):
            raise typer.BadParameter(f"{item!r} is not NAME=FOLDER, like ylecun/mnist=mnist", param_hint="--data")
        folders[key] = folder
    outcomes = train_all(
        out,
        data=folders,
        report=lambda outcome: typer.echo(clean(f"{outcome.recipe}: {outcome.state} {outcome.detail}"), err=True),
        **options,
    )
    rows = [
        (
            outcome.recipe,
            f"{outcome.state}: {outcome.detail}",
            f"{outcome.minutes:.1f}",
            "" if outcome.images_per_second is None else f"{outcome.images_per_second:.0f}",
        )
        for outcome in outcomes
    ]
    show(rows, ("recipe", "state", "minutes", "images/s"))
    if any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def evaluate(
    name: Card,
    data: Data = None,
    data_name: DataName = None,
    judge: Judge = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Whose features compare images: a timm model, or inception for the FID; the judge's own."),
    ] = None,
    neighbours: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Picture of samples above their nearest training images; not for a card."),
    ] = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    device: Device = "auto",
    write: Annotated[bool, typer.Option("--write", help="Write the figures into the card.")] = False,
    as_json: Json = False,
) -> None:
    """The figures of a card, measured on a data set."""
    import zoo
    from zoo.cli.terminal import METRIC_HEADERS, metric_rows, show
    from zoo.devices import keep_memory

    keep_memory()
    metrics = zoo.evaluate(
        name,
        data=data,
        data_name=data_name,
        judge=judge,
        backbone=backbone,
        limit=limit,
        device=device,
        write=write,
        neighbours=neighbours,
        seed=seed,
        progress=not as_json,
    )
    if as_json:
        return _print_json([metric.model_dump(mode="json") for metric in metrics])
    show(metric_rows(metrics), METRIC_HEADERS)


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="NAME_OR_FOLDER", help="A card, or its folder.")] = None,
    data: Annotated[str | None, typer.Option(help="Measure all figures again on this folder or Hub data set.")] = None,
    judge: Judge = None,
    key: Key = None,
    device: Device = "auto",
    every: Annotated[bool, typer.Option("--all", help="Every bundled card.")] = False,
    as_json: Json = False,
) -> None:
    """Hold a card against what it says of itself. Exit status 1 if a check fails."""
    if every == (name is not None):
        raise typer.BadParameter("give the name of a card, or --all")
    if every and (data or judge):
        raise typer.BadParameter("cards differ in their data and their judge: give one card's name", param_hint="--all")
    from dataclasses import asdict

    import zoo
    from zoo.cli.terminal import pick, show
    from zoo.hub.places import bundled

    check = partial(zoo.verify, data=data, judge=judge, key=key, device=device)
    bar = sys.stdout.isatty() and not as_json
    found = {card: check(card, progress=bar) for card in ([name] if name else bundled())}
    entries = [{"card": card} | asdict(made) for card, checks in found.items() for made in checks]
    if as_json:
        _print_json(entries)
    else:
        headers = ("card", "what", "state", "expected", "found", "tolerance", "why")
        show(pick(entries, headers), headers)
        count = Counter(entry["state"] for entry in entries)
        words = ", ".join(f"{count[state]} {state}" for state in ("pass", "skipped", "fail"))
        typer.echo(f"cards: {len(found)}; checks: {words}")
    if any(entry["state"] == "fail" for entry in entries):
        raise typer.Exit(1)


@app.command()
def publish(
    ctx: typer.Context,
    to: Annotated[str, typer.Option(metavar="ORG/NAME", help="The repository on the Hub; with --all, ORG.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME_OR_FOLDER", help="A card, or its folder.")] = None,
    tag: Annotated[str | None, typer.Option(help="Of the commit, like v1; a tag never moves.")] = None,
    private: Annotated[bool, typer.Option("--private", help="For a repository that is made.")] = False,
    key: Annotated[Path | None, typer.Option("--sign", metavar="KEY", help="Your private key (PEM).")] = None,
    every: Annotated[bool, typer.Option("--all", help="All cards of zoo, and a collection of them.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needed where there is nobody to ask.")] = False,
) -> None:
    """Send a card to the Hugging Face Hub: verified, as one commit, read back, tagged."""
    if every == (name is not None):
        ctx.fail("Give the name of a card, or --all.")
    if not (dry_run or yes or sys.stdin.isatty()):
        ctx.fail("There is nobody to ask: give --yes, or --dry-run to see what would change.")
    from zoo import publishing
    from zoo.card.config import read_config
    from zoo.hub import places as hub

    ask = None if yes else partial(typer.confirm, "Send this?", err=True)
    done = []
    ours = [card for card, folder in hub.bundled().items() if read_config(folder).package == DISTRIBUTION]
    for card in [name] if name else ours:
        repo = to if name else f"{to}/{card}"
        with publishing.draft(card, repo, tag=tag, private=private, key=key) as ready:
            _show_plan(ready)
            if dry_run or (ask and ready.plan.needed and not ask()):
                continue
            done.append(ready.send())
        typer.echo(f"{done[-1].url} {'sent' if done[-1].changed else 'held this card already'}, read back, verified")
    if every and done:
        typer.echo(publishing.collect(to, [one.repo for one in done]))


def _show_plan(ready: "Draft") -> None:
    """What sending a card comes to."""
    from zoo.cli.terminal import show

    plan = ready.plan
    state = f"at commit {plan.parent[:12]}" if plan.parent else "which will be made" if not plan.exists else "empty"
    rows = [(str(change.action), change.name, f"{change.size:,} bytes") for change in plan.changes]
    rows += [("leave", name, "no part of a card") for name in plan.kept]
    rows += [("tag", ready.tag, "after it has been read back")] if ready.tag else []
    typer.echo(f"{plan.folder.name} -> {plan.repo}, {state}")
    show(rows, ("action", "what", "size"))


def _show_card(folder: Path, as_json: bool) -> None:
    from zoo.card.config import read_config
    from zoo.card.facts import read_facts
    from zoo.card.names import FACTS
    from zoo.card.weights import build
    from zoo.cli.terminal import card_rows, fact_rows, show
    from zoo.family.registry import registry

    config = read_config(folder)
    facts = read_facts(folder) if (folder / FACTS).is_file() else None  # a card loads without its facts
    spec = registry().spec(config.family)
    conditions = getattr(build(spec, config.config), "conditions", {})
    if not as_json:
        return show([*card_rows(config, spec, conditions, folder), *(fact_rows(facts) if facts else [])])
    said = {"conditions": {key: kind.text() for key, kind in conditions.items()}, "capabilities": spec.capabilities}
    _print_json(
        {"folder": str(folder)}
        | said
        | config.model_dump(mode="json")
        | (facts.model_dump(mode="json") if facts else {})
    )


def _pairs(given: Sequence[str] | None, option: str = "--set") -> Pairs:
    """`key=value` of each --set or --column; a hyphen in a key is an underscore."""
    for item in given or ():
        if item.find("=") < 1:
            like = {"--set": "lr=0.0001", "--column": "image=img"}[option]
            raise typer.BadParameter(f"{item!r} is not KEY=VALUE, like {like}", param_hint=option)
    return [(key.replace("-", "_"), text) for key, _, text in (item.partition("=") for item in given or ())]


def _extra(ctx: typer.Context, name: str, words: Sequence[str]) -> Pairs:
    """Conditions given as options, `--label 7` or `--label=7`, which the parser left alone."""
    if name.startswith("-"):
        ctx.fail(f"{name!r} stands before the model's name; conditions come after it.")
    pairs, rest = [], iter(words)
    for word in rest:
        if not word.startswith("--"):
            ctx.fail(f"Unexpected argument {word!r}.")
        key, equals, text = word[2:].partition("=")
        text = text if equals else next(rest, "")
        if not text:
            ctx.fail(f"Option {word!r} needs a value.")
        pairs.append((key.replace("-", "_"), text))
    return pairs


def _opened(
    ctx: typer.Context, name: str, words: Sequence[str], setting: Sequence[str] | None, **how: Any
) -> "tuple[Model, dict[str, Any]]":
    """A card's model, and its conditions with their values. How: as `load_from` takes it."""
    from zoo.hub.places import find

    extra = _extra(ctx, name, words)
    place = find(name)  # a misspelt name should not have to wait for torch
    from zoo.devices import keep_memory
    from zoo.model import load_from

    keep_memory()
    model = load_from(place, **how)
    return model, _controls(ctx, model, [*_pairs(setting), *extra], extra)


def _controls(ctx: typer.Context, model: "Model", pairs: Pairs, extra: Pairs) -> dict[str, Any]:
    """Conditions with their values read. A misspelt option is a usage error; the values are the model's to check."""
    from zoo.family.conditions import Categorical, Flags

    declared = model.conditions
    known = {*declared, *(flag for kind in declared.values() if isinstance(kind, Flags) for flag in kind.names)}
    for key, _ in extra:
        if key not in known:
            hint = did_you_mean(key, known | {param.name for param in ctx.command.params if param.name})
            ctx.fail(f"{model.name} has no option or condition {key!r}. {hint}")
    values = {}
    for key, text in pairs:
        kind = declared.get(key)
        # A class called "7" is that class, wherever it stands in the list.
        values[key] = text if isinstance(kind, Categorical) and text in kind.names else _value(text)
    return values


OWN_OPTIONS = {
    "name": "NAME, the first argument",
    "columns": "--column",
    "progress": "zoo.train(progress=...) in Python",
    **{
        key: f"--{key.replace('_', '-')}"
        for key in ("out", "data", "data_name", "card_name", "resume", "device", "limit", "budget", "threads")
    },
}
"""What `zoo.train` takes besides settings, and how a shell gives it."""


def _overrides(setting: Sequence[str] | None) -> dict[str, Any]:
    """Settings of a training run; what `zoo.train` takes under a name of its own has its own option."""
    overrides = {key: _value(text) for key, text in _pairs(setting)}
    for key in overrides.keys() & OWN_OPTIONS.keys():
        raise typer.BadParameter(
            f"{key!r} is no setting of a recipe. Give it as {OWN_OPTIONS[key]}.", param_hint="--set"
        )
    return overrides


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_out(out: Path, force: bool, numbers: range) -> None:
    """Refuse before any work what could not be written, or would overwrite a file."""
    from zoo.images import SUFFIXES

    if not out.suffix or out.is_dir():
        taken = [path for path in out.glob("*.png") if path.stem.isdecimal() and int(path.stem) in numbers]
    elif out.suffix.lower() in SUFFIXES:
        taken = [out] if out.exists() else []
    else:
        raise InputError(f"{out}: cannot write {out.suffix!r} files", f"Use {', '.join(SUFFIXES)} or a folder.")
    if taken and not force:
        raise InputError(f"{min(taken)} exists already", "Give another --out, or --force to overwrite it.")


def _save(images: "Images", out: Path, columns: int | None) -> None:
    images.save(out, columns=columns)
    typer.echo(f"wrote {out}: {len(images)} image{'s' * (len(images) != 1)}, seed {images.info['seed']}")


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
