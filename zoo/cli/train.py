"""The command that trains one recipe, or all of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.given import DataName, Device, Limit, PairsSide, SkipBroken, Splits, read_overrides, read_pairs


def train(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The recipe to train. 'zoo list' shows the names.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the run, in the end a card. With --all the folder of all runs."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Data set: a folder, a .zip, image files or a Hub name. By default the recipe's own. "
            "With --all: NAME=FOLDER for each.",
        ),
    ] = None,
    data_name: DataName = None,
    card_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the card. By default zoo makes one from recipe and data."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Train for N optimizer steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, metavar="N", help="Use N images in each step.")] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Height and width of the images in pixels.")
    ] = None,
    device: Device = "auto",
    limit: Limit = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, from its newest checkpoint.")
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=NAME", help="Use this column of the data set, like image=img. Can be given several times."
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting, like lr=0.0001. Can be given several times."
        ),
    ] = None,
    pairs: PairsSide = None,
    splits: Splits = True,
    skip_broken: SkipBroken = False,
    list_skipped: Annotated[
        bool, typer.Option("--list-skipped", help="Show the files that would be left out and why. Nothing is trained.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use N threads of the CPU. By default as many as are free.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Train every recipe, judges first. Each goes on where it stopped.")
    ] = False,
    family: Annotated[
        str | None, typer.Option(metavar="FAMILY", help="With --all: train only the recipes of this family.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0, metavar="MINUTES", help="Stop after so many minutes. --resume goes on from there."),
    ] = None,
) -> None:
    """Train a recipe, on its own data set or on yours. The result is a card."""
    from zoo.devices import keep_memory

    keep_memory()
    own = {"steps": steps, "batch_size": batch_size, "image_size": image_size}
    overrides = read_overrides(setting) | {key: value for key, value in own.items() if value is not None}
    if every:
        alone: dict[str, Any] = {"NAME": name, "--data-name": data_name, "--card-name": card_name, "--limit": limit}
        alone |= {
            "--column": column,
            "--resume": resume or None,
            "--pairs": pairs,
            "--no-splits": None if splits else 1,
        }
        alone |= {"--skip-broken": skip_broken or None, "--list-skipped": list_skipped or None}
        given = [option for option, value in alone.items() if value is not None]
        if given:
            ctx.fail(f"Leave out {', '.join(given)} or --all. --all trains every recipe, and each goes on by itself.")
        options = {"family": family, "budget": budget, "device": device, "threads": threads}
        return _train_all(out or Path("runs"), data, options | overrides)
    if family is not None:
        ctx.fail("--family works only together with --all.")
    if name is None:
        ctx.fail("Give the name of a recipe, or --all. 'zoo list' shows the names.")
    files = _files(ctx, data)
    read: dict[str, Any] = {"pairs": pairs or "", "splits": splits, "skip_broken": skip_broken}
    if list_skipped:
        read.pop("skip_broken")
        return _list_skipped(name, files, dict(read_pairs(column, "--column")), image_size, read)
    if out is None:
        ctx.fail(f"Give the folder of the run: zoo train {name} --out runs/{name}")
    import zoo
    from zoo.training.run import OutOfTime

    try:
        model = zoo.train(
            name,
            out=out,
            data=files,
            data_name=data_name,
            card_name=card_name,
            columns=dict(read_pairs(column, "--column")),
            **read,
            resume=resume,
            device=device,
            limit=limit,
            budget=budget,
            threads=threads,
            **overrides,
        )
    except OutOfTime as stop:
        return typer.echo(f"{stop.message}. The same command with --resume goes on.")
    # A name without a slash would not be taken for a folder.
    folder = out if os.sep in str(out) else f".{os.sep}{out}"
    typer.echo(f"{out} is the card {model.name} now. To see it: zoo info {folder}")


def _files(ctx: typer.Context, data: list[str] | None) -> str | list[str] | None:
    """The data set: one source, or several files. A shell turns `--data *.jpg` into one option and many words."""
    if ctx.args and not data:
        ctx.fail(f"zoo train takes no second argument {ctx.args[0]!r}.")
    given = [*(data or ()), *ctx.args]
    return given[0] if len(given) == 1 else given or None


def _list_skipped(
    name: str, data: str | list[str] | None, columns: dict[str, str], size: int | None, read: dict[str, Any]
) -> None:
    """Print each file that would be left out, with the reason."""
    from zoo.cli.terminal import clean
    from zoo.data.source import told
    from zoo.training.recipes import left_out

    found = left_out(name, data=data, columns=columns, image_size=size, **read)
    for left in found:
        typer.echo(clean(told(left)))
    typer.echo(f"{len(found):,} {'file is' if len(found) == 1 else 'files are'} left out.", err=True)


def _train_all(out: Path, data: Sequence[str] | None, options: dict[str, Any]) -> None:
    """Train one recipe after the other and print a table of what came out. The exit status is 1 if one failed."""
    from zoo.cli.terminal import clean, show
    from zoo.training.budget import train_all

    folders = {}
    for item in data or ():
        key, equals, folder = item.partition("=")
        if not (key and equals and folder):
            raise typer.BadParameter(
                f"{item!r} is not NAME=FOLDER. For example: --data ylecun/mnist=mnist", param_hint="--data"
            )
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
