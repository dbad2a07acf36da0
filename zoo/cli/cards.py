"""The commands about cards: list them, show one, make images with one."""

import sys
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.given import (
    PICTURE,
    BatchSize,
    Card,
    Columns,
    Conditions,
    Device,
    Dtype,
    Force,
    Json,
    Key,
    open_model,
)
from zoo.cli.terminal import print_json
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.images import Images


def list_(
    family: Annotated[str | None, typer.Option(metavar="FAMILY", help="Show only the cards of this family.")] = None,
    as_json: Json = False,
) -> None:
    """List the cards that load by name, and the recipes to train."""
    from zoo.cli.terminal import pick, show
    from zoo.family.registry import cards_of, registry
    from zoo.hub.places import lacking, origin

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
    if lacking():
        typer.echo(lacking(), err=True)
    aside = sum(plugin.error is not None and not plugin.left_out for plugin in found.plugins)
    if aside:
        typer.echo(f"plugins set aside: {aside}. 'zoo plugins' says why.", err=True)


def info(
    name: Card,
    as_json: Json = False,
    where: Annotated[
        bool, typer.Option("--where", help="Print only the card's folder. Stderr says where zoo looked for it.")
    ] = False,
) -> None:
    """Show what a card can do, how good it is and how it was made."""
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
    n: Annotated[int, typer.Option("-n", metavar="N", help="Make N images.")] = 16,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help=f"{PICTURE} By default a grid in NAME-seedSEED.png.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The same seed makes the same images. By default zoo draws a new seed."),
    ] = None,
    start: Annotated[int, typer.Option(metavar="N", help="Leave out the first N images of this seed.")] = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    columns: Columns = None,
    force: Force = False,
    key: Key = None,
    setting: Conditions = None,
) -> None:
    """Make new images with a card.

    Conditions say what you want. Give them by name, after the card: --label 7 or --Blond_Hair true. 'zoo info' shows
    the conditions of a card.
    """
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
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="One or more PNG, JPEG or WebP files.")],
    out: Annotated[Path, typer.Option(metavar="PATH", help=PICTURE)],
    prepared: Annotated[
        bool,
        typer.Option("--prepared", help="The images are the model's input already: do not apply the card's filter."),
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the model's noise, if the model draws any.")] = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    columns: Columns = None,
    force: Force = False,
    key: Key = None,
    setting: Conditions = None,
) -> None:
    """Translate images with a card, for instance black hair into blond.

    Conditions say what you want. Give them by name, after the images: --Blond_Hair true. 'zoo info' shows the
    conditions of a card.
    """
    files = [*takewhile(lambda word: not word.startswith("--"), images)]
    if not files:
        ctx.fail(f"Give at least one image, before the conditions: zoo translate {name} photo.jpg --out {out}")
    model, given = open_model(ctx, name, images[len(files) :], setting, device=device, dtype=dtype, key=key)
    _check_out(out, force, range(len(files)))
    _save(model.translate(files, prepared=prepared, seed=seed, batch_size=batch_size, **given), out, columns)


def _check_out(out: Path, force: bool, numbers: range) -> None:
    """InputError, before any work is done, if `out` cannot be written or would overwrite a file."""
    from zoo.images import SUFFIXES

    if not out.suffix or out.is_dir():
        taken = [path for path in out.glob("*.png") if path.stem.isdecimal() and int(path.stem) in numbers]
    elif out.suffix.lower() in SUFFIXES:
        taken = [out] if out.exists() else []
    else:
        raise InputError(
            f"{out}: cannot write {out.suffix!r} files",
            f"Give --out a file that ends in {', '.join(SUFFIXES)}, or a folder.",
        )
    if taken and not force:
        raise InputError(f"{min(taken)} exists already", "Give another --out, or give --force to overwrite it.")


def _save(images: "Images", out: Path, columns: int | None) -> None:
    images.save(out, columns=columns)
    typer.echo(f"wrote {out}: {len(images)} image{'s' * (len(images) != 1)}, seed {images.info['seed']}")
