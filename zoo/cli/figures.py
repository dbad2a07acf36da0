"""The commands about figures: measure those of a card, and verify a card."""

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.given import Card, DataName, Device, Json, Judge, Key, Limit, OneCard, PairsSide, SkipBroken, one_or_all
from zoo.cli.terminal import print_json


def evaluate(
    name: Card,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Data set: a folder or a Hub name. By default the one that the card names."),
    ] = None,
    data_name: DataName = None,
    pairs: PairsSide = None,
    splits: Annotated[
        bool | None,
        typer.Option(
            "--splits/--no-splits",
            help="Take folders called train and test as splits, or as classes. By default as in the training.",
        ),
    ] = None,
    skip_broken: SkipBroken = False,
    judge: Judge = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Network whose features compare images: a timm model, or inception for the FID. By default the judge.",
        ),
    ] = None,
    neighbours: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a picture of samples above their nearest training images. Do not put it into a card.",
        ),
    ] = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of all random draws.")] = 0,
    device: Device = "auto",
    write: Annotated[bool, typer.Option("--write", help="Write the figures into the card.")] = False,
    as_json: Json = False,
) -> None:
    """Measure how good a card is, on the test split of a data set."""
    import zoo
    from zoo.cli.terminal import METRIC_HEADERS, metric_rows, show
    from zoo.devices import keep_memory

    keep_memory()
    metrics = zoo.evaluate(
        name,
        data=data,
        data_name=data_name,
        pairs=pairs,
        splits=splits,
        skip_broken=skip_broken or None,
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
    ctx: typer.Context,
    name: OneCard = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Measure all figures again on this data set: a folder or a Hub name."),
    ] = None,
    judge: Judge = None,
    key: Key = None,
    device: Device = "auto",
    every: Annotated[bool, typer.Option("--all", help="Verify every bundled card.")] = False,
    as_json: Json = False,
) -> None:
    """Check that what a card says about itself is true.

    The exit status is 1 if a check fails.
    """
    one_or_all(ctx, name, every)
    if every and (data or judge):
        ctx.fail("Leave --data and --judge out with --all, or give the name of one card: cards differ in both.")
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
