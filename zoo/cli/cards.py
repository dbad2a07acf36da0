"""The commands about cards: which there are, what one is, and what it makes."""

import sys
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.given import BatchSize, Card, Columns, Device, Dtype, Force, Json, Key, Out, Settings, open_model
from zoo.cli.terminal import print_json
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.images import Images


def list_(
    family: Annotated[str | None, typer.Option(help="Only of this family.")] = None, as_json: Json = False
) -> None:
    """Cards that load by name, and recipes to train."""
    from zoo.cli.terminal import pick, show
    from zoo.family.registry import cards_of, registry
    from zoo.hub.places import origin

    found = registry()
    entries = [
        {
            "name": name,
            "family": spec.name,
            "task": spec.task,
            "capabilities": [*spec.capabilities],
            "state": origin(name) or ("trainable" if name in found.recipes else "converted"),
            "summary": summary,
        }
        for spec in ([found.spec(family)] if family else found.specs.values())
        for name, summary in cards_of(spec).items()
    ]
    entries.sort(key=lambda entry: str(entry["name"]))
    if as_json:
        return print_json(entries)
    headers = ("name", "family", "task", "capabilities", "state")
    show(pick(entries, headers), headers)
    aside = sum(plugin.error is not None and not plugin.left_out for plugin in found.plugins)
    if aside:
        typer.echo(f"plugins set aside: {aside}; 'zoo plugins' says why", err=True)


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
    if name in hub.elsewhere() and not hub.namespace():
        return _show_card(hub.elsewhere()[name], as_json)
    if name in hub.bundled() or hub.namespace() or name not in registry().recipes:
        return _show_card(hub.locate(name), as_json)
    spec, recipe = registry().recipes[name]
    if not as_json:
        return show(recipe_rows(recipe, spec))
    from dataclasses import asdict

    capabilities = {"capabilities": spec.capabilities}
    print_json({"state": "trainable", "family": spec.name} | capabilities | asdict(recipe))


def _show_card(folder: Path, as_json: bool) -> None:
    from zoo.card.config import read_config
    from zoo.card.facts import conditions_of, read_facts
    from zoo.card.names import FACTS
    from zoo.cli.terminal import card_rows, fact_rows, show
    from zoo.family.registry import registry

    config = read_config(folder)
    facts = read_facts(folder) if (folder / FACTS).is_file() else None  # a card loads without its facts
    spec = registry().spec(config.family)
    conditions = conditions_of(config)
    if not as_json:
        return show([*card_rows(config, spec, conditions, folder), *(fact_rows(facts) if facts else [])])
    said = {"conditions": {key: kind.text() for key, kind in conditions.items()}, "capabilities": spec.capabilities}
    print_json(
        {"folder": str(folder)}
        | config.model_dump(mode="json")
        | said
        | (facts.model_dump(mode="json") if facts else {})
    )


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
    model, given = open_model(ctx, name, ctx.args, setting, device=device, dtype=dtype, key=key)
    from zoo.model import fresh_seed

    seed = fresh_seed(seed)
    out = out or Path(f"{model.name}-seed{seed}.png")
    _check_out(out, force, range(start, start + n))
    bar = sys.stdout.isatty()
    _save(model.sample(n, seed=seed, start=start, batch_size=batch_size, progress=bar, **given), out, columns)


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
    model, given = open_model(ctx, name, images[len(files) :], setting, device=device, dtype=dtype, key=key)
    _check_out(out, force, range(len(files)))
    _save(model.translate(files, prepared=prepared, seed=seed, batch_size=batch_size, **given), out, columns)


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
