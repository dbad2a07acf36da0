"""The commands about families: list the plugins, write a package for a new family, test a family by the laws."""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.given import Json
from zoo.cli.terminal import print_json
from zoo.errors import did_you_mean

if TYPE_CHECKING:
    from zoo.family.registry import Plugin


def plugins(as_json: Json = False) -> None:
    """List the installed plugins, and say why one was set aside."""
    from zoo.cli.terminal import pick, show
    from zoo.family.registry import registry

    entries = [
        {
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "module": plugin.module,
            "families": [*plugin.families],
            "import_ms": round(1000 * plugin.seconds, 1),
            "api": plugin.api,
            "state": _state(plugin),
            "reason": plugin.error or "",
        }
        for plugin in registry().plugins
    ]
    if "ZOO_PLUGINS" in os.environ:
        left_out = sum(plugin.left_out for plugin in registry().plugins)
        typer.echo(
            f"ZOO_PLUGINS={os.environ['ZOO_PLUGINS']} leaves out {left_out} of {len(entries)} plugins. "
            "They were not imported. Name those that may load, with commas between them.",
            err=True,
        )
    if as_json:
        return print_json(entries)
    headers = ("plugin", "distribution", "version", "module", "families", "import_ms", "api", "state", "reason")
    show(pick(entries, headers), headers)


def _state(plugin: "Plugin") -> str:
    from zoo.family.spec import API_VERSION

    if plugin.error is not None:
        return "left out" if plugin.left_out else "set aside"
    return "loaded" if plugin.api == API_VERSION else f"loaded, of an older contract than {API_VERSION}"


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new family, like my-model.")],
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder to write. By default zoo-NAME.")] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Title of the family, as a card shows it.")] = None,
    summary: Annotated[str | None, typer.Option(metavar="TEXT", help="What the family is, in a few words.")] = None,
    author: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Author of the package, as its licence names them.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="NAME", help="Data set of the recipe: its Hub name, or a folder's name.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(metavar="N", help="Height and width of the images in pixels.")
    ] = None,
    license: Annotated[
        str | None, typer.Option(metavar="ID", help="Licence of code and weights: mit, apache-2.0 or bsd-3-clause.")
    ] = None,
) -> None:
    """Write a complete, working package for a new family.

    On a terminal, zoo asks for each option that you did not give.
    """
    from zoo.scaffold import package as scaffold

    given: dict[str, Any] = {"title": title, "summary": summary, "author": author, "data": data}
    given |= {"image_size": image_size, "license": license}
    folder = out or Path(f"zoo-{name}")
    if sys.stdin.isatty():
        scaffold.check_folder(folder)  # before zoo asks anything
        for question in scaffold.questions(name):
            if given[question.field] is None:
                choices = f" ({', '.join(question.choices)})" if question.choices else ""
                kind = type(question.default)
                given[question.field] = typer.prompt(f"{question.text}{choices}", default=question.default, type=kind)
    for path in scaffold.new(folder, scaffold.answers(name, given)):
        typer.echo(path.relative_to(folder.absolute()))
    typer.echo(f"{folder} is a package; its README.md says how to install, test, train and publish it.")


def check(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="An installed family. 'zoo plugins' shows them.")],
    optional: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MARK", help="Test these optional laws too: gpu, compile or kill. Can be given several times."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Test a family by the laws, which every family must keep.

    The exit status is 1 if a law is broken.
    """
    from dataclasses import asdict

    from zoo.cli.terminal import pick, show
    from zoo.testing import OPTIONAL, report

    for mark in optional or ():
        if mark not in OPTIONAL:
            raise typer.BadParameter(
                f"no optional law has the mark {mark!r}. {did_you_mean(mark, OPTIONAL)}", param_hint="--optional"
            )
    results = list(report(family, optional or ()))
    entries = [asdict(result) | {"seconds": f"{result.seconds:.2f}"} for result in results]
    if as_json:
        print_json([{key: entry[key] for key in ("law", "state", "message", "seconds")} for entry in entries])
    else:
        headers = ("law", "state", "seconds", "message")
        show(pick(entries, headers), headers)
        count = Counter(result.state for result in results)
        typer.echo(f"{family}: " + ", ".join(f"{count[state]} {state}" for state in ("kept", "skipped", "broken")))
    if any(result.state == "broken" for result in results):
        raise typer.Exit(1)
