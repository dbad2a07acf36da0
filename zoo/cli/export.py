"""The command that writes a card's model as graphs for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.given import Card, Json, Key
from zoo.cli.terminal import print_json


def export(
    ctx: typer.Context,
    name: Card,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="New folder to write. By default NAME-onnx.")
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="Format of the graphs: onnx.")] = "onnx",
    dtype: Annotated[
        str,
        typer.Option(metavar="DTYPE", help="How weights are stored: float32, or float16 for files of half the size."),
    ] = "float32",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD", help="Export only this method, like sample. Can be given several times."),
    ] = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Write a card's model as ONNX graphs, one for each method.

    zoo runs each graph beside the method and shows the largest difference. If one is too large, nothing is written.
    """
    if form != "onnx":
        ctx.fail(f"zoo export knows no format {form!r}. Give --format onnx.")
    from dataclasses import asdict

    from zoo.cli.terminal import show
    from zoo.extras import require
    from zoo.hub.places import find

    require("export", "exporting a model")
    place = find(name)  # before torch is imported: a misspelt name is refused at once
    from zoo.model import Model

    model = Model.from_place(place, device="cpu", key=key)
    out = out or Path(f"{model.name}-onnx")
    found = model.export(out, dtype=dtype, only=only or ())
    if as_json:
        return print_json([asdict(one) for one in found])
    rows = [
        (one.method, one.file or "none", f"{one.bytes:,}", f"{one.difference:.2g}")
        if one.difference is not None
        else (one.method, "none", "", one.why)
        for one in found
    ]
    show(rows, ("method", "graph", "bytes", "largest difference from torch"))
    typer.echo(f"wrote {out}")
