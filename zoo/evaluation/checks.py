"""The checks of a card: its files, picture, golden numbers and figures are made again and compared with the record."""

from pathlib import Path

import numpy as np
import torch

from zoo.card import facts as cards
from zoo.card.config import read_config
from zoo.card.facts import Facts, Metric, Reference
from zoo.card.names import FACTS, LIMITS, PICTURE, PLAN, README, WEIGHTS
from zoo.distances import frechet_distance
from zoo.errors import InputError
from zoo.evaluation import features
from zoo.evaluation.bench import Bench, draw, rounded
from zoo.evaluation.features import Statistics
from zoo.evaluation.figures import evaluate
from zoo.evaluation.measures import moments
from zoo.evaluation.report import Card, Check, held
from zoo.evaluation.splits import Splits
from zoo.hub import places as hub
from zoo.images.batch import Images
from zoo.images.prepare import is_binary
from zoo.images.read import open_image
from zoo.model import Model, load
from zoo.training import pictures

FILES = {*LIMITS, ".gitattributes"}
"""Files that a card's folder may hold. The Hub puts .gitattributes into every repository."""
NEAR = 2
"""How far apart two values of a picture, 0 to 255, may be: sums of floats differ between machines."""
SHARE = 0.99
"""Share of a picture's values that must be near. It is not 1 because of samplers of discrete pixels, like PixelCNN: a
difference in the last bit may turn one pixel, and then the rest of that image, one of 36, is different."""
GOLDEN_TOLERANCE = 1e-3
"""Tolerance of golden numbers, as a share of the largest value of an entry."""
ROUND_OFF = 1e-6
"""Tolerance of golden numbers that are all about 0."""
FIGURE_TOLERANCE = 0.02
"""Tolerance of a figure as a share of it. If its standard error is larger, that is the tolerance."""


# --- without data


def files(card: Card) -> list[Check]:
    if (card.folder / PLAN).is_file():
        why = "this is the folder of a run: besides the card it holds checkpoints, a log and pictures"
        return [Check("files", "skipped", why=why)]
    stray = sorted({path.name for path in card.folder.iterdir()} - FILES)
    return [held("files", not stray, "", ", ".join(stray), why="a card has no such file. Move it to another folder")]


def readme(card: Card) -> list[Check]:
    path, expected = card.folder / README, cards.render(card.folder)
    found = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    pairs = zip([*expected.splitlines(), ""], [*found.splitlines(), ""], strict=False)
    line = next((i for i, (ours, theirs) in enumerate(pairs, 1) if ours != theirs), 1)
    why = f"its line {line} does not follow from the card's facts. 'zoo evaluate {card.name} --write' writes it again"
    return [held(README, found == expected, why=why)]


def picture(card: Card) -> list[Check]:
    what, model, facts, path = PICTURE, card.model, card.facts, card.folder / PICTURE
    if not path.is_file() and "sample" not in model.spec.capabilities:
        return []  # a classifier has none, nor has a translator if the card of its inputs was missing in training
    again = _drawn_again(model, facts, path)
    if again is None and facts.picture_inputs is not None:
        why = f"its inputs are samples of the card {facts.picture_inputs}, which is not installed here"
        return [Check(what, "skipped", why=why)]
    if again is None:
        return [Check(what, "fail", why=f"{FACTS} does not say what the picture shows")]
    recorded, here = (np.asarray(picture, dtype=np.int16) for picture in (open_image(path), again.grid()))
    if recorded.shape != here.shape:
        why = "the picture has another number of images, or another size"
        return [Check(what, "fail", str(recorded.shape), str(here.shape), why=why)]
    share = float((np.abs(recorded - here) <= NEAR).mean())
    why = "these weights make another picture"
    return [held(what, share >= SHARE, f">= {SHARE:.0%}", f"{share:.2%}", f"{NEAR}/255", why)]


def _drawn_again(model: Model, facts: Facts, path: Path) -> Images | None:
    """The picture, made again. If it shows images of a data set, they are taken from its own first and last row."""
    if not facts.picture_credit:
        return pictures.picture(model, facts.picture_inputs, facts.picture_rows)
    sheet, size = open_image(path), model.preparation.size
    inputs, _, targets = Images.of_grid(sheet, size, (sheet.width + 2) // (size + 2), rows=3).chunk(3)
    return pictures.pairs(model, inputs, targets, facts.picture_credit)


def golden(card: Card) -> list[Check]:
    recorded, again = card.facts.golden, pictures.golden(card.model)
    if again and not recorded:
        return [Check("golden", "skipped", why=f"the card has no golden numbers. {card.remedy} them")]
    return [_same_values(f"golden {key}", recorded.get(key), again.get(key)) for key in recorded | again]


def _same_values(what: str, recorded: list[float] | None, again: list[float] | None) -> Check:
    """Compare the two values that are furthest apart."""
    if recorded is None or again is None:
        why = "the card does not record it" if recorded is None else "the model gives no such result"
        return Check(what, "fail", why=why)
    if len(recorded) != len(again):
        return Check(what, "fail", f"{len(recorded)} values", f"{len(again)} values")
    ours, theirs = (torch.tensor(values, dtype=torch.float64) for values in (recorded, again))
    apart = (ours - theirs).abs()
    tolerance = float(f"{max(GOLDEN_TOLERANCE * ours.abs().max().item(), ROUND_OFF):.3g}")
    k = int(apart.argmax())  # a NaN counts as the largest
    return held(
        what, apart[k].item() <= tolerance, recorded[k], again[k], tolerance, "these weights give another result"
    )


def cost(card: Card) -> list[Check]:
    if not card.facts.costs:
        return [Check("cost", "skipped", why=f"the card has no costs. {card.remedy} them")]
    truth = {
        "parameters": sum(p.numel() for p in card.model.module.parameters()),
        "bytes": (card.folder / WEIGHTS).stat().st_size,
    }
    return [
        held(f"cost {key}", said == value, said, value, why=f"the card says so for the machine {cost.machine}")
        for cost in card.facts.costs
        for key, value in truth.items()
        for said in (getattr(cost, key),)
    ]


def shipped(card: Card) -> list[Check]:
    """For the card of a judge: its moments of real images, which the checks of other cards need."""
    if "features" not in card.model.spec.capabilities:
        return []
    if not features.read_statistics(card.folder, card.model):
        return [Check("statistics", "skipped", why=f"the card has no statistics. {card.remedy} them")]
    return [Check("statistics", "pass")]


def references(card: Card) -> list[Check]:
    references = dict.fromkeys(metric.reference for metric in card.facts.metrics if metric.reference)
    return [check for reference in references for check in _reference(card, reference)]


def untouched(card: Card) -> list[Check]:
    """A line for the figures, which are not measured without the data."""
    n = len(card.facts.metrics)
    why = f"{n} figures on {card.facts.data} were not measured again. For that give --data" if n else ""
    return [Check("figures", "skipped", why=why or f"the card has no figures. {card.remedy} them")]


def _reference(card: Card, reference: Reference) -> list[Check]:
    """Check that the backbone and its statistics have not changed, and that the distance comes out again."""
    what, folder = f"reference {reference.backbone}", _judge(card, reference.backbone)
    if folder is None:
        return [Check(what, "skipped", why="its backbone is not a card here. To measure with it again give --data")]
    judge = load(folder, device=str(card.model.device))
    digest = judge.sha256
    same = held(
        f"{what} weights",
        digest == reference.weights,
        reference.weights[:12],
        digest[:12],
        why=f"the figures were measured with another scoring classifier. {card.remedy} them again",
    )
    distance = next((m for m in card.facts.metrics if m.reference == reference and m.name.startswith("fd-")), None)
    shipped = features.read_statistics(folder, judge)
    why = _unrepeatable(card, distance, folder, shipped)
    if distance is None or why:
        return [same, Check(f"{what} statistics", "skipped", why=why)]
    samples = draw(card.model, distance.n, distance.seed, card.progress)
    real = shipped.get("binary" if is_binary(samples) else "test")
    return [same, *_distance(distance, reference, judge, samples, real, same.state == "pass")]


def _unrepeatable(card: Card, distance: Metric | None, folder: Path, shipped: dict[str, Statistics]) -> str:
    """Why samples and the moments in the backbone's card are not enough to find a distance again; empty if they are."""
    if distance is None:
        return "the card has no Fréchet distance among its figures"
    if "sample" not in card.model.spec.capabilities:
        return "the figures are of translated test images. To measure them again give --data"
    if not shipped and cards.read_facts(folder).training is None:
        return f"the card {folder.name} has no statistics of real images. To measure again give --data"
    if not shipped:
        return f"{folder.name} has no statistics of real images. 'zoo evaluate {folder.name} --write' adds them"
    theirs = cards.read_facts(folder).data
    if distance.data != theirs:
        found = f"the figures are of {distance.data}, but the statistics in {folder.name} are of {theirs}"
        return f"{found}. To measure again give --data"
    return ""


def _distance(
    metric: Metric, reference: Reference, judge: Model, samples: torch.Tensor, real: Statistics | None, same: bool
) -> list[Check]:
    """Check the moments of the real images; if they and the scoring classifier are the same, the distance too."""
    what = f"reference {reference.backbone} statistics"
    if real is None:
        why = f"the card {judge.name} has no statistics of this kind of image"
        return [Check(what, "fail", reference.statistics[:12], why=why)]
    known = held(
        what,
        real.sha256 == reference.statistics,
        reference.statistics[:12],
        real.sha256[:12],
        why=f"the figures were measured against other real images than those of the statistics in {judge.name}",
    )
    if not (same and known.state == "pass"):
        why = "the scoring classifier or its statistics are not those that the card records"
        return [known, Check(metric.name, "skipped", why=why)]
    ours = features.statistics(features.of_judge(judge)(samples))
    found = frechet_distance(ours.mean, ours.covariance, real.mean, real.covariance)
    tolerance = rounded(FIGURE_TOLERANCE * abs(metric.value))
    good = abs(found - metric.value) <= tolerance
    why = "the samples of these weights have another distance"
    return [known, held(metric.name, good, metric.value, rounded(found), tolerance, why)]


def _judge(card: Card, backbone: str) -> Path | None:
    """The folder of the scoring classifier of that name: the card that was given, or a bundled one."""
    if card.judge is not None and read_config(card.judge).name == backbone:
        return card.judge
    return hub.bundled().get(backbone)


# --- with data


def again(card: Card, data: str | Path) -> list[Check]:
    """Measure every figure again in the recorded way, and compare."""
    recorded = card.facts.metrics
    seed = recorded[0].seed if recorded else 0
    found = _shipped_again(card, data, seed)
    if not recorded:
        return found + untouched(card)
    named = next((metric.reference.backbone for metric in recorded if metric.reference), None)
    judge = _judge(card, named) if named else None
    backbone, missing = (None, "") if judge or named is None else _obtain(named, card.model.device)
    measured = evaluate(
        card.folder,
        data=data,
        judge=judge or card.judge,
        backbone=backbone,
        device=str(card.model.device),
        progress=card.progress,
        seed=seed,
    )
    if missing:  # the features compared are those of the recipe's classifier, not those that the card records
        measured = [metric for metric in measured if metric.reference is None]
    again = {metric.name: metric for metric in measured}
    for metric in recorded:
        skip = missing and metric.reference is not None
        what = f"figure {metric.name}"
        found.append(Check(what, "skipped", why=missing) if skip else _figure(what, metric, again.get(metric.name)))
    extra = again.keys() - {metric.name for metric in recorded}
    why = f"the card does not record this figure. {card.remedy} it"
    return found + [Check(f"figure {name}", "fail", "", again[name].value, why=why) for name in sorted(extra)]


def _obtain(backbone: str, device: torch.device) -> tuple[str | None, str]:
    """The name of a backbone, or why it cannot be used here."""
    try:
        features.find_backbone(backbone, device)
    except InputError as error:
        return None, str(error)
    return backbone, ""


def _figure(what: str, recorded: Metric, again: Metric | None) -> Check:
    """Compare one figure and its floor, within 2 % or the standard error."""
    if again is None:
        return Check(what, "fail", recorded.value, why="evaluating the card does not measure this figure any more")
    tolerance = rounded(max(FIGURE_TOLERANCE * abs(recorded.value), recorded.uncertainty or 0.0))
    faults = []
    if not abs(again.value - recorded.value) <= tolerance:
        faults.append("the model has another value")
    if again.n != recorded.n:
        faults.append(f"it was measured on {again.n} images, but the card says {recorded.n}")
    if not _same_floor(recorded, again):
        faults.append(f"the floor is {again.floor}, but the card says {recorded.floor}")
    return held(what, not faults, recorded.value, again.value, tolerance, "; ".join(faults))


def _same_floor(recorded: Metric, again: Metric) -> bool:
    if recorded.floor is None or again.floor is None:
        return recorded.floor == again.floor
    # The floor is the same figure of training images, so its standard error is about that of the figure.
    allowed = max(FIGURE_TOLERANCE * abs(recorded.floor), recorded.uncertainty or 0.0)
    return abs(again.floor - recorded.floor) <= allowed


def _shipped_again(card: Card, data: str | Path, seed: int) -> list[Check]:
    """For the card of a judge: check that its moments are those of the data."""
    if "features" not in card.model.spec.capabilities or card.facts.training is None:
        return []
    shipped = features.read_statistics(card.folder, card.model)
    splits = Splits(card.facts.training, card.model, data, {}, None, card.progress)
    test = splits.prepared(card.model.preparation, "images")["test"]
    here = moments(Bench(card.model, test, test, test.source, seed, card.progress)) if shipped else {}
    return [
        held(
            f"statistics {kind}",
            part.agrees(here[kind]),
            part.sha256[:12],
            here[kind].sha256[:12],
            why=f"the card's statistics are not of these test images. {card.remedy} them again",
        )
        for kind, part in shipped.items()
    ]
