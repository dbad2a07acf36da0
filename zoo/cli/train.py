"""The command that trains: one recipe, or all of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.given import Column, DataName, Device, Limit, RecipeName, Settings, read_overrides, read_pairs


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
    overrides = read_overrides(setting) | {key: value for key, value in own.items() if value is not None}
    if every:
        if resume or any(value is not None for value in (name, data_name, card_name, limit, column)):
            ctx.fail("--all takes no NAME, --data-name, --card-name, --limit, --column or --resume.")
        options = {"family": family, "budget": budget, "device": device, "threads": threads}
        return _train_all(out or Path("runs"), data, options | overrides)
    if family is not None:
        ctx.fail("--family goes with --all alone.")
    if name is None:
        ctx.fail("Give the NAME of a recipe, or --all. 'zoo list' shows the recipes.")
    if out is None:
        ctx.fail(f"Give the folder of the run: zoo train {name} --out runs/{name}")
    if len(data or ()) > 1:
        ctx.fail("Give --data once: several data sets go with --all alone.")
    import zoo
    from zoo.training.run import OutOfTime

    try:
        model = zoo.train(
            name,
            out=out,
            data=data[0] if data else None,
            data_name=data_name,
            card_name=card_name,
            columns=dict(read_pairs(column, "--column")),
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
