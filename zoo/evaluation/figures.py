"""Measures a card's figures on a data set, and writes them into the card."""

import platform
import subprocess
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zoo._version import __version__
from zoo.card import facts as cards
from zoo.data.opening import Given
from zoo.devices import machine
from zoo.errors import InputError
from zoo.evaluation import features
from zoo.evaluation.bench import Bench
from zoo.evaluation.cost import cost
from zoo.evaluation.features import Backbone, Statistics
from zoo.evaluation.measures import measures, moments
from zoo.evaluation.neighbours import check_neighbours, show_neighbours
from zoo.evaluation.splits import Splits
from zoo.extras import require
from zoo.family.registry import registry
from zoo.hub import places as hub
from zoo.model import Model, load
from zoo.training import pictures
from zoo.values import whole

SECOND = "imagenet-lite0"
"""The card whose features measure the distances a second time."""


def evaluate(
    name: str | Path,
    *,
    data: Given | None = None,
    data_name: str | None = None,
    pairs: str | None = None,
    splits: bool | None = None,
    skip_broken: bool | None = None,
    judge: str | Path | None = None,
    backbone: str | None = None,
    limit: int | None = None,
    device: str = "auto",
    write: bool = False,
    neighbours: str | Path | None = None,
    progress: bool = True,
    seed: int = 0,
) -> list[cards.Metric]:
    """Measure a card on the test split of its data set. `write` writes the figures into the card.

    Without a test split it is measured on the images that were held out of its training, and on new ones that would
    have been.
    data: the data set, as in `train`; by default the one that the card names. data_name: the data set's name in the
    figures. pairs, splits, skip_broken: how the data are read, as in `train`; by default as in the training.
    judge: the card of the scoring classifier; by default the one that the card's recipe names.
    backbone: the network whose features compare sets of images. By default it is the scoring classifier, and the
    distances are measured a second time with `imagenet-lite0`, if that card is here. A name here replaces both: any
    timm model, or `inception` for the usual FID. Its weights are downloaded.
    limit: use only so many images of each split, for a quick test. Such figures cannot be written.
    neighbours: a picture file for the first samples, each above its nearest training images. It shows images of the
    data set, so it cannot be inside a card.

    Raises MissingExtraError, NotFoundError for an unknown card, InputError, and DataError for data that are not there.
    """
    seed, limit = whole("seed", seed), None if limit is None else whole("limit", limit, 1)
    if write and limit is not None:
        raise InputError(
            "figures on a part of the test split cannot be written into a card", "Leave out --limit or --write."
        )
    require("evaluate", "evaluation")
    started, place = time.perf_counter(), hub.find(name)
    if write and place.repo:  # its files are those of a commit: the next download would replace what is written there
        hint = f"In Python: zoo.load({str(name)!r}).save_pretrained('copy'). Then: zoo evaluate ./copy --write"
        raise InputError(f"{name} is a copy of a Hub repository in the cache, and zoo does not write there", hint)
    folder = place.folder
    model, facts = load(folder, device=device), cards.read_facts(folder)
    if facts.training is None:
        raise InputError(
            f"zoo did not train {name}, so there is no data set to measure it on",
            "'zoo list' shows the cards that can be measured.",
        )
    if neighbours is not None:
        check_neighbours(Path(neighbours), model)
    said = {"pairs": pairs, "splits": splits, "skip_broken": skip_broken}
    source = data or facts.data
    both = Splits(facts.training, model, source, said, limit, progress)
    bench = _bench(model, facts, both, data_name or _called(source), judge, backbone, seed, progress)
    metrics = [metric for measure in measures(bench) for metric in measure(bench)]
    recipe = _recipe(facts)
    if recipe and bench.data == recipe.data:
        metrics = [_beside(metric, recipe.published.get(metric.name, "")) for metric in metrics]
    if neighbours is not None:
        show_neighbours(bench, Path(neighbours))
    if write:
        if "features" in model.spec.capabilities:
            features.write_statistics(folder, moments(bench))
        seconds = round(time.perf_counter() - started, 1)
        measured = cards.Evaluation(
            device=machine(model.device), seconds=seconds, software=software(), commit=_commit()
        )
        costs = [other for other in facts.costs if _kind(other.machine) != _kind(measured.device)]
        costs.append(cost(folder, str(model.device)))
        golden = pictures.golden(model)
        updated = {"metrics": metrics, "evaluation": measured, "costs": costs, "golden": golden}
        cards.write_facts(folder, facts.model_copy(update=updated))
    return metrics


def _bench(
    model: Model,
    facts: cards.Facts,
    splits: Splits,
    called: str,
    judge: str | Path | None,
    backbone: str | None,
    seed: int,
    progress: bool,
) -> Bench:
    """The model, its scoring classifier and backbones, and both splits of the data, prepared for each of them."""
    found, recipe = splits.prepared(model.preparation), _recipe(facts)
    named = judge or (recipe.judge if recipe else None)
    verdicts = load(named, device=str(model.device)) if named else None
    eyes, shipped = _eyes(model, verdicts, named, backbone)
    own = eyes.preparation if eyes and eyes.preparation else model.preparation
    same = (own.size, own.mode, own.crop) == (model.preparation.size, model.preparation.mode, model.preparation.crop)
    return Bench(
        model,
        found["test"],
        found["train"],
        called,
        seed,
        progress,
        verdicts,
        eyes,
        _second(model, backbone) if eyes else None,
        shipped,
        {} if same else splits.prepared(own, "images"),
        facts.picture_rows[-1] if facts.picture_rows else {},
    )


def _recipe(facts: cards.Facts) -> Any:
    """A card's recipe; None if its package is not installed here."""
    return registry().recipes.get(facts.training.recipe, (None, None))[1] if facts.training else None


def _eyes(
    model: Model, judge: Model | None, named: str | Path | None, backbone: str | None
) -> tuple[Backbone | None, dict[str, Statistics]]:
    """The backbone that compares sets of images, and the statistics of real images in its card."""
    if backbone is not None:
        return features.find_backbone(backbone, model.device), {}
    if judge is None or named is None or "features" not in judge.spec.capabilities:
        return None, {}
    return features.of_judge(judge), features.read_statistics(hub.locate(named), judge)


def _second(model: Model, backbone: str | None) -> Backbone | None:
    """The second backbone, trained on ImageNet; None if another backbone was asked for, or if its card is not here."""
    if backbone is not None or SECOND not in hub.bundled():
        return None
    # It takes images as the scoring classifier does: the same square of each photo.
    return replace(features.of_judge(load(SECOND, device=str(model.device))), preparation=None)


def software() -> dict[str, str]:
    """Versions of the packages that figures depend on."""
    packages = ("torch", "timm", "torchmetrics", "datasets", "pillow", "numpy")
    return {"zoo": __version__, **{name: version(name) for name in packages}, "python": platform.python_version()}


def _commit() -> str:
    """The commit of zoo's clone; empty if zoo does not run from a clone."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _kind(machine: str) -> str:
    """The kind of a machine. A card keeps one cost for each kind: a CPU, and another device."""
    return "CPU" if machine.startswith("CPU") else "accelerator"


def _called(source: Given) -> str:
    """The name of a data set in figures. For a folder it is the last part of its path, not where a disk was mounted;
    for a list of files it is their folder."""
    folder = Path(source if isinstance(source, str | Path) else Path(source[0]).parent).expanduser()
    return folder.resolve().name if folder.exists() else str(source)


def _beside(metric: cards.Metric, published: str) -> cards.Metric:
    """The figure, with the value that a paper reports added to its baseline."""
    return metric.model_copy(update={"baseline": "; ".join(filter(None, (metric.baseline, published)))})
