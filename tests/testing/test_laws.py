"""Every installed family obeys every law, and a family that breaks one is caught by that one."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from bad_families import model as models
from bad_families.model import Good
from pydantic import BaseModel, ConfigDict, Field, create_model

import zoo
from zoo.family.registry import registry
from zoo.testing import LAWS, BrokenLaw, Case, check_family, check_law, judge, laws_of, report

CASES = {family: Case(spec) for family, spec in registry().specs.items()}
JUDGED = [
    pytest.param(family, law.name, id=f"{family}-{law.slug}")
    for family, case in CASES.items()
    for law in laws_of(case.spec, optional=())
]


@pytest.mark.parametrize(("family", "law"), JUDGED)
def test_an_installed_family_obeys(family: str, law: str) -> None:
    check_law(CASES[family], law)


class Heavy(Good):
    """A good model, but in a module that imports torch and holds the spec as well."""


GOOD = zoo.ModelSpec(
    name="good",
    title="Good",
    summary="a family that keeps every law",
    paper="https://example.org/good",
    task="unconditional-image-generation",
    module="bad_families.model:Good",
    train="bad_families.model:train",
    capabilities=("sample",),
    batch="images",
    tiny={"image_size": 8},
)


def family(kind: str, **changes: Any) -> zoo.ModelSpec:
    """The good family with another model."""
    return replace(GOOD, **{"name": "bad", "module": f"bad_families.model:{kind}"} | changes)


COMPLETES = ("sample", "complete")
SCORES = ("sample", "log_prob")
FLOWS = (*SCORES, "encode", "decode", "elbo")
LABELLED = "labelled"


def density(kind: str, capabilities: tuple[str, ...] = SCORES, size: int = 4, **changes: Any) -> zoo.ModelSpec:
    """A family that trains on its likelihood."""
    train = "bad_families.model:likelihood_train"
    return family(kind, capabilities=capabilities, train=train, tiny={"image_size": size}, **changes)


ORDERED = {"tags": ("autoregressive",)}


@pytest.mark.parametrize(
    "spec",
    [
        GOOD,
        family("GoodLabelled", batch=LABELLED),
        family("GoodCompleter", capabilities=COMPLETES),
        density("Autoregressive", **ORDERED),
        density("Flow"),
        density("GoodFlow", FLOWS),
    ],
    ids=["plain", "labelled", "completer", "autoregressive", "density", "flow"],
)
def test_a_good_family_obeys_all(spec: zoo.ModelSpec) -> None:
    check_family(spec)


BAD = {
    "invalid spec": (family("Good", task="painting"), "spec is valid", "painting"),
    "heavy spec": (family("", module="test_laws:Heavy"), "spec is light", "test_laws imports torch"),
    "unbounded config": (
        family("Unbounded"),
        "config is closed and bounded",
        "Config.hidden lacks a lower or an upper bound",
    ),
    "setting of the run": (
        family("Good", train="bad_families.model:jittering_train"),
        "the loop takes no setting of the run",
        "bad_families.model:jittering_train: the argument 'jitter' has the name of the run's setting 'jitter'",
    ),
    "undeclared capability": (family("UndeclaredEncoder"), "capabilities are declared both ways", "encode"),
    "missing capability": (family("Good", capabilities=COMPLETES), "capabilities are declared both ways", "complete"),
    "idle parameter": (family("IdleParameter"), "every parameter moves in training", "idle did not change"),
    "unsaved state": (family("UnsavedState"), "saving and loading changes no bit", "sample gives other results"),
    "range": (family("OutOfRange"), "outputs have their shape and range", "outside [0, 1]: from -0"),
    "shape": (family("WrongShape"), "outputs have their shape and range", "shape (4, 1, 8, 8), expected (4, 3, 8, 8)"),
    "no randomness": (family("IgnoresNoise"), "the same seed gives the same and another does not", "for another seed"),
    "batch statistics": (family("BatchStatistics"), "no image depends on its batch", "in a batch of 1"),
    "global random state": (family("OwnSeeds"), "inference leaves no trace", "global random state"),
    "other latents": (
        family("SamplesElsewhere", capabilities=("sample", "latents", "decode")),
        "decoding the latents of a seed gives its samples",
        "differ",
    ),
    "counter": (family("CountsItsCalls"), "inference leaves no trace", "calls changed during inference"),
    "precision": (family("NeedsPrecision"), "bfloat16 is close", "on average in bfloat16"),
    "unregistered optimizer": (
        family("Good", train="bad_families.model:forgetful_train"),
        "a resumed run equals one that never stopped",
        "differs after a resume",
    ),
    "impatience": (
        family("Good", train="bad_families.model:impatient_train"),
        "a step does not wait for the device",
        "__bool__() reads from the device at model.py:",
    ),
    "ignored condition": (
        family("DeafToLabel", batch=LABELLED),
        "conditions change the output",
        "result for every label",
    ),
    "painting over": (family("PaintsOver", capabilities=COMPLETES), "completion keeps what was given", "changed"),
    "peeking": (family("Peeks", capabilities=COMPLETES), "completion does not see what is missing", "other results"),
    "constant": (density("OffByAConstant"), "the density sums to one", "of all 512 images of 1x3x3 have the sum 1.105"),
    "cells": (density("ForgetsTheCells"), "the density sums to one", "density over the unit cube is"),
    "temperature": (density("CoolSampler"), "sampling agrees with the density", "chi-square is"),
    "a look ahead": (
        density("SeesTheNext", size=5, **ORDERED),
        "an autoregressive model has an order",
        "nats for a sample, but its noise gives",
    ),
    "a circle": (
        density("GoesInACircle", size=5, **ORDERED),
        "an autoregressive model has an order",
        "in a circle",
    ),
    "no inverse": (density("ForgetsToMoveBack", FLOWS), "decode undoes encode", "decode(encode(x)) differs from x"),
    "determinant": (
        density("ForgetsTheDeterminant", FLOWS),
        "log prob is a change of variables",
        "nats from log N(z; 0, I) + log |det dz/dx| - 16 ln 256",
    ),
    "no bound": (density("PromisesTooMuch", FLOWS), "the elbo lies below log prob", "nats above log_prob"),
    "hoard": (family("Hoards"), "repeated calls keep no memory", "left 3 tensors and 192 bytes in memory"),
    "desk": (family("SharesItsDesk"), "threads do not disturb each other", "if other threads call it too"),
    "device": (family("OtherOnADevice"), "a gpu gives what the cpu gives", "on average on the device cpu:0"),
    "compiler": (family("OtherWhenCompiled"), "compiling changes nothing", "on average with torch.compile"),
    "hash": (
        family("Good", train="bad_families.model:hashing_train"),
        "a killed run resumes to the same bits",
        "differs after 2 kills and resumes",
    ),
}


@pytest.fixture
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a GPU, a device of another name; for the compiler, its first stage, which takes no minute."""
    monkeypatch.setattr("zoo.testing.inference.accelerator", lambda: "cpu:0")
    monkeypatch.setattr("zoo.testing.inference.COMPILER", "eager")


@pytest.mark.parametrize(("spec", "law", "message"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("_stand_ins")
def test_a_bad_family_breaks_one_law_and_no_other(spec: zoo.ModelSpec, law: str, message: str) -> None:
    """And no optional one, of which the slow ones are tried on theirs alone."""
    found = {result.law: result.message for result in report(spec, {"gpu", LAWS[law].mark}) if result.state == "broken"}
    assert list(found) == [law], found
    assert found[law].startswith(f"bad breaks the law '{law}': ")
    assert message in found[law]
    assert LAWS[law].remedy in found[law]


def test_there_is_a_bad_family_for_every_law() -> None:
    assert {law for _, law, _ in BAD.values()} == set(LAWS)


LOOKING = family("Good", train="bad_families.model:looking_train")
LAW_OF_WAITING = "a step does not wait for the device"


@pytest.mark.parametrize(
    "look",
    [
        models.toss,
        lambda loss: torch.randint(9, ()).tolist(),
        lambda loss: loss[None].to(torch.bfloat16),
        lambda loss: loss.new_zeros(3)[torch.zeros(2, dtype=torch.long, device=loss.device)],
        lambda loss: torch.where(loss > 1, loss, 0 * loss),
        lambda loss: torch.rand(3).to(loss.device, non_blocking=True),
    ],
    ids=["toss", "host list", "cast", "index", "where", "quick copy"],
)
def test_what_stays_on_its_side_does_not_wait(look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "look", look)
    check_law(Case(LOOKING), LAW_OF_WAITING)


@pytest.mark.parametrize(
    ("look", "complaint"),
    [
        (lambda loss: loss.item(), "item() reads from the device at test_laws.py:"),
        (lambda loss: float(loss.detach()), "__float__() reads"),
        (lambda loss: f"{loss.detach():.3f}", "__format__() reads"),
        (lambda loss: loss.detach().cpu(), "cpu() reads"),
        (lambda loss: loss.detach().to("cpu"), "to() reads"),
        (lambda loss: (loss + torch.rand(())).tolist(), "tolist() reads"),
        (lambda loss: (loss > 0)[None].nonzero(), "nonzero() has a shape"),
        (lambda loss: torch.where(loss[None] > 0), "where() has a shape"),
        (lambda loss: loss[None][loss[None] > 0], "a mask as an index"),
        (lambda loss: loss[None][[0]], "an index from the host"),
        (lambda loss: loss[None][torch.zeros(1, dtype=torch.long)], "an index from the host"),
        (lambda loss: torch.tensor([1.0], device=loss.device), "tensor(...) copies numbers"),
        (lambda loss: torch.rand(3).to(loss.device), "to() copies to the device and waits"),
        (lambda loss: torch.zeros(()).copy_(loss.detach()), "copy_() waits for a copy between host and device"),
        (lambda loss: torch.ones(3)[: (0 * loss).long()], "a bound of a slice is read"),
    ],
)
def test_every_way_to_wait_is_seen(look: Any, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "look", look)
    with pytest.raises(BrokenLaw, match=re.escape(complaint)):
        check_law(Case(LOOKING), LAW_OF_WAITING)


def test_check_family_names_all_broken_laws_at_once() -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_family(family("OutOfRange", title=""))
    assert str(caught.value).startswith("2 laws are broken")
    assert "bad breaks the law 'spec is valid'" in str(caught.value)
    assert "bad breaks the law 'outputs have their shape and range'" in str(caught.value)


def test_a_broken_law_says_where_the_family_breaks_it() -> None:
    """The method that the law is about, or the very line that raised."""

    def shown(spec: zoo.ModelSpec, law: str) -> tuple[str, str]:
        found = re.search(r"\n  at (.*):(\d+), (.*)\n", judge(Case(spec), LAWS[law]).message)
        assert found
        return Path(found[1]).read_text().splitlines()[int(found[2]) - 1].strip(), found[3]

    definition = "def log_prob(self, x: Tensor) -> Tensor:"
    assert shown(*BAD["determinant"][:2]) == (definition, "Flow.log_prob")
    assert shown(*BAD["impatience"][:2])[1] == "impatient_train"
    assert shown(*BAD["unbounded config"][:2]) == ("class Config(Good.Config):", "Unbounded.Config")
    line = "return self(noise.normal(4) @ torch.ones(3, 3))"
    assert shown(family("Stumbles"), "outputs have their shape and range") == (line, "in sample")


def test_a_law_that_cannot_be_looked_at_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.testing.inference.accelerator", lambda: None)
    found = {result.law: result for result in report(density("Flow"), optional=["gpu"])}
    assert {law for law, result in found.items() if result.state == "skipped"} == {
        "a gpu gives what the cpu gives",
        "sampling agrees with the density",
    }
    assert found["a gpu gives what the cpu gives"].message == "this machine has no CUDA device"
    assert found["sampling agrees with the density"].message == "even its smallest images are too many to list"


def test_every_law_has_its_part_of_the_page() -> None:
    """With the code that checks it; what it needs is said as the law itself has it."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "laws.md").read_text()
    found = re.findall(r"^### ([^\n]*)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    parts = {title.lower(): part for title, part in found}
    assert parts.keys() == LAWS.keys()
    for law in LAWS.values():
        part = parts[law.name]
        assert f"::: {law.check.__module__}.{law.check.__name__}\n" in part
        families = " ".join(re.findall(r"^For families with [^.]*", part, re.MULTILINE))
        assert [name for name in law.needs if f"`{name}`" not in families] == []
        wanted = [f"tag `{law.tag}`"] * bool(law.tag) + [f"`--zoo-optional {law.mark}`"] * bool(law.mark)
        assert all(words in part for words in wanted), wanted


@pytest.mark.parametrize(
    ("field", "complaint"),
    [
        (Annotated[int, Field(ge=1)], "Config.knob lacks a lower or an upper bound"),
        (Annotated[float, Field(le=1)], "Config.knob lacks a lower or an upper bound"),
        (int | None, "Config.knob lacks a lower or an upper bound"),
        (str, "Config.knob takes any text"),
        (Annotated[tuple[int, ...], Field(max_length=3)], r"Config.knob\[\] lacks a lower or an upper bound"),
        (tuple[Annotated[int, Field(ge=1, le=9)], ...], "Config.knob may have any length"),
        (dict[str, bool], "Config.knob takes unknown keys"),
        (Any, "Config.knob takes a value of any type"),
        (create_model("Part", size=(int, 1), __base__=zoo.Config), "Config.Part.size lacks a lower or an upper bound"),
    ],
    ids=str,
)
def test_a_config_without_an_end_is_found(field: Any, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = create_model("Config", knob=(field, None), __base__=Good.Config)
    monkeypatch.setattr(models, "Bad", type("Bad", (Good,), {"Config": config}), raising=False)
    with pytest.raises(BrokenLaw, match=complaint):
        check_law(Case(family("Bad")), "config is closed and bounded")


def test_an_open_config_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    config = create_model("Config", __base__=type("Open", (BaseModel,), {"model_config": ConfigDict(extra="allow")}))
    monkeypatch.setattr(models, "Bad", type("Bad", (Good,), {"Config": config}), raising=False)
    with pytest.raises(BrokenLaw, match=re.escape("derive it from zoo.Config")):
        check_law(Case(family("Bad")), "config is closed and bounded")


def test_the_laws_leave_the_random_state_to_the_caller() -> None:
    """Training seeds the process, as it must; looking at a family must not."""
    state = torch.get_rng_state()
    for law in ("inference leaves no trace", "the same seed gives the same and another does not", "bfloat16 is close"):
        check_law(Case(GOOD), law)
    assert torch.equal(torch.get_rng_state(), state)
