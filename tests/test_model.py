"""The handle: samples one batch at a time, images in parts, and what it says of a method that a model lacks."""

from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo import calling


@pytest.fixture
def digits() -> zoo.Model:
    return zoo.load("cvae-mnist", device="cpu")


@pytest.mark.parametrize("given", [{}, {"label": "7"}, {"label": list("70123")}])
def test_a_stream_gives_the_samples_of_one_call(digits: zoo.Model, given: dict[str, Any]) -> None:
    whole = digits.sample(5, seed=3, start=2, **given)
    parts = list(digits.stream(5, seed=3, start=2, batch_size=2, **given))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.allclose(torch.cat([part.tensor for part in parts]), whole.tensor, atol=1e-4)


def test_the_images_of_a_stream_know_their_number_and_their_own_labels(digits: zoo.Model, tmp_path: Path) -> None:
    first, second = digits.stream(3, seed=3, start=4, batch_size=2, label=list("701"))
    assert (first.info["label"], second.info["label"]) == ("['7', '0']", "['1']")
    assert first.info["seed"] == "3"
    second.save(tmp_path / "made")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["00006.png"]


def test_a_stream_makes_nothing_before_it_is_asked(digits: zoo.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the most that one call may return does not bound it."""
    monkeypatch.setattr(calling, "MAX_RESULT", 3 * 28 * 28 * 4)
    with pytest.raises(zoo.InputError, match="at most"):
        digits.sample(4, seed=0)
    assert len(next(digits.stream(10**6, seed=0, batch_size=3))) == 3


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"n": 2, "seed": -1}, {"n": 2, "start": -1}, {"n": 2, "batch_size": 0}, {"n": 2, "label": "x"}]
)
def test_a_wrong_stream_is_refused_at_once(digits: zoo.Model, wrong: dict[str, Any]) -> None:
    with pytest.raises(zoo.InputError):
        digits.stream(**wrong)


def test_images_given_in_parts_get_the_noise_of_one_call(digits: zoo.Model) -> None:
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)).round()
    mask = torch.zeros(28, 28, dtype=torch.bool)
    mask[:14] = True
    for method, given in ((digits.elbo, ()), (digits.complete, (mask,))):
        whole = method(x, *given, seed=5)
        last = method(x[2:], *given, seed=5, start=2)
        whole, last = (getattr(result, "tensor", result) for result in (whole, last))
        assert torch.allclose(last, whole[2:], atol=1e-3)
        assert not torch.allclose(getattr(method(x[2:], *given, seed=5), "tensor", last + 1), last, atol=1e-3)


def test_a_method_that_a_model_lacks_is_refused_with_cards_that_have_it(digits: zoo.Model) -> None:
    assert not hasattr(digits, "infer")
    with pytest.raises(zoo.CapabilityError, match=r"Cards that can: .*judge-") as error:
        digits.infer(None)
    assert "It has: sample, encode" in str(error.value)
    for name in str(error.value).partition("can: ")[2].partition(".")[0].split(", "):
        assert hasattr(zoo.load(name, device="cpu"), "infer")
