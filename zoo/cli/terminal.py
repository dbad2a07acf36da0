"""How commands print tables and facts: folded to the width of a terminal, and as whole lines into a pipe or a file."""

import codecs
import contextlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.family.conditions import Condition
from zoo.family.spec import ModelSpec, Preparation, Recipe

if TYPE_CHECKING:
    from zoo.card.config import CardConfig
    from zoo.card.facts import Cost, Facts, Metric, Training

Facet = tuple[str, str]
METRIC_HEADERS = ("figure", "value", "better", "measured on", "compare with", "protocol")


def open_streams() -> None:
    """Make stdin, stdout and stderr usable, whatever the program was started with.

    One that is closed leads nowhere; otherwise the next file that a command opens would be taken for it. A character
    that the encoding of a console or pipe lacks is written as in JSON, \\u00e9, so that JSON stays JSON.
    """
    codecs.register_error("zoo.escaped", _escaped)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # not a file: a program that captures what is printed
            stream.reconfigure(errors="zoo.escaped")  # type: ignore[union-attr]


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Handler of characters that an encoding lacks: as JSON escapes them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)), error.end


def show(rows: Iterable[Sequence[str]], headers: Sequence[str] = ()) -> None:
    """Print rows in columns. Into a pipe or a file each row is one line, however long, for grep and awk."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _show_folded(cleaned, headers)
    else:
        _show_whole(cleaned, headers)


def _show_folded(rows: list[list[str]], headers: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if headers else None, show_header=bool(headers), pad_edge=False)
    for i, header in enumerate(headers or ("", "")):
        table.add_column(header, no_wrap=i == 0, overflow="fold", style="bold" if i == 0 else None)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False, emoji=False).print(table)


def _show_whole(rows: list[list[str]], headers: Sequence[str]) -> None:
    lines = [[cell.replace("\n", " ") for cell in row] for row in ([list(headers), *rows] if headers else rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_json(value: Any) -> None:
    from zoo.files import to_json

    print(to_json(value), end="")


def clean(text: str) -> str:
    """The text without control characters: a stranger's card or plugin must not steer the terminal."""
    return "".join(c for c in text if c.isprintable() or c == "\n")


def pick(entries: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> list[list[str]]:
    """One row for each entry: its values under `keys`, as text."""
    return [[", ".join(e[key]) if isinstance(e[key], list) else str(e[key]) for key in keys] for e in entries]


def card_rows(config: "CardConfig", spec: ModelSpec, conditions: Mapping[str, Condition], folder: Path) -> list[Facet]:
    """What every card says: its config.json, its family and its conditions."""
    from zoo.card.names import WEIGHTS
    from zoo.hub.places import origin

    weights, what = folder / WEIGHTS, f"{config.weights.dtype}, sha256 {config.weights.sha256[:16]}..."
    size = f"{weights.stat().st_size / 1e6:.3g} MB of" if weights.is_file() else f"{origin(config.name)}, not here:"
    return [
        ("card", config.name),
        *_family(spec),
        ("images", _images(config.preparation)),
        *[(f"condition {name}", kind.text()) for name, kind in conditions.items()],
        ("model", _settings(config.config)),
        ("weights", f"{size} {what}"),
        ("folder", str(folder)),
    ]


def fact_rows(facts: "Facts") -> list[Facet]:
    """What the evaluation.json of a card says: how it was made, how good it is, what it costs, what its limits are."""
    return [
        ("summary", facts.summary),
        *(_training(facts.training) if facts.training else []),
        *([("origin", f"{facts.origin.source}; {facts.origin.file}")] if facts.origin else []),
        *(
            [(f"figure {metric.name}", _metric(metric)) for metric in facts.metrics]
            or [("figures", "not evaluated yet")]
        ),
        *([("cost", _cost(cost)) for cost in facts.costs] or [("cost", "not measured yet")]),
        ("licence", f"{facts.license}: {facts.data_terms}"),
        *[("limit", limit) for limit in facts.limits],
    ]


def _training(training: "Training") -> list[Facet]:
    from zoo.card.facts import duration

    budget = (
        f"{training.images:,} images of {training.data}, {training.steps:,} steps of {training.batch_size} "
        f"({training.passes:.3g} passes), {duration(training.seconds)} on {training.device}"
    )
    settings = {"precision": training.precision, "seed": training.seed} | training.settings
    return [("training", budget), ("settings", _settings(settings))]


def _cost(cost: "Cost") -> str:
    from zoo.card.facts import megabytes

    memory = f", {megabytes(cost.memory)} of memory at the peak" if cost.memory else ""
    size = f"{cost.parameters:,} parameters, {megabytes(cost.bytes)}"
    return f"{size}; 16 images in {cost.seconds:.2g} s{memory} on {cost.machine}"


def recipe_rows(recipe: Recipe, spec: ModelSpec) -> list[Facet]:
    """A recipe without a card here, and the command that trains it."""
    return [
        ("recipe", recipe.name),
        *_family(spec),
        ("images", _images(recipe.preparation)),
        ("summary", recipe.summary),
        ("data", recipe.data),
        ("model", _settings(recipe.config)),
        ("settings", _settings(recipe.train)),
        ("licence", f"{recipe.license}: {recipe.terms}"),
        *[("limit", limit) for limit in recipe.limits],
        *([("takes", f"{recipe.hours:.1f} hours with one thread of a common processor")] if recipe.hours else []),
        *([("with a GPU", recipe.larger)] if recipe.larger else []),
        ("state", "trainable: no card of it is installed"),
        ("train it", f"zoo train {recipe.name} --out runs/{recipe.name}"),
    ]


def metric_rows(metrics: "Sequence[Metric]") -> list[tuple[str, ...]]:
    """Figures, one in each row, in columns as METRIC_HEADERS names them."""
    from zoo.card.facts import beside_it, figure

    return [(m.name, figure(m), m.better, _measured(m), beside_it(m), m.protocol) for m in metrics]


def _family(spec: ModelSpec) -> list[Facet]:
    return [("family", f"{spec.title}: {spec.summary} ({spec.paper})"), ("can", ", ".join(spec.capabilities))]


def _images(preparation: Preparation) -> str:
    text = f"{preparation.size}x{preparation.size} {preparation.mode}{', binary' if preparation.binarize else ''}"
    text += f"; input: centre square of {preparation.crop:.4g} of the shorter side, resized"
    return f"{text}, then the filter {preparation.filter!r}" if preparation.filter else text


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items()) or "the defaults"


def _metric(metric: "Metric") -> str:
    from zoo.card.facts import beside_it, figure

    beside = f" ({beside_it(metric)})" if beside_it(metric) else ""
    return f"{figure(metric)}{beside}; {metric.better} is better; {_measured(metric)}. {metric.protocol}"


def _measured(metric: "Metric") -> str:
    return f"{metric.data}, {metric.split}, {metric.n} images, seed {metric.seed}"
