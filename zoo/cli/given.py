"""The words of the command line into values: the options that several commands share, settings and conditions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.errors import did_you_mean

if TYPE_CHECKING:
    from zoo.model import Model

Pairs = list[tuple[str, str]]

# Conditions are declared by each model, so the parser cannot know their names: it hands them over as they are.
CONDITIONS = {"ignore_unknown_options": True, "allow_extra_args": True}

Card = Annotated[str, typer.Argument(metavar="NAME_OR_FOLDER", help="A card as 'zoo list' shows it, or its folder.")]
RecipeName = Annotated[str | None, typer.Argument(metavar="NAME", help="A recipe as 'zoo list' shows it.")]
Out = Annotated[Path, typer.Option(help="A .png, .jpg or .webp file, or a folder.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
BatchSize = Annotated[int, typer.Option(help="Images at once; changes the memory used, not the images.")]
Columns = Annotated[int | None, typer.Option(help="Columns of the grid. By default the grid is as square as possible.")]
Data = Annotated[str | None, typer.Option(help="Data set: a folder or a Hub name; the recipe's own by default.")]
DataName = Annotated[str | None, typer.Option(help="What the card calls the data set.")]
Judge = Annotated[str | None, typer.Option(help="Card of the classifier that judges.", metavar="CARD")]
Limit = Annotated[int | None, typer.Option(help="Use the first so many images.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be given many times.")]
Column = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="KEY=NAME", help="Column of the data: image=img, label=digit, ..."),
]
Key = Annotated[
    Path | None,
    typer.Option("--signature", metavar="KEY", help="The publisher's public key (PEM); the card must be signed."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

OWN_OPTIONS = {
    "name": "NAME, the first argument",
    "columns": "--column",
    "progress": "zoo.train(progress=...) in Python",
    **{
        key: f"--{key.replace('_', '-')}"
        for key in ("out", "data", "data_name", "card_name", "resume", "device", "limit", "budget", "threads")
    },
}
"""What `zoo.train` takes besides settings, and how a shell gives it."""


def read_overrides(setting: Sequence[str] | None) -> dict[str, Any]:
    """Settings of a training run; what `zoo.train` takes under a name of its own has its own option."""
    overrides = {key: _value(text) for key, text in read_pairs(setting)}
    for key in overrides.keys() & OWN_OPTIONS.keys():
        raise typer.BadParameter(
            f"{key!r} is no setting of a recipe. Give it as {OWN_OPTIONS[key]}.", param_hint="--set"
        )
    return overrides


def read_pairs(given: Sequence[str] | None, option: str = "--set") -> Pairs:
    """`key=value` of each --set or --column; a hyphen in a key is an underscore."""
    for item in given or ():
        if item.find("=") < 1:
            like = {"--set": "lr=0.0001", "--column": "image=img"}[option]
            raise typer.BadParameter(f"{item!r} is not KEY=VALUE, like {like}", param_hint=option)
    return [(key.replace("-", "_"), text) for key, _, text in (item.partition("=") for item in given or ())]


def open_model(
    ctx: typer.Context, name: str, words: Sequence[str], setting: Sequence[str] | None, **how: Any
) -> "tuple[Model, dict[str, Any]]":
    """A card's model, and its conditions with their values. How: as `Model.from_place` takes it."""
    from zoo.hub.places import find

    extra = _extra(ctx, name, words)
    place = find(name)  # a misspelt name should not have to wait for torch
    from zoo.devices import keep_memory
    from zoo.model import Model

    keep_memory()
    model = Model.from_place(place, **how)
    return model, _controls(ctx, model, [*read_pairs(setting), *extra], extra)


def _extra(ctx: typer.Context, name: str, words: Sequence[str]) -> Pairs:
    """Conditions given as options, `--label 7` or `--label=7`, which the parser left alone."""
    if name.startswith("-"):
        ctx.fail(
            f"Give the card first: {name!r} is no option of zoo {ctx.info_name}, and conditions come after the card."
        )
    pairs, rest = [], iter(words)
    for word in rest:
        if not word.startswith("--"):
            what = "option" if word.startswith("-") else "further argument"
            ctx.fail(f"zoo {ctx.info_name} takes no {what} {word!r}.")
        key, equals, text = word[2:].partition("=")
        text = text if equals else next(rest, "")
        pairs.append((key.replace("-", "_"), text))
    return pairs


def _controls(ctx: typer.Context, model: "Model", pairs: Pairs, extra: Pairs) -> dict[str, Any]:
    """Conditions with their values read. A misspelt option is a usage error; the values are the model's to check."""
    from zoo.family.conditions import Categorical, Flags

    declared = model.conditions
    known = {*declared, *(flag for kind in declared.values() if isinstance(kind, Flags) for flag in kind.names)}
    for key, text in extra:
        if key not in known:
            option = f"--{key.replace('_', '-')}"
            options = {opt for param in ctx.command.params for opt in param.opts if opt.startswith("--")}
            hint = did_you_mean(option, options | {f"--{name}" for name in known})
            takes = f"{model.name} takes {', '.join(sorted(known)) or 'none'}"
            ctx.fail(f"{option} is neither an option nor a condition; of conditions {takes}. {hint}")
        if not text:
            ctx.fail(f"The condition --{key} needs a value.")
    values = {}
    for key, text in pairs:
        if key not in known and any(key == param.name for param in ctx.command.params):
            ctx.fail(f"{key!r} is no condition. Give it as an option of zoo {ctx.info_name}, without --set.")
        kind = declared.get(key)
        # A class called "7" is that class, wherever it stands in the list.
        values[key] = text if isinstance(kind, Categorical) and text in kind.names else _value(text)
    return values


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
