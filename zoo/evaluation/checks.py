"""What is checked of a card: files, picture, golden numbers, figures. Each is found again and compared."""

from pathlib import Path

import numpy as np
import torch

from zoo.card import facts as cards
from zoo.card.config import read_config
from zoo.card.facts import Facts, Metric, Reference
from zoo.card.names import FACTS, LIMITS, PICTURE, PLAN, README, WEIGHTS
from zoo.data.source import load_dataset
from zoo.errors import InputError
from zoo.evaluation import features
from zoo.evaluation.bench import Bench, draw, rounded
from zoo.evaluation.distances import frechet_distance
from zoo.evaluation.features import Statistics
from zoo.evaluation.figures import evaluate
from zoo.evaluation.measures import moments
from zoo.evaluation.report import Card, Check, held
from zoo.hub import places as hub
from zoo.images import Images, is_binary, open_image
from zoo.model import Model, load
from zoo.training import pictures

FILES = {*LIMITS, ".gitattributes"}
"""The last is the Hub's own, in every repository."""
NEAR = 2
"""Of 255: how far apart two values of a picture may be, for sums of floats differ from machine to machine."""
SHARE = 0.99
"""Of a picture's values that must be near. Not all: where another machine's sums differ in the last bit, a sampler of
discrete pixels, such as a PixelCNN, may turn an early pixel, and then the rest of that image, one of 36, is another."""
GOLDEN_TOLERANCE = 1e-3
"""As a share of the largest value of an entry."""
ROUND_OFF = 1e-6
"""Golden numbers that are all about 0 are compared to this."""
FIGURE_TOLERANCE = 0.02
"""As a share of a figure, where its standard error is not larger."""


# --- without data


def files(card: Card) -> list[Check]:
    if (card.folder / PLAN).is_file():
        why = "a run's folder, which holds more than the card: its checkpoints, its log, its pictures"
        return [Check("files", "skipped", why=why)]
    stray = sorted({path.name for path in card.folder.iterdir()} - FILES)
    return [held("files", not stray, "", ", ".join(stray), why="a card has no such file: move it elsewhere")]


def readme(card: Card) -> list[Check]:
    path, expected = card.folder / README, cards.render(card.folder)
    found = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    pairs = zip([*expected.splitlines(), ""], [*found.splitlines(), ""], strict=False)
    line = next((i for i, (ours, theirs) in enumerate(pairs, 1) if ours != theirs), 1)
    why = f"its line {line} is not what the facts render to. 'zoo evaluate {card.name} --write' renders it anew"
    return [held(README, found == expected, why=why)]


def picture(card: Card) -> list[Check]:
    what, model, facts, path = PICTURE, card.model, card.facts, card.folder / PICTURE
    if not path.is_file() and "sample" not in model.spec.capabilities:
        return []  # a judge has none, nor has a translator whose inputs' card was not there when it was trained
    again = _drawn_again(model, facts, path)
    if again is None and facts.picture_inputs is not None:
        why = f"its inputs are samples of {facts.picture_inputs}, a card that is not here"
        return [Check(what, "skipped", why=why)]
    if again is None:
        return [Check(what, "fail", why=f"{FACTS} does not say what it shows")]
    recorded, here = (np.asarray(picture, dtype=np.int16) for picture in (open_image(path), again.grid()))
    if recorded.shape != here.shape:
        return [Check(what, "fail", str(recorded.shape), str(here.shape), why="another number or size of images")]
    share = float((np.abs(recorded - here) <= NEAR).mean())
    why = "the weights do not make this picture"
    return [held(what, share >= SHARE, f">= {SHARE:.0%}", f"{share:.2%}", f"{NEAR}/255", why)]


def _drawn_again(model: Model, facts: Facts, path: Path) -> Images | None:
    """The picture from what made it. One that shows images of a data set holds them: its first and its last row."""
    if not facts.picture_credit:
        return pictures.picture(model, facts.picture_inputs, facts.picture_rows)
    sheet, size = open_image(path), model.preparation.size
    inputs, _, targets = Images.of_grid(sheet, size, (sheet.width + 2) // (size + 2), rows=3).chunk(3)
    return pictures.pairs(model, inputs, targets, facts.picture_credit)


def golden(card: Card) -> list[Check]:
    recorded, again = card.facts.golden, pictures.golden(card.model)
    if again and not recorded:
        return [Check("golden", "skipped", why=f"none are recorded; {card.remedy} them")]
    return [_same_values(f"golden {key}", recorded.get(key), again.get(key)) for key in recorded | again]


def _same_values(what: str, recorded: list[float] | None, again: list[float] | None) -> Check:
    """Compared where they are furthest apart."""
    if recorded is None or again is None:
        return Check(what, "fail", why="not in the record" if recorded is None else "the model gives no such result")
    if len(recorded) != len(again):
        return Check(what, "fail", f"{len(recorded)} values", f"{len(again)} values")
    ours, theirs = (torch.tensor(values, dtype=torch.float64) for values in (recorded, again))
    apart = (ours - theirs).abs()
    tolerance = float(f"{max(GOLDEN_TOLERANCE * ours.abs().max().item(), ROUND_OFF):.3g}")
    k = int(apart.argmax())  # a NaN counts as the largest
    return held(
        what, apart[k].item() <= tolerance, recorded[k], again[k], tolerance, "the weights do not give this result"
    )


def cost(card: Card) -> list[Check]:
    if not card.facts.costs:
        return [Check("cost", "skipped", why=f"none is recorded; {card.remedy} it")]
    truth = {
        "parameters": sum(p.numel() for p in card.model.module.parameters()),
        "bytes": (card.folder / WEIGHTS).stat().st_size,
    }
    return [
        held(f"cost {key}", said == value, said, value, why=f"in the record of {cost.machine}")
        for cost in card.facts.costs
        for key, value in truth.items()
        for said in (getattr(cost, key),)
    ]


def shipped(card: Card) -> list[Check]:
    """Of a judge's card: its moments of real images, which the checks of other cards rest on."""
    if "features" not in card.model.spec.capabilities:
        return []
    if not features.read_statistics(card.folder, card.model):
        return [Check("statistics", "skipped", why=f"the card ships none; {card.remedy} them")]
    return [Check("statistics", "pass")]


def references(card: Card) -> list[Check]:
    references = dict.fromkeys(metric.reference for metric in card.facts.metrics if metric.reference)
    return [check for reference in references for check in _reference(card, reference)]


def untouched(card: Card) -> list[Check]:
    """What is left out is said."""
    n = len(card.facts.metrics)
    why = f"{n} of them on {card.facts.data}: --data measures them again" if n else ""
    return [Check("figures", "skipped", why=why or f"none are recorded; {card.remedy} them")]


def _reference(card: Card, reference: Reference) -> list[Check]:
    """What a distance was measured with is still what it was, and the distance comes out again."""
    what, folder = f"reference {reference.backbone}", _judge(card, reference.backbone)
    if folder is None:
        return [Check(what, "skipped", why="its backbone is no card that is here; --data measures with it again")]
    judge = load(folder, device=str(card.model.device))
    digest = judge.sha256
    same = held(
        f"{what} weights",
        digest == reference.weights,
        reference.weights[:12],
        digest[:12],
        why=f"the figures are another judge's; {card.remedy} them anew",
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
    """Why a distance cannot be found again from samples and shipped moments alone; empty if it can."""
    if distance is None:
        return "no Fréchet distance is recorded beside the other figures"
    if "sample" not in card.model.spec.capabilities:
        return "translations of test images need them: --data measures again"
    if not shipped and cards.read_facts(folder).training is None:
        return f"{folder.name} ships no moments of real images: --data measures again"
    if not shipped:
        return f"{folder.name} ships none: 'zoo evaluate {folder.name} --write' adds them"
    theirs = cards.read_facts(folder).data
    if distance.data != theirs:
        return f"measured on {distance.data}, and {folder.name} ships those of {theirs}: --data measures again"
    return ""


def _distance(
    metric: Metric, reference: Reference, judge: Model, samples: torch.Tensor, real: Statistics | None, same: bool
) -> list[Check]:
    """The moments of the real images are those of the record; if they and the judge are, the distance is repeated."""
    what = f"reference {reference.backbone} statistics"
    if real is None:
        return [Check(what, "fail", reference.statistics[:12], why=f"{judge.name} ships none of this kind of image")]
    known = held(
        what,
        real.sha256 == reference.statistics,
        reference.statistics[:12],
        real.sha256[:12],
        why="the figures were measured against other real images than those that the judge's card ships",
    )
    if not (same and known.state == "pass"):
        return [known, Check(metric.name, "skipped", why="the judge or its statistics are not those of the record")]
    ours = features.statistics(features.of_judge(judge)(samples))
    found = frechet_distance(ours.mean, ours.covariance, real.mean, real.covariance)
    tolerance = rounded(FIGURE_TOLERANCE * abs(metric.value))
    good = abs(found - metric.value) <= tolerance
    return [known, held(metric.name, good, metric.value, rounded(found), tolerance, "the samples are not this far")]


def _judge(card: Card, backbone: str) -> Path | None:
    """The folder of the judge of that name: the one that was given, or a bundled card."""
    if card.judge is not None and read_config(card.judge).name == backbone:
        return card.judge
    return hub.bundled().get(backbone)


# --- with data


def again(card: Card, data: str | Path) -> list[Check]:
    """Every figure against itself, measured anew as it was then."""
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
    if missing:  # then features of the default judge were compared, which is not what the card tells of
        measured = [metric for metric in measured if metric.reference is None]
    again = {metric.name: metric for metric in measured}
    for metric in recorded:
        skip = missing and metric.reference is not None
        what = f"figure {metric.name}"
        found.append(Check(what, "skipped", why=missing) if skip else _figure(what, metric, again.get(metric.name)))
    extra = again.keys() - {metric.name for metric in recorded}
    why = f"not in the record; {card.remedy} it"
    return found + [Check(f"figure {name}", "fail", "", again[name].value, why=why) for name in sorted(extra)]


def _obtain(backbone: str, device: torch.device) -> tuple[str | None, str]:
    """A backbone's name, or why it cannot be had here."""
    try:
        features.find_backbone(backbone, device)
    except InputError as error:
        return None, str(error)
    return backbone, ""


def _figure(what: str, recorded: Metric, again: Metric | None) -> Check:
    """One figure and its floor, within 2 % or the standard error."""
    if again is None:
        return Check(what, "fail", recorded.value, why="the card's figures do not include it any more")
    tolerance = rounded(max(FIGURE_TOLERANCE * abs(recorded.value), recorded.uncertainty or 0.0))
    faults = []
    if not abs(again.value - recorded.value) <= tolerance:
        faults.append("the model does not reach it")
    if again.n != recorded.n:
        faults.append(f"measured on {again.n} images, not on {recorded.n}")
    if not _same_floor(recorded, again):
        faults.append(f"the floor is {again.floor}, the record says {recorded.floor}")
    return held(what, not faults, recorded.value, again.value, tolerance, "; ".join(faults))


def _same_floor(recorded: Metric, again: Metric) -> bool:
    if recorded.floor is None or again.floor is None:
        return recorded.floor == again.floor
    # Of training images in the samples' place, and so with about the figure's own standard error.
    allowed = max(FIGURE_TOLERANCE * abs(recorded.floor), recorded.uncertainty or 0.0)
    return abs(again.floor - recorded.floor) <= allowed


def _shipped_again(card: Card, data: str | Path, seed: int) -> list[Check]:
    """Of a judge's card: the moments that it ships are those of the data."""
    if "features" not in card.model.spec.capabilities or card.facts.training is None:
        return []
    shipped = features.read_statistics(card.folder, card.model)
    columns, preparation = card.facts.training.columns, card.model.preparation
    test = load_dataset(data, preparation, split="test", columns=columns, progress=card.progress)
    here = moments(Bench(card.model, test, test, test.source, seed, card.progress)) if shipped else {}
    return [
        held(
            f"statistics {kind}",
            part.agrees(here[kind]),
            part.sha256[:12],
            here[kind].sha256[:12],
            why=f"they are not of these test images; {card.remedy} them anew",
        )
        for kind, part in shipped.items()
    ]
