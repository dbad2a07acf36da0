"""The command that shows a card on a page in the browser."""

from typing import Annotated

import typer

from zoo.cli.given import Card, Device


def demo(
    name: Card,
    port: Annotated[
        int | None, typer.Option(metavar="N", help="Port to serve at. By default the first free one from 7860.")
    ] = None,
    share: Annotated[
        bool,
        typer.Option("--share", help="Also give the page a public address, through Gradio's servers, for a week."),
    ] = False,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    device: Device = "auto",
) -> None:
    """Try a card on a page in your browser.

    The page is served on this machine until you press Ctrl-C. Nothing leaves the machine without --share.
    """
    from zoo.extras import require

    require("demo", "the page")
    import zoo
    from zoo.demo import launch

    launch(zoo.load(name, device=device), port=port, share=share, browser=browser)
