"""The command `zoo`: a thin skin over the API. Every command imports what it needs, so that listing stays light."""

import os
import sys
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from zoo._version import __version__
from zoo.cli import cards, families, figures, publish, train
from zoo.cli.given import CONDITIONS
from zoo.errors import ZooError


class Commands(TyperGroup):
    """Turns what a command raises into a line on stderr and an exit status; ZOO_TRACEBACK=1 shows all of it."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _light(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ZooError, OSError) as error:
            if os.environ.get("ZOO_TRACEBACK") == "1":
                raise
            _complain(error)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            resume = "; the same command with --resume goes on" if ctx.invoked_subcommand == "train" else ""
            typer.echo(f"interrupted{resume}", err=True)
            raise typer.Exit(130) from None


class Light(TyperCommand):
    """A command that must start fast."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _light(super().get_params(ctx))


def _light(params: list[Any]) -> list[Any]:
    """Leave out typer's conversion of options that were not given: it imports pydantic, a third of a listing's time."""

    def process(param: Any, ctx: Any, value: Any) -> Any:
        return value if value is None or value is False else type(param).process_value(param, ctx, value)

    for param in params:
        param.process_value = partial(process, param)
    return params


def _complain(error: ZooError | OSError) -> None:
    from zoo.cli.terminal import clean

    text, hint = (error.message, error.hint) if isinstance(error, ZooError) else (str(error), None)
    typer.echo(clean(f"error: {text}\n  {hint}" if hint else f"error: {text}"), err=True)


app = typer.Typer(
    name="zoo",
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zoo {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")]


@app.callback()
def root(version: Version = False) -> None:
    """Deep generative models by name: zoo sample dcgan-celeba -n 16 --out faces.png"""


app.command("list", cls=Light, epilog="Example: zoo list --family dcgan")(cards.list_)
app.command(epilog="Example: zoo info dcgan-celeba")(cards.info)
app.command(context_settings=CONDITIONS, epilog="Example: zoo sample cvae-mnist --label 7 -n 16 --out sevens.png")(
    cards.sample
)
app.command(
    context_settings=CONDITIONS, epilog="Example: zoo translate cyclegan-celeba-blond photo.jpg --out blond.png"
)(cards.translate)
app.command(epilog="Example: zoo plugins")(families.plugins)
app.command(epilog="Example: zoo new my-model --image-size 64")(families.new)
app.command(epilog="Example: zoo check vae")(families.check)
app.command(epilog="Example: zoo train dcgan-celeba --data photos --out runs/mine --steps 1000")(train.train)
app.command(epilog="Example: zoo evaluate vae-mnist --limit 1000")(figures.evaluate)
app.command(epilog="Example: zoo verify vae-mnist")(figures.verify)
app.command(epilog="Example: zoo publish runs/mine --to org/name --dry-run")(publish.publish)


def main() -> None:
    """The console script. A reader that has gone, as in `zoo list | head -1`, is no error worth words."""
    try:
        try:
            app(prog_name="zoo")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
