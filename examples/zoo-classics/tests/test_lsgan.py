"""The least squares of Mao et al. 2017: their optimum, and the pull on samples that a sigmoid takes for good."""

from typing import Any

import pytest
import torch
from torch import Tensor
from zoo_classics.gan import non_saturating_loss
from zoo_classics.lsgan import least_squares, train
from zoo_classics.nets import Discriminator, Generator

REAL, FAKE = [4, 3, 2, 1], [1, 2, 3, 4]
TINY = Generator.Config(image_size=4, latent_dim=4, widths=(16, 16))


def test_a_discriminator_that_always_says_one_half_costs_a_quarter_and_g_an_eighth() -> None:
    undecided = torch.full((5,), 0.5)
    assert (least_squares(undecided, 1) + least_squares(undecided, 0)).item() == 0.25
    assert least_squares(undecided, 1).item() == 0.125


@pytest.mark.parametrize(("a", "b"), [(0, 1), (-1, 1)])
def test_the_best_discriminator_is_the_mean_of_the_codes(best: Any, a: int, b: int) -> None:
    scores = best(lambda real, fake: least_squares(real, b) + least_squares(fake, a), REAL, FAKE)
    p, q = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    assert scores.tolist() == pytest.approx(((b * p + a * q) / (p + q)).tolist(), abs=1e-6)
    if (a, b) == (0, 1):
        assert scores.tolist() == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=1e-6)


def test_with_codes_minus_1_1_0_g_minimises_a_pearson_chi_squared(best: Any) -> None:
    """Section 3.2: E_r (D - c)^2 + E_g (D - c)^2 at the best D is chi^2(p_r + p_g || 2 p_g)."""
    D = best(lambda real, fake: least_squares(real, 1) + least_squares(fake, -1), REAL, FAKE)
    p, q = torch.tensor(REAL, dtype=torch.float64) / 10, torch.tensor(FAKE, dtype=torch.float64) / 10
    chi_squared = ((2 * q - (p + q)).square() / (p + q)).sum()
    assert (p * D.square() + q * D.square()).sum().item() == pytest.approx(chi_squared.item(), abs=1e-6)


def slope(loss: Any, score: float) -> float:
    scores = torch.tensor([score], requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(scores), scores)
    return gradient.item()


def test_a_sample_far_on_the_real_side_is_still_pulled_back() -> None:
    """The selling point: the sigmoid is content there."""

    def loss(scores: Tensor) -> Tensor:
        return least_squares(scores, 1)

    assert slope(loss, 20.0) == pytest.approx(19)
    assert slope(loss, -20.0) == pytest.approx(-21)
    assert abs(slope(non_saturating_loss, 20.0)) < 1e-8


def test_the_scores_have_no_bound() -> None:
    D = Discriminator(TINY)
    x = 1e3 * torch.randn(64, 1, 4, 4)
    scores = D(x)
    assert scores.shape == (64,)
    assert scores.min() < -1
    assert scores.max() > 2


@pytest.mark.parametrize(("a", "b", "c"), [(0.0, 1.0, 1.0), (-1.0, 1.0, 0.0)])
def test_g_learns_to_make_what_is_real(play: Any, a: float, b: float, c: float) -> None:
    data = lambda: 0.8 + 0.05 * torch.randn(32, 1, 4, 4)  # noqa: E731
    made = play(train, Generator(TINY), data, steps=300, lr=2e-3, a=a, b=b, c=c)
    with torch.no_grad():
        assert ((made(torch.randn(256, 4)) + 1) / 2).mean().item() == pytest.approx(0.8, abs=0.1)
