"""The command that makes a card of another implementation's checkpoint."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.given import read_overrides


def import_(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The implementation that saved it, like pytorch-CycleGAN.")
    ],
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="The checkpoint: one file for each network, .pth or .safetensors."),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the new card.")],
    license: Annotated[
        str | None, typer.Option(metavar="ID", help="Licence of the weights, a Hub licence id like mit, or other.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the weights were trained on, if possible its Hub name.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the card. By default that of the folder.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Give a field of the config that the files do not tell, like image_size=128. "
            "Can be given several times.",
        ),
    ] = None,
) -> None:
    """Make a card of a checkpoint that another implementation saved.

    On a terminal, zoo asks for licence and data if you did not give them.
    """
    if on_terminal():
        license = license or typer.prompt("Licence of the weights, a Hub licence id like mit, or other")
        data = data or typer.prompt("What they were trained on, if possible its Hub name")
    if not license or not data:
        ctx.fail("Give the licence of the weights and what they were trained on: --license ID --data TEXT")
    import zoo
    from zoo.devices import keep_memory

    keep_memory()
    settings = read_overrides(setting)
    model = zoo.import_card(source, files, out=out, license=license, data=data, name=name, settings=settings)
    # A name without a slash would not be taken for a folder.
    folder = out if os.sep in str(out) else f".{os.sep}{out}"
    typer.echo(f"{out} is the card {model.name} now. To see it: zoo info {folder}")


def on_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()
