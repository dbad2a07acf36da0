"""The tables of figures say what the records say, and compare only what may be compared."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from zoo.card.config import read_config
from zoo.card.facts import Facts, Metric, Reference, Training, figure
from zoo.hub.places import bundled

ROOT = Path(__file__).resolve().parents[2]


def load() -> Any:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "benchmarks" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


figures = load()


def facts(distance: float, floor: float = 1.5, statistics: str = "aa", recipe: str = "dcgan-celeba") -> Facts:
    reference = Reference(backbone="judge-drawn", weights="c" * 64, resize="none", statistics=statistics * 32, n=900)
    common: dict[str, Any] = {"data": "made/faces", "split": "test", "n": 300, "seed": 0, "protocol": "as told"}
    training = Training(
        recipe=recipe, data="made/faces", split="train", images=99, steps=2000, batch_size=50, passes=1, seconds=1,
        device="CPU", precision="float32", seed=0, settings={}, software={},
    )  # fmt: skip
    return Facts(
        summary="Made up.",
        license="mit",
        data_terms="None.",
        limits=[],
        training=training,
        metrics=[
            Metric(name="fd-judge-drawn", value=distance, better="lower", floor=floor, reference=reference, **common),
            Metric(name="precision", value=0.625, uncertainty=0.03, better="higher", floor=0.75, **common),
            Metric(name="elbo", value=-89.25, uncertainty=0.5, unit="nats", better="higher", **common),
        ],
    )


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_a_table_begins_with_the_floor_and_goes_from_the_nearest_to_the_farthest() -> None:
    ((title, part),) = figures.groups({"far": facts(30), "near": facts(10), "between": facts(20)}).items()
    rows = cells(figures.render(figures.sets(part, ("fd", "precision", "recall"))))
    assert [row[0] for row in rows[2:]] == ["*training images*", "*near*", "*between*", "*far*"]
    assert rows[2] == ["*training images*", "", "", "1.5", "0.75", "–"]
    assert rows[3] == ["*near*", "dcgan", "100k", "10", "0.625 ± 0.03", "–"]
    assert "300 images of each model against 900 test images, features of judge-drawn" in title


def test_what_was_measured_against_other_images_stands_in_a_table_of_its_own() -> None:
    found = figures.groups({"one": facts(10), "other": facts(20, statistics="bb"), "third": facts(5)})
    assert sorted(sorted(part) for part in found.values()) == [["one", "third"], ["other"]]


def test_records_that_differ_in_what_must_be_the_same_are_not_put_together() -> None:
    ((_, part),) = figures.groups({"one": facts(10), "other": facts(20, floor=1.6)}).items()
    with pytest.raises(SystemExit, match="several floors"):
        figures.sets(part, ("fd",))


def test_a_row_whose_figures_have_several_references_is_refused() -> None:
    made = facts(10)
    distance, precision, elbo = made.metrics
    assert distance.reference is not None
    other = distance.reference.model_copy(update={"statistics": "bb" * 32})
    for metric in (
        precision.model_copy(update={"reference": other}),
        precision.model_copy(update={"reference": distance.reference, "n": 200}),
        precision.model_copy(update={"reference": distance.reference, "seed": 1}),
    ):
        with pytest.raises(SystemExit, match="several references"):
            figures.groups({"one": made.model_copy(update={"metrics": [distance, metric, elbo]})})
    same = precision.model_copy(update={"reference": distance.reference})
    assert len(figures.groups({"one": made.model_copy(update={"metrics": [distance, same, elbo]})})) == 1


def test_what_is_measured_at_the_models_own_size_has_its_own_floor_beside_it() -> None:
    small, large = facts(20), facts(10)
    for made, value, floor in ((small, 49.9, 13.5), (large, 16.7, 12.1)):
        metric = made.metrics[1].model_copy(
            update={"name": "sliced_wasserstein", "value": value, "floor": floor, "uncertainty": None}
        )
        made.metrics.append(metric)
    ((_, part),) = figures.groups({"small": small, "large": large}).items()
    heads, rows = figures.sets(part, ("sliced_wasserstein",))
    assert heads[-1] == "sliced wasserstein (floor)"
    assert [row[-1] for row in rows] == ["–", "16.7 (12.1)", "49.9 (13.5)"]


def test_cards_are_linked_where_the_page_can_lead_to_them_and_anchors_nowhere() -> None:
    card = next(iter(bundled()))
    part = {card: facts(10), "an-anchor": facts(20)}
    assert [row[0] for row in figures.sets(part, ("fd",), "[{0}](cards/{0})")[1][1:]] == [
        f"[{card}](cards/{card})",
        "*an-anchor*",
    ]


def test_translations_are_told_from_samples() -> None:
    part = {"artist": facts(10, recipe="pix2pix-edges2celeba"), "painter": facts(20)}
    assert [row[0] for row in figures.sets(part, ("fd",))[1][1:]] == ["*artist*, translations", "*painter*"]


def test_likelihoods_are_listed_with_what_they_are_measured_on() -> None:
    rows = cells(figures.render(figures.likelihoods({"one": facts(10)})))
    assert rows[2:] == [["*one*", "elbo", "-89.25 ± 0.5 nats", "as told", "–", "300"]]


def test_only_what_is_between_the_marks_is_replaced() -> None:
    text = f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n"
    assert figures.between(text, "new") == f"before\n{figures.BEGIN}\n\nnew\n\n{figures.END}\nafter\n"
    with pytest.raises(SystemExit, match="missing"):
        figures.between("no marks", "new")


def test_readme_and_docs_say_what_the_records_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["figures.py", "--check"])
    figures.main()


def test_every_number_of_the_tables_is_in_a_record() -> None:
    found = figures.records()
    text = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8").partition(figures.BEGIN)[2]
    said = {figure(metric) for facts in found.values() for metric in facts.metrics}
    floors = {f"{metric.floor:.4g}" for facts in found.values() for metric in facts.metrics if metric.floor is not None}
    sets, _, rest = text.partition("## Likelihoods")
    rows = [row for row in cells(sets) if row[0] not in ("", "---")]
    values = [cell for row in rows if row[0] != "*training images*" for cell in row[3:]]
    beside = [floor for value in values for floor in re.findall(r"\((.*)\)", value)]
    values = [value.partition(" (")[0] for value in values]
    values += [row[2] for row in cells(rest.partition("## Costs")[0]) if row[0] not in ("card", "---")]
    beside += [cell for row in rows if row[0] == "*training images*" for cell in row[3:]]
    assert values
    assert beside
    assert [value for value in values if re.search(r"\d", value) and value not in said] == []
    assert [value for value in beside if re.search(r"\d", value) and value not in floors] == []


def test_floors_of_one_data_set_and_size_agree_between_cards() -> None:
    """They are one measurement: training images against test images, whatever the model."""
    found: dict[tuple[Any, ...], set[str]] = {}
    records = figures.records()
    for name, folder in bundled().items():
        of = figures.metrics(records[name]) if name in records else {}
        statistics = of["fd"].reference.statistics if "fd" in of else ""
        for metric in of.values():
            if metric.floor is not None:
                size = None if metric.reference else read_config(folder).preparation.size
                key = (metric.name, metric.data, metric.n, metric.seed, statistics, size)
                found.setdefault(key, set()).add(f"{metric.floor:.4g}")
    assert found
    assert {key: floors for key, floors in found.items() if len(floors) > 1} == {}


def test_a_record_that_changes_makes_the_tables_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    found = figures.records()
    name = next(iter(found))
    changed = [metric.model_copy(update={"value": 0.12345}) for metric in found[name].metrics]
    found[name] = found[name].model_copy(update={"metrics": changed})
    monkeypatch.setattr(figures, "records", lambda: found)
    monkeypatch.setattr(sys, "argv", ["figures.py", "--check"])
    with pytest.raises(SystemExit, match="not what the records say"):
        figures.main()
