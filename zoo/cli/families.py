"""The commands about families: which are installed, a package for a new one, and the laws."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.given import Json
from zoo.cli.terminal import print_json

if TYPE_CHECKING:
    from zoo.family.registry import Plugin


def plugins(as_json: Json = False) -> None:
    """Installed plugins: what each provides, or why it was set aside."""
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
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the family, like my-model.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the package; zoo-NAME by default.")] = None,
    title: Annotated[str | None, typer.Option(help="Of the family, as on a card.")] = None,
    summary: Annotated[str | None, typer.Option(help="What it is, in a few words.")] = None,
    author: Annotated[str | None, typer.Option(help="Whose it is.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set of its recipe: a Hub name, or a folder's name.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of its images in pixels.")] = None,
    license: Annotated[str | None, typer.Option(help="Of the code and the weights.")] = None,
) -> None:
    """A package for a new family, complete and working. On a terminal it asks what was not given."""
    from zoo.scaffold import package as scaffold

    given: dict[str, Any] = {"title": title, "summary": summary, "author": author, "data": data}
    given |= {"image_size": image_size, "license": license}
    folder = out or Path(f"zoo-{name}")
    if sys.stdin.isatty():
        scaffold.check_folder(folder)  # before anything is asked
        for question in scaffold.questions(name):
            if given[question.field] is None:
                choices = f" ({', '.join(question.choices)})" if question.choices else ""
                kind = type(question.default)
                given[question.field] = typer.prompt(f"{question.text}{choices}", default=question.default, type=kind)
    for path in scaffold.new(folder, scaffold.answers(name, given)):
        typer.echo(path.relative_to(folder.absolute()))
    typer.echo(f"{folder} is a package; its README.md says how to install, test, train and publish it.")


def check(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="An installed family, as 'zoo plugins' shows it.")],
    optional: Annotated[
        list[str] | None, typer.Option(metavar="MARK", help="Optional laws too: gpu, compile or kill; often.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a family by the laws that every family keeps. Exit status 1 if one is broken."""
    from dataclasses import asdict

    from zoo.cli.terminal import pick, show
    from zoo.testing import OPTIONAL, report

    for mark in optional or ():
        if mark not in OPTIONAL:
            raise typer.BadParameter(f"{mark!r} is none of {', '.join(OPTIONAL)}", param_hint="--optional")
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
