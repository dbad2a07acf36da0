"""What a command is given: the options that several commands share, and how words become settings and conditions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.errors import closest

if TYPE_CHECKING:
    from zoo.model import Model

Pairs = list[tuple[str, str]]

# Conditions are declared by each model, so the parser cannot know their names: it hands them over as they are.
CONDITIONS = {"ignore_unknown_options": True, "allow_extra_args": True}

CARD = "NAME_OR_FOLDER"
CARD_HELP = "A card: its name in 'zoo list', its folder, or org/name on the Hub."
PICTURES = "Write a grid to a .png, .jpg or .webp file, or each image to a folder, a .zip or a .npz file."
TABLE = "Write to this .csv or .npy file. By default zoo prints CSV."

Card = Annotated[str, typer.Argument(metavar=CARD, help=CARD_HELP)]
OneCard = Annotated[str | None, typer.Argument(metavar=CARD, help=CARD_HELP)]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that are there already.")]
Skip = Annotated[bool, typer.Option("--skip-existing", help="Make only the files that are not in the folder yet.")]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="Device to compute on: cpu, cuda, cuda:1, mps, or auto for the best one.")
]
Dtype = Annotated[str, typer.Option(metavar="DTYPE", help="Precision to compute in: float32, bfloat16 or float16.")]
BatchSize = Annotated[
    int, typer.Option(metavar="N", help="Compute N images at a time. Fewer need less memory and come out the same.")
]
Columns = Annotated[
    int | None, typer.Option(metavar="N", help="Columns of the grid. By default the grid is as square as possible.")
]
DataName = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Name to give the data set. By default its Hub name or its folder's.")
]
Judge = Annotated[
    str | None, typer.Option(metavar="CARD", help="Card to judge with. By default the judge that the recipe names.")
]
Limit = Annotated[int | None, typer.Option(metavar="N", help="Use only N images, always the same random ones.")]
PairsSide = Annotated[
    str | None,
    typer.Option(
        "--pairs", metavar="ab|ba", help="Each picture holds a pair side by side, the input on the left (ab) or right."
    ),
]
Splits = Annotated[
    bool, typer.Option("--splits/--no-splits", help="Take folders called train and test as splits, or as classes.")
]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Go on without images that cannot be read.")]
Conditions = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Give a condition, like label=7. Can be given several times."),
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--signature", metavar="FILE", help="Check the card's signature with its publisher's public key, a PEM file."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

OWN_OPTIONS = {
    "name": "NAME, the first argument",
    "columns": "--column",
    "parent": "--from",
    "splits": "--no-splits",
    "judge": "--judge",
    "progress": "zoo.train(progress=...) in Python",
    **{
        key: f"--{key.replace('_', '-')}"
        for key in (
            "out",
            "data",
            "data_name",
            "card_name",
            "pairs",
            "skip_broken",
            "resume",
            "device",
            "limit",
            "budget",
            "threads",
        )
    },
}
"""The arguments of `zoo.train` that are no settings, each with the way to give it on the command line."""


def one_or_all(ctx: typer.Context, name: str | None, every: bool) -> None:
    """A usage error unless a command was given either the name of a card or --all."""
    if every and name is not None:
        ctx.fail(f"Give either {name} or --all, not both.")
    if not every and name is None:
        ctx.fail("Give the name of a card, or --all. 'zoo list' shows the names.")


def read_overrides(setting: Sequence[str] | None) -> dict[str, Any]:
    """Settings of a training run, by name. A usage error for a name that has an option of its own."""
    overrides = {key: _value(text) for key, text in read_pairs(setting)}
    for key in overrides.keys() & OWN_OPTIONS.keys():
        raise typer.BadParameter(
            f"{key!r} is no setting of a recipe. Give it as {OWN_OPTIONS[key]}.", param_hint="--set"
        )
    return overrides


def read_pairs(given: Sequence[str] | None, option: str = "--set") -> Pairs:
    """`key=value` of each --set, --column or --source; a hyphen in a key is an underscore."""
    for item in given or ():
        if item.find("=") < 1:
            like = {"--set": "lr=0.0001", "--column": "image=img", "--source": "label=3"}[option]
            raise typer.BadParameter(f"{item!r} is not KEY=VALUE. For example: {option} {like}", param_hint=option)
    return [(key.replace("-", "_"), text) for key, _, text in (item.partition("=") for item in given or ())]


def open_model(
    ctx: typer.Context, name: str, words: Sequence[str], setting: Sequence[str] | None, **how: Any
) -> "tuple[Model, dict[str, Any]]":
    """A card's model, and the given conditions with their values. how: passed on to `Model.from_place`."""
    from zoo.hub.places import find

    extra = _extra(ctx, name, words)
    place = find(name)  # before torch is imported: a misspelt name is refused at once
    from zoo.devices import keep_memory
    from zoo.model import Model

    keep_memory()
    model = Model.from_place(place, **how)
    return model, _controls(ctx, model, [*read_pairs(setting), *extra], extra)


def _extra(ctx: typer.Context, name: str, words: Sequence[str]) -> Pairs:
    """Conditions given as options, `--label 7` or `--label=7`. The parser does not know them and hands them over."""
    if name.startswith("-"):
        ctx.fail(
            f"{name!r} stands where the card should be. Conditions come after the card: "
            f"zoo {ctx.info_name} NAME {name} VALUE"
        )
    pairs, rest = [], iter(words)
    for word in rest:
        if not word.startswith("--"):
            what = "option" if word.startswith("-") else "second argument"
            ctx.fail(f"zoo {ctx.info_name} takes no {what} {word!r}.")
        key, equals, text = word[2:].partition("=")
        text = text if equals else next(rest, "")
        pairs.append((key.replace("-", "_"), text))
    return pairs


def _controls(ctx: typer.Context, model: "Model", pairs: Pairs, extra: Pairs) -> dict[str, Any]:
    """Conditions with their values read. A misspelt option is a usage error; the model checks the values."""
    from zoo.family.conditions import Flags

    declared = model.conditions
    known = {name: kind.text() for name, kind in declared.items()}
    known |= {flag: "true or false" for kind in declared.values() if isinstance(kind, Flags) for flag in kind.names}
    for key, text in extra:
        if key not in known:
            option = f"--{key.replace('_', '-')}"
            options = {opt[2:] for param in ctx.command.params for opt in param.opts if opt.startswith("--")}
            near = [f"--{word}" for word in closest(option[2:], options | known.keys())]
            near = [f"-{key}"] if any(f"-{key}" in param.opts for param in ctx.command.params) else near
            takes = f"these conditions: {', '.join(sorted(known))}" if known else "no conditions"
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            ctx.fail(f"zoo {ctx.info_name} has no option {option}, and {model.name} takes {takes}.{hint}")
        if not text:
            ctx.fail(f"The condition --{key} needs a value, {known[key]}.")
    for key, _ in pairs:
        if key not in known and any(key == param.name for param in ctx.command.params):
            ctx.fail(f"{key!r} is no condition but an option. Give it without --set: --{key.replace('_', '-')} VALUE")
    return read_values(model, pairs)


def read_values(model: "Model", pairs: Pairs) -> dict[str, Any]:
    """Conditions with their values read. A class called "7" is that class, wherever it stands in the list."""
    from zoo.family.conditions import Categorical

    def read(kind: object, text: str) -> Any:
        return text if isinstance(kind, Categorical) and text in kind.names else _value(text)

    return {key: read(model.conditions.get(key), text) for key, text in pairs}


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
