"""The tables of figures in README.md and docs/figures.md, made from the cards' records; --check only compares.

python benchmarks/figures.py [--check]
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from zoo.card.facts import Facts, Metric, beside_it, figure, megabytes, read_facts, words
from zoo.evaluation.figures import SECOND
from zoo.family.config import validate
from zoo.family.registry import registry
from zoo.family.spec import ModelSpec
from zoo.files import read_json
from zoo.hub.places import bundled

ROOT = Path(__file__).resolve().parent.parent
ANCHORS = ROOT / "docs" / "anchors"
"""Records of runs that others are measured by, and whose weights are not shipped."""
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"

SETS = ("fd", "kd", "precision", "recall", "density", "coverage", f"fd-{SECOND}", f"kd-{SECOND}")
"""Figures of a set of images in a judge's features; fd and kd are followed by the judge's name. Last those in the
features of a second network."""
SLICED = "sliced_wasserstein"
REST = (SLICED, "sharpness", "nearest_neighbour_ratio")
"""Beside them, each relative to the data at the model's own size; so the floor of the first differs by row."""
LIKELIHOODS = ("log_likelihood", "bits_per_dim", "elbo", "bits_per_dim_bound", "importance_weighted_bound")
TRANSLATED = ("l1", "ssim", "cycle_l1", "attributes_kept", "arrived", "kept", "identity_l1")

BUDGETS = (
    "Seconds a step are processor seconds of one thread on a rented Xeon, measured while its other core was busy "
    "(the last column of `OMP_NUM_THREADS=1 python benchmarks/training.py`). "
    "Hours are these times the steps. A card with other steps than its recipe's was trained by an older "
    "recipe. Two steps of the ladder have been measured: PixelCNN went from -87.70 to "
    "-82.77 nats with twice the images, four more blocks and a bias of positions; DCGAN went from fd "
    "21.8 to 12.33 with two and a half times the steps, both measured with the judge of faces of that time."
)

Records = dict[str, Facts]
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def records() -> Records:
    """The facts of every bundled card that was trained here, and the anchors'."""
    every = {name: read_facts(folder) for name, folder in bundled().items()}
    found = {name: facts for name, facts in every.items() if facts.training}
    for path in sorted(ANCHORS.glob("*.json")):
        found[path.stem] = validate(Facts, read_json(path), str(path))
    return found


def metrics(facts: Facts) -> dict[str, Metric]:
    """By name; a distance in a judge's features by its kind alone, one in the second network's by its whole name."""

    def key(name: str) -> str:
        return name.partition("-")[0] if name.startswith(("fd-", "kd-")) and not name.endswith(SECOND) else name

    return {key(m.name): m for m in facts.metrics}


def groups(found: Records) -> dict[str, Records]:
    """Records that may stand in one table, by its title: measured against the same real images by the same judge."""
    grouped: dict[str, Records] = {}
    for name, facts in found.items():
        distance = metrics(facts).get("fd")
        if distance is not None and distance.reference is not None:
            reference = distance.reference
            seen = (reference, distance.n, distance.seed)
            by_the_judge = [m for m in facts.metrics if m.reference and m.reference.backbone == reference.backbone]
            if any((m.reference, m.n, m.seed) != seen for m in by_the_judge):
                raise SystemExit(f"{name}: its figures were measured against several references; evaluate it again")
            title = (
                f"{distance.data}: {distance.n} images of each model against {reference.n} test images, features of "
                f"{reference.backbone} (statistics {reference.statistics[:8]}), seed {distance.seed}"
            )
            grouped.setdefault(title, {})[name] = facts
    best_first = {
        title: dict(sorted(part.items(), key=lambda item: metrics(item[1])["fd"].value))
        for title, part in grouped.items()
    }
    return dict(sorted(best_first.items()))


def sets(part: Records, names: Sequence[str], link: str = "{0}") -> Table:
    """One group: what training images in the samples' place come to, then the models, the nearest first.

    link: how a card is named, where the page can lead to it.
    """
    rows: list[Sequence[str]] = [["*training images*", "", "", *(_floor(part, name) for name in names)]]
    for card, facts in part.items():
        seen = f"{facts.training.steps * facts.training.batch_size / 1000:,.0f}k"
        family = _family(facts)
        label = named(card, link) if "sample" in family.capabilities else f"{named(card, link)}, translations"
        rows.append([label, family.name, seen, *(_value(metrics(facts).get(name)) for name in names)])
    heads = (f"{words(name)} (floor)" if name == SLICED else words(name) for name in names)
    return ["", "family", "images trained on", *heads], rows


def _floor(part: Records, name: str) -> str:
    """Of all records that have one: the same measurement, so the same number. SystemExit if it is not."""
    if name == SLICED:
        return "–"
    found = {m.floor for facts in part.values() for m in [metrics(facts).get(name)] if m and m.floor is not None}
    if len(found) > 1:
        raise SystemExit(f"{name}: cards of one group have several floors: {sorted(found)}; evaluate them again")
    return f"{found.pop():.4g}" if found else "–"


def _value(metric: Metric | None) -> str:
    if metric is None:
        return "–"
    floor = f" ({metric.floor:.4g})" if metric.name == SLICED and metric.floor is not None else ""
    return figure(metric) + floor


def listed(found: Records, wanted: Iterable[str]) -> Table:
    """Figures one a row, with what may be compared."""
    prefixes = tuple(wanted)
    rows = [
        (named(card), words(m.name), figure(m), beside_it(m) or "–", f"{m.n:,}")
        for card, facts in found.items()
        for m in facts.metrics
        if m.name.startswith(prefixes)
    ]
    return ("card", "figure", "value", "beside it", "images"), rows


def likelihoods(found: Records) -> Table:
    """With how each was measured: exact or a bound, with how many draws, and of what, for nats of binary images and of
    8-bit ones do not compare."""
    rows = [
        (named(card), words(m.name), figure(m), m.protocol, beside_it(m) or "–", f"{m.n:,}")
        for card, facts in found.items()
        for m in facts.metrics
        if m.name.startswith(LIKELIHOODS)
    ]
    return ("card", "figure", "value", "how", "beside it", "images"), rows


def budgets(found: Records) -> Table:
    """What each recipe asks for, the cheapest first, and what the card that is here had of it."""
    rows = []
    for recipe in sorted((recipe for _, recipe in registry().recipes.values()), key=lambda recipe: recipe.hours):
        steps, card = recipe.train["steps"], "none yet"
        if recipe.name in bundled():
            had = found[recipe.name].training.steps
            card = f"{had:,}" if had == steps else f"{had:,} (by an older recipe)"
        rows.append((recipe.name, f"{recipe.step_seconds:g}", f"{steps:,}", f"{recipe.hours:.1f}", card, recipe.larger))
    return ("recipe", "seconds a step", "steps", "hours", "steps of the card here", "with a GPU, not tried"), rows


def costs(found: Records) -> Table:
    rows = [
        (named(card), f"{c.parameters:,}", megabytes(c.bytes), megabytes(c.memory), f"{c.seconds:.2g}", c.machine)
        for card, facts in found.items()
        if card in bundled()
        for c in facts.costs
    ]
    return ("card", "parameters", "weights", "peak memory", "seconds for 16", "machine"), rows


def named(card: str, link: str = "{0}") -> str:
    """An anchor, which has no card, is set apart."""
    return link.format(card) if card in bundled() else f"*{card}*"


def render(table: Table) -> str:
    heads, rows = table
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def summary(found: Records) -> str:
    """For the README: the headline of each group."""
    headline = ("fd", "precision", "recall", "sharpness")
    link = "[{0}](cards/{0})"
    return "\n\n".join(f"{title}:\n\n{render(sets(part, headline, link))}" for title, part in groups(found).items())


def everything(found: Records) -> str:
    """For the page of figures."""
    makers = {name: facts for name, facts in found.items() if _family(facts).name != "judge"}
    conditional = {name: facts for name, facts in makers.items() if name in bundled()}
    parts = ["## Sets of images"]
    parts += [f"{title}:\n\n{render(sets(part, SETS + REST))}" for title, part in groups(found).items()]
    parts += ["## Likelihoods", render(likelihoods(makers))]
    accuracies = ("class_accuracy", "swap_accuracy", "category_", "attribute_accuracy")
    parts += ["## What was asked for", render(listed(conditional, accuracies)), "## Translations"]
    parts += [render(listed(makers, TRANSLATED)), "## Judges"]
    parts += [render(listed({k: v for k, v in found.items() if k not in makers}, ["accuracy"]))]
    parts += ["## Costs", render(costs(found)), "## Budgets", BUDGETS, render(budgets(found))]
    return "\n\n".join(parts)


def _family(facts: Facts) -> ModelSpec:
    return registry().recipe(facts.training.recipe)[0]


def between(text: str, block: str) -> str:
    """The text with the block between its two marks."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or not tail:
        raise SystemExit(f"the marks {BEGIN} and {END} are missing")
    return f"{head}{BEGIN}\n\n{block}\n\n{END}{tail}"


def main() -> None:
    found, stale = records(), []
    for path, block in ((ROOT / "README.md", summary(found)), (ROOT / "docs" / "figures.md", everything(found))):
        text = path.read_text(encoding="utf-8")
        if between(text, block) != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(between(text, block), encoding="utf-8")
    if "--check" in sys.argv and stale:
        sys.exit(f"not what the records say: {', '.join(stale)}; python benchmarks/figures.py writes them")


if __name__ == "__main__":
    main()
