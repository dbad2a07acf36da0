"""The clipped critic of Arjovsky et al. 2017: its bounds after each step, and a loss that grows with the distance."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Made
from torch import Tensor, nn
from zoo_classics.gan import discriminator_loss
from zoo_classics.nets import Discriminator, Generator, mlp
from zoo_classics.wgan import clip, critic_gap, train

import zoo

TINY = Generator.Config(image_size=4, latent_dim=4, widths=(16, 16))


class Watching(zoo.Run):
    """A run that keeps who was updated, and how wide the critic's weights were before and after each loss."""

    def __init__(self, out: Path) -> None:
        super().__init__(out, device="cpu", progress=False)
        self.updated: list[str] = []
        self.before: list[float] = []
        self.after: list[float] = []

    def prepare(self, **parts: Any) -> tuple[Any, ...]:
        self.f, self.opt_f = parts["f"], parts["opt_f"]
        return super().prepare(**parts)

    def widest(self) -> float:
        return max(parameter.abs().max().item() for parameter in self.f.parameters())

    def minimize(self, loss: Tensor, optimizer: torch.optim.Optimizer, **options: Any) -> None:
        super().minimize(loss, optimizer, **options)
        self.updated.append("f" if optimizer is self.opt_f else "G")
        if optimizer is self.opt_f:
            self.before.append(self.widest())

    def log(self, **values: Any) -> None:
        self.after.append(self.widest())
        super().log(**values)


def test_every_parameter_is_within_its_bounds_after_each_step(tmp_path: Path) -> None:
    run = Watching(tmp_path)
    train(Generator(TINY), Made(lambda: torch.rand(8, 1, 4, 4)), run, steps=3, n_critic=2, c=0.05, lr=0.01)
    assert run.updated == ["f", "f", "G"] * 3
    assert len(run.after) == 6
    bound = torch.tensor(0.05).item()  # the float32 nearest to it
    assert all(width > bound for width in run.before), "the steps went outside, or clipping would not be seen here"
    assert all(width <= bound for width in run.after)


def test_biases_and_gains_are_clipped_as_well() -> None:
    f = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    clip(f, 0.01)
    assert all(parameter.abs().max() <= 0.01 for parameter in f.parameters())
    assert f[1].weight.max() > 0.0099


def improve(f: nn.Module, theta: float, c: float = 0.1) -> float:
    """Train a critic of point masses at 0 and theta, as the loop does; what it ends with."""
    real, made = torch.zeros(1, 1), torch.full((1, 1), theta)
    optimizer = torch.optim.RMSprop(f.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        (-critic_gap(f(real), f(made))).backward()
        optimizer.step()
        clip(f, c)
    return critic_gap(f(real), f(made)).item()


@pytest.mark.parametrize("side", [-1, 1])
def test_the_critics_gap_of_two_points_is_linear_in_their_distance(side: int) -> None:
    """Up to the constant that nobody knows: how steep the clipped net can get."""
    distances, gaps = (1.0, 2.0, 4.0, 8.0), []
    for distance in distances:
        torch.manual_seed(0)
        gaps.append(improve(mlp(1, 64, 1), side * distance))
    assert torch.corrcoef(torch.tensor([distances, gaps]))[0, 1] > 0.995
    assert gaps[3] / gaps[0] == pytest.approx(8, rel=0.25)


def test_where_the_divergence_of_the_original_gan_says_the_same_of_every_distance(best: Any) -> None:
    """Points in cells of their own: whatever lies between, JS is log 2 and the best value of the game is 0."""
    for cells in ([0, 8], [0, 0, 0, 8]):
        real = [8] + [0] * (len(cells) - 1)
        logits = best(discriminator_loss, real, cells)
        value = -discriminator_loss(logits[:1], logits[-1:])
        assert (value.item() + 2 * math.log(2)) / 2 == pytest.approx(math.log(2), abs=1e-4)


def test_the_critics_weights_pile_up_at_the_bounds() -> None:
    """The pathology for which WGAN-GP was invented."""
    f = mlp(1, 16, 1)
    improve(f, 2.0)
    weights = torch.cat([parameter.flatten() for name, parameter in f.named_parameters() if "weight" in name])
    assert (weights.abs() > 0.0999).float().mean() > 0.8


def test_g_learns_to_make_what_is_real(play: Any) -> None:
    data = lambda: 0.8 + 0.05 * torch.randn(32, 1, 4, 4)  # noqa: E731
    made = play(train, Generator(TINY), data, steps=150, lr=2e-3, c=0.1)
    with torch.no_grad():
        assert ((made(torch.randn(256, 4)) + 1) / 2).mean().item() == pytest.approx(0.8, abs=0.1)


def test_the_critic_gives_a_score_for_each_image() -> None:
    assert Discriminator(TINY)(torch.rand(5, 1, 4, 4)).shape == (5,)
