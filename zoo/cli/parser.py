"""The command `zoo`, a thin layer over the API. Each command imports what it needs, so that `zoo list` starts fast."""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from zoo._version import __version__
from zoo.cli import cards, demo, export, families, figures, importing, pictures, publish, sample, train
from zoo.cli.given import CONDITIONS
from zoo.cli.jobs import JOBS
from zoo.errors import ZooError


class Commands(TyperGroup):
    """All commands. An error becomes a line on stderr and an exit status. ZOO_TRACEBACK=1 shows the traceback too."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _light(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.obj = ["zoo", *args]  # a command that is to be given again shows it as it was typed
        return super().parse_args(ctx, args)

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
        except KeyboardInterrupt as interrupt:
            # Signals that zoo.training.stopping handles come with their number.
            when = f" while {interrupt}" if str(interrupt) else ""
            typer.echo(getattr(interrupt, "message", f"Interrupted{when}."), err=True)
            raise typer.Exit(128 + getattr(interrupt, "number", signal.SIGINT)) from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """A line for each command. Those that not every card can do are only named, so that all fit a screen."""
        rows, named = [], []
        for name in self.list_commands(ctx):
            command = self.commands[name]
            if isinstance(command, OfCards):
                named.append(name)
            else:
                rows.append((name, command.get_short_help_str(100)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        with formatter.section("Commands that some cards can do, as 'zoo info' says"):
            formatter.write_text(", ".join(named))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _show_examples(str(self.epilog), formatter)


class Command(TyperCommand):
    """A command whose help ends with examples."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _show_examples(str(self.epilog), formatter)


class OfCards(Command):
    """A command that not every card can do."""


class Light(Command):
    """A command that must start fast."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _light(super().get_params(ctx))


def _show_examples(epilog: str, formatter: Any) -> None:
    """Print each line of an epilog as an example. Lines are not folded, so that they can be copied."""
    lines = epilog.splitlines()
    with formatter.section("Examples" if len(lines) > 1 else "Example"):
        for line in lines:
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _light(params: list[Any]) -> list[Any]:
    """Keep typer from converting options that were not given: it would import pydantic, a third of a listing's time."""

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


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
]


@app.callback(
    epilog="zoo list\nzoo sample dcgan-celeba -n 16 --out faces.png\n"
    "zoo train dcgan-celeba --data photos --out runs/mine"
)
def root(version: Version = False) -> None:
    """Use, train and judge deep generative models by their names."""


def _add(
    function: Callable[..., None],
    *examples: str,
    name: str | None = None,
    cls: type[Command] = Command,
    context: dict[str, Any] | None = None,
) -> None:
    app.command(name, cls=cls, epilog="\n".join(examples), context_settings=context)(function)


_add(cards.list_, "zoo list --family dcgan", name="list", cls=Light)
_add(cards.info, "zoo info dcgan-celeba")
_add(sample.sample, "zoo sample cvae-mnist --label 7 -n 16 --out sevens.png", context=CONDITIONS)
for job in JOBS:
    _add(pictures.command(job), job.example, name=job.name, cls=OfCards, context=CONDITIONS)
_add(demo.demo, "zoo demo infogan-mnist")
_add(families.plugins, "zoo plugins")
_add(families.new, "zoo new my-model --image-size 64")
_add(families.check, "zoo check vae")
_add(
    train.train, "zoo train dcgan-celeba --data photos --out runs/mine --steps 1000", context={"allow_extra_args": True}
)
_add(train.finish, "zoo finish runs/mine --data photos")
_add(export.export, "zoo export dcgan-celeba --out faces-onnx --dtype float16")
_add(figures.evaluate, "zoo evaluate vae-mnist --limit 1000")
_add(figures.verify, "zoo verify vae-mnist")
_add(importing.import_, "zoo import pytorch-CycleGAN latest_net_G.pth --out zebras", name="import")
_add(publish.publish, "zoo publish runs/mine --to org/name --dry-run")


def main() -> None:
    """The console script. It ends in silence when its output is no longer read, as in `zoo list | head -1`."""
    from zoo.cli.terminal import open_streams

    open_streams()
    try:
        try:
            app(prog_name="zoo")
        finally:
            sys.stdout.flush()
    except OSError as error:  # what remains to be written, at the end, leads nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _complain(error)
        sys.exit(1)
