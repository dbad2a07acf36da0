"""What the commands show: tables and facts, folded to a terminal's width, and plain whole lines anywhere else."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.conditions import Condition
from zoo.spec import ModelSpec, Preparation, Recipe

if TYPE_CHECKING:
    from zoo.cards import Facts, Metric
    from zoo.config import CardConfig

Rows = list[tuple[str, ...]]


def show(rows: Sequence[Sequence[str]], headers: Sequence[str] = ()) -> None:
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
    for i in range(len(headers or rows[0])):
        table.add_column(headers[i] if headers else "", no_wrap=i == 0, overflow="fold", style="bold" if i == 0 else None)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False, emoji=False).print(table)


def _show_whole(rows: list[list[str]], headers: Sequence[str]) -> None:
    lines = [[cell.replace("\n", " ") for cell in row] for row in ([list(headers), *rows] if headers else rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def clean(text: str) -> str:
    """Without control characters: cards and plugins of strangers must not steer the terminal."""
    return "".join(c for c in text if c.isprintable() or c == "\n")


def card_rows(
    config: "CardConfig", facts: "Facts", spec: ModelSpec, conditions: Mapping[str, Condition], folder: Path
) -> Rows:
    """A card in the order of its README."""
    from zoo.cards import duration

    training = facts.training
    budget = (
        f"{training.images:,} images of {training.data}, {training.steps:,} steps of {training.batch_size} "
        f"({training.passes:.3g} passes), {duration(training.seconds)} on {training.device} in {training.precision}"
    )
    return [
        ("card", f"{config.name}: {facts.summary}"),
        *_family(spec),
        ("images", _images(config.preparation)),
        *[(f"condition {name}", kind.text()) for name, kind in conditions.items()],
        ("model", settings(config.config)),
        ("training", budget),
        ("settings", settings(training.settings)),
        *[(f"figure {metric.name}", _metric(metric)) for metric in facts.metrics],
        ("cost", _cost(facts, folder, config.weights.dtype)),
        ("licence", f"{facts.license}: {facts.data_terms}"),
        *[("limit", limit) for limit in facts.limits],
        ("folder", str(folder)),
    ]


def recipe_rows(recipe: Recipe, spec: ModelSpec) -> Rows:
    """A recipe whose card is not here, and the command that makes it."""
    return [
        ("recipe", f"{recipe.name}: {recipe.summary}"),
        *_family(spec),
        ("images", _images(recipe.preparation)),
        ("data", recipe.data),
        ("model", settings(recipe.config)),
        ("settings", settings(recipe.train)),
        ("licence", f"{recipe.license}: {recipe.data_terms}"),
        *[("limit", limit) for limit in recipe.limits],
        ("state", "not bundled: it has to be trained first"),
        ("train it", f"zoo train {recipe.name} --out runs/{recipe.name}"),
    ]


def metric_rows(metrics: "Sequence[Metric]") -> Rows:
    """Figures, one a row, under METRIC_HEADERS."""
    from zoo.cards import figure

    return [
        (metric.name, figure(metric), metric.better, f"{metric.data}, {metric.split}, {metric.n}", metric.baseline, metric.protocol)
        for metric in metrics
    ]


METRIC_HEADERS = ("figure", "value", "better", "data, split, images", "compare with", "protocol")


def settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value if value != '' else 'none'}" for key, value in values.items()) or "the defaults"


def _family(spec: ModelSpec) -> Rows:
    return [("family", f"{spec.title}: {spec.summary} ({spec.paper})"), ("can", ", ".join(spec.capabilities))]


def _images(preparation: Preparation) -> str:
    text = f"{preparation.size}x{preparation.size} {preparation.mode}{', binary' if preparation.binarize else ''}"
    text += f"; input: centre square of {preparation.crop:.4g} of the shorter side, resized"
    return f"{text}, then the filter {preparation.filter!r}" if preparation.filter else text


def _metric(metric: "Metric") -> str:
    from zoo.cards import figure

    baseline = f" ({metric.baseline})" if metric.baseline else ""
    where = f"{metric.data}, {metric.split}, {metric.n} images, seed {metric.seed}"
    return f"{figure(metric)}{baseline}; {metric.better} is better; {where}. {metric.protocol}"


def _cost(facts: "Facts", folder: Path, dtype: str) -> str:
    from zoo.weights import WEIGHTS

    text = f"{(folder / WEIGHTS).stat().st_size / 1e6:.1f} MB of {dtype}"
    if facts.cost is None:
        return f"{text}; speed not measured yet"
    return f"{facts.cost.parameters:,} parameters, {text}; 16 images in {facts.cost.seconds:.2g} s on {facts.cost.machine}"
