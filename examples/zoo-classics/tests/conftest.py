"""What the tests of all four families use: endless batches, and a short run of a loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo


class Made:
    """Batches that a function makes: what a loop needs of `zoo.Batches`, without a data set."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __next__(self) -> Any:
        return self.make()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


Play = Callable[..., nn.Module]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Train a model on batches that a function makes; the averaged model."""

    def run(train: Callable[..., None], model: nn.Module, make: Callable[[], Any], **arguments: Any) -> nn.Module:
        run = zoo.Run(tmp_path / "run", device="cpu", ema=0.98, progress=False)
        train(model, Made(make), run, **arguments)
        return run.published.eval()

    return run


def best_table(loss: Callable[[Tensor, Tensor], Tensor], real: list[int], fake: list[int]) -> Tensor:
    """What the best D says in each of some cells, for p_r and p_g given as counts: found, not derived."""
    cells = torch.arange(len(real))
    x, made = cells.repeat_interleave(torch.tensor(real)), cells.repeat_interleave(torch.tensor(fake))
    table = torch.zeros(len(real), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([table], max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(table[x], table[made])
        value.backward()
        return value

    optimizer.step(closure)
    return table.detach()


@pytest.fixture
def best() -> Callable[..., Tensor]:
    return best_table
