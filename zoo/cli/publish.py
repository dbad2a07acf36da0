"""The command that sends a card to the Hub."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo._version import DISTRIBUTION

if TYPE_CHECKING:
    from zoo.publishing import Draft


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
