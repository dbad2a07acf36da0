"""What a card costs: true where it can be known, and measured in a process of its own."""

from pathlib import Path

import pytest
import torch

import zoo
from zoo.devices import machine
from zoo.evaluation import cost
from zoo.family.registry import registry
from zoo.testing import Case


def test_a_cost_is_measured_on_the_card_itself(tiny_card: Path) -> None:
    found = cost.cost(tiny_card, "cpu")
    assert found.parameters == sum(p.numel() for p in zoo.load(tiny_card).module.parameters())
    assert found.bytes == (tiny_card / "model.safetensors").stat().st_size
    assert 0 < found.seconds < 60
    assert found.memory > 50e6  # torch alone takes more
    assert found.machine == machine(torch.device("cpu"))  # the threads too


def test_a_card_that_does_not_load_has_no_cost_but_a_reason(tiny_card: Path) -> None:
    (tiny_card / "model.safetensors").unlink()
    with pytest.raises(zoo.ZooError, match=r"cost of the card could not be measured: .*no such file"):
        cost.cost(tiny_card, "cpu")


def test_the_memory_of_whoever_measures_is_not_counted(tiny_card: Path) -> None:
    held = torch.ones(800_000_000, dtype=torch.uint8)
    assert cost.cost(tiny_card, "cpu").memory < held.nbytes


def test_the_peak_is_that_of_the_process() -> None:
    before = cost.peak_memory(torch.device("cpu"))
    held = torch.ones(50_000_000)
    assert cost.peak_memory(torch.device("cpu")) >= before
    assert cost.peak_memory(torch.device("cpu")) > held.nbytes


@pytest.mark.parametrize("family", ["dcgan", "pix2pix", "judge"])
def test_sixteen_images_go_through_what_the_family_is_for(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Case(registry().spec(family)).model
    method = next(name for name in ("sample", "translate", "infer") if name in model.spec.capabilities)
    seen: list[int] = []
    plain = getattr(model.module, method)

    def counted(first: torch.Tensor, *others: object, **given: object) -> object:
        seen.append(len(first))
        return plain(first, *others, **given)

    monkeypatch.setattr(model.module, method, counted)
    cost.go(model)
    assert sum(seen) == 16
