"""Learning rates that follow the steps of a run."""

from pathlib import Path

import pytest
import torch
from torch import nn

import zoo


def optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr)


def rates(steps: int, decay: float) -> list[float]:
    opt = optimizer()
    schedule, found = zoo.constant_then_linear(opt, steps, decay), []
    for _ in range(steps):
        found.append(opt.param_groups[0]["lr"])
        opt.step()
        schedule.step()
    return [*found, opt.param_groups[0]["lr"]]


@pytest.mark.parametrize(
    ("decay", "expected"),
    [(0.0, [1, 1, 1, 1, 1]), (0.5, [1, 1, 1, 0.5, 0]), (1.0, [1, 0.75, 0.5, 0.25, 0])],
)
def test_the_rate_stays_and_then_falls_to_0(decay: float, expected: list[float]) -> None:
    assert rates(4, decay) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("warmup", "expected"), [(0, [1, 0.853553, 0.5, 0.146447, 0]), (3, [1 / 3, 2 / 3, 0.5, 0.146447, 0])]
)
def test_the_rate_falls_along_half_a_cosine_once_it_has_risen(warmup: int, expected: list[float]) -> None:
    opt = optimizer()
    schedule, found = zoo.cosine(opt, 4, warmup), [opt.param_groups[0]["lr"]]
    for _ in range(4):
        opt.step()
        schedule.step()
        found.append(opt.param_groups[0]["lr"])
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_run_that_is_resumed_with_more_steps_follows_the_longer_plan(tmp_path: Path) -> None:
    """Its rate, at 0 when the run ended, rises to where a run of that length would be."""

    def go(steps: int, resume: bool) -> list[float]:
        run, model = zoo.Run(tmp_path / "run", device="cpu", progress=False, resume=resume), nn.Linear(1, 1)
        opt = torch.optim.SGD(model.parameters(), 0.1)
        schedule, found = zoo.constant_then_linear(opt, steps, 0.5), []
        run.prepare(model=model, opt=opt, schedule=schedule)
        for _ in run.steps(steps):
            opt.step()
            schedule.step()
            found.append(opt.param_groups[0]["lr"])
        return found

    assert go(4, resume=False) == pytest.approx([0.1, 0.1, 0.05, 0])
    assert go(12, resume=True) == pytest.approx([0.1, 0.1, *(0.1 * k / 6 for k in (5, 4, 3, 2, 1, 0))])
