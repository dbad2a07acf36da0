"""The commands about figures: measured, and measured again."""

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.given import Card, Data, DataName, Device, Json, Judge, Key, Limit
from zoo.cli.terminal import print_json


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
        return print_json([metric.model_dump(mode="json") for metric in metrics])
    show(metric_rows(metrics), METRIC_HEADERS)


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
        print_json(entries)
    else:
        headers = ("card", "what", "state", "expected", "found", "tolerance", "why")
        show(pick(entries, headers), headers)
        count = Counter(entry["state"] for entry in entries)
        words = ", ".join(f"{count[state]} {state}" for state in ("pass", "skipped", "fail"))
        typer.echo(f"cards: {len(found)}; checks: {words}")
    if any(entry["state"] == "fail" for entry in entries):
        raise typer.Exit(1)
