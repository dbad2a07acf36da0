"""The commands that tell about cards: list them, show one."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.given import Card, Json
from zoo.cli.terminal import print_json


def list_(
    family: Annotated[str | None, typer.Option(metavar="FAMILY", help="Show only the cards of this family.")] = None,
    as_json: Json = False,
) -> None:
    """List the cards that load by name, and the recipes to train."""
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
