"""The command that sends a card to the Hub."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo._version import DISTRIBUTION
from zoo.cli.given import OneCard, one_or_all

if TYPE_CHECKING:
    from zoo.publishing import Draft


def publish(
    ctx: typer.Context,
    to: Annotated[
        str,
        typer.Option(metavar="ORG/NAME", help="Repository on the Hub. With --all only ORG, an organisation or user."),
    ],
    name: OneCard = None,
    tag: Annotated[
        str | None, typer.Option(metavar="TAG", help="Tag the commit, for instance v1. A tag cannot be moved later.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="If the repository is new, only you and your organisation can read it.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option("--sign", metavar="FILE", help="Sign the card with this private key (PEM).")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Send every card that comes with zoo, and put them into a collection.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and send nothing.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Send without asking. A script needs this, since nobody can answer.")
    ] = False,
) -> None:
    """Send a card to the Hugging Face Hub.

    zoo verifies the card, sends it as one commit, reads it back, and verifies and tags what it read.
    """
    one_or_all(ctx, name, every)
    if not (dry_run or yes or sys.stdin.isatty()):
        ctx.fail(
            "zoo asks before it sends, but nobody can answer here. Give --yes to send, or --dry-run to see the changes."
        )
    from zoo import publishing
    from zoo.card.config import read_config
    from zoo.hub import places as hub

    ask = None if yes else partial(typer.confirm, "Send this?", err=True)
    done = []
    ours = [card for card, folder in hub.bundled().items() if read_config(folder).package == DISTRIBUTION]
    for card in [name] if name else ours:
        repo = to if name else f"{to.rstrip('/')}/{card}"
        with publishing.draft(card, repo, tag=tag, private=private, key=key) as ready:
            _show_plan(ready)
            if dry_run or (ask and ready.plan.needed and not ask()):
                continue
            done.append(ready.send())
        typer.echo(f"{done[-1].url} {'sent' if done[-1].changed else 'held this card already'}, read back, verified")
    if every and done:
        typer.echo(publishing.collect(done[0].repo.partition("/")[0], [one.repo for one in done]))


def _show_plan(ready: "Draft") -> None:
    """Print what sending a card would change on the Hub."""
    from zoo.cli.terminal import show

    plan = ready.plan
    state = f"at commit {plan.parent[:12]}" if plan.parent else "which will be made" if not plan.exists else "empty"
    rows = [(str(change.action), change.name, f"{change.size:,} bytes") for change in plan.changes]
    rows += [("leave", name, "no part of a card") for name in plan.kept]
    rows += [("tag", ready.tag, "once it has been read back")] if ready.tag else []
    typer.echo(f"{plan.folder.name} -> {plan.repo}, {state}")
    show(rows, ("action", "what", "size"))
