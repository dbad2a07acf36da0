"""The command that trains one recipe, or all of them."""

import os
import shlex
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
    parent: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="CARD", help="Begin from the weights of this card. NAME is then the card's own recipe."
        ),
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
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")] = False,
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
    evaluate_every: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Every N steps measure on held-out images."),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="CARD", help="Measure by this card, not by the recipe's judge.")
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
    own = {"steps": steps, "batch_size": batch_size, "image_size": image_size, "evaluate_every": evaluate_every}
    overrides = read_overrides(setting) | {key: value for key, value in own.items() if value is not None}
    if every:
        alone: dict[str, Any] = {"NAME": name, "--from": parent, "--data-name": data_name, "--card-name": card_name}
        alone |= {"--limit": limit, "--column": column, "--resume": resume or None, "--pairs": pairs}
        alone |= {"--no-splits": None if splits else 1, "--skip-broken": skip_broken or None}
        alone |= {"--list-skipped": list_skipped or None, "--evaluate-every": evaluate_every, "--judge": judge}
        given = [option for option, value in alone.items() if value is not None]
        if given:
            ctx.fail(f"Leave out {', '.join(given)} or --all. --all trains every recipe, and each goes on by itself.")
        options = {"family": family, "budget": budget, "device": device, "threads": threads}
        return _train_all(out or Path("runs"), data, options | overrides)
    if family is not None:
        ctx.fail("--family works only together with --all.")
    if name is None and parent is None:
        ctx.fail("Give the name of a recipe, or --from CARD, or --all. 'zoo list' shows the names.")
    files = _files(ctx, data)
    reading: dict[str, Any] = {"pairs": pairs or "", "splits": splits, "skip_broken": skip_broken}
    columns = dict(read_pairs(column, "--column"))
    if list_skipped:
        del reading["skip_broken"]  # it lists what would be left out
        return _list_skipped(name, parent, files, columns, image_size, reading)
    if out is None:
        words = [*ctx.obj, "--out", f"runs/{name or 'mine'}"]
        ctx.fail(f"Give the folder of the run: {shlex.join(words)}")
    import zoo
    from zoo.card.names import PLAN
    from zoo.training.stopping import Interrupted

    try:
        model = zoo.train(
            name,
            out=out,
            parent=parent,
            data=files,
            data_name=data_name,
            card_name=card_name,
            columns=columns,
            **reading,
            resume=resume,
            device=device,
            limit=limit,
            budget=budget,
            threads=threads,
            judge=judge,
            **overrides,
        )
    except zoo.OutOfTime as stop:
        return typer.echo(f"{stop.message}. {_how_to_go_on(ctx)}")
    except Interrupted as stop:
        if (out / PLAN).is_file():
            stop.message += f". {_how_to_go_on(ctx)}"
        raise
    _say_done(out, model.name)


def finish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run: the --out of 'zoo train'.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Data set that the run was begun with, if it is not found by its name."),
    ] = None,
    pairs: PairsSide = None,
    splits: Splits = True,
    skip_broken: SkipBroken = False,
    limit: Limit = None,
    device: Device = "auto",
    best: Annotated[
        bool, typer.Option("--best", help="Take the checkpoint that was best by what --evaluate-every measured.")
    ] = False,
) -> None:
    """Make a card of a run, from its newest checkpoint or its best one.

    Nothing is trained, and the run can still go on.
    """
    import zoo

    reading: dict[str, Any] = {"pairs": pairs or "", "splits": splits, "skip_broken": skip_broken}
    _say_done(run, zoo.finish(run, data=data, limit=limit, device=device, best=best, **reading).name)


def _say_done(out: Path, name: str) -> None:
    # A name without a slash would not be taken for a folder.
    folder = out if os.sep in str(out) else f".{os.sep}{out}"
    typer.echo(f"{out} is the card {name} now. To see it: zoo info {folder}")


def _how_to_go_on(ctx: typer.Context) -> str:
    """The command that goes on with a run that has stopped, as it can be typed."""
    words = [*ctx.obj, *([] if "--resume" in ctx.obj else ["--resume"])]
    return f"To go on:\n  {shlex.join(words)}"


def _files(ctx: typer.Context, data: list[str] | None) -> str | list[str] | None:
    """The data set: one source, or several files. A shell turns `--data *.jpg` into one option and many words."""
    if ctx.args and not data:
        ctx.fail(f"zoo train takes no second argument {ctx.args[0]!r}. For a data set: --data {ctx.args[0]}")
    given = [*(data or ()), *ctx.args]
    return given[0] if len(given) == 1 else given or None


def _list_skipped(
    name: str | None,
    parent: str | None,
    data: str | list[str] | None,
    columns: dict[str, str],
    size: int | None,
    reading: dict[str, Any],
) -> None:
    """Print each file that would be left out, with the reason."""
    from zoo.cli.terminal import clean
    from zoo.data.source import told
    from zoo.training.recipes import left_out

    found = left_out(name, parent=parent, data=data, columns=columns, image_size=size, **reading)
    for left in found:
        typer.echo(clean(told(left)))
    typer.echo(f"{len(found):,} {'file is' if len(found) == 1 else 'files are'} left out.", err=True)


def _train_all(out: Path, data: Sequence[str] | None, options: dict[str, Any]) -> None:
    """Train one recipe after the other and print a table of what came out. The exit status is 1 if one failed."""
    from zoo.cli.terminal import clean, show
    from zoo.training.budget import train_all
    from zoo.training.stopping import Interrupted

    folders = {}
    for item in data or ():
        key, equals, folder = item.partition("=")
        if not (key and equals and folder):
            raise typer.BadParameter(
                f"{item!r} is not NAME=FOLDER. For example: --data ylecun/mnist=mnist", param_hint="--data"
            )
        folders[key] = folder
    try:
        outcomes = train_all(
            out,
            data=folders,
            report=lambda outcome: typer.echo(clean(f"{outcome.recipe}: {outcome.state} {outcome.detail}"), err=True),
            **options,
        )
    except Interrupted as stop:
        stop.message += ". The same command goes on."
        raise
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
