"""The game of Goodfellow et al. 2014: its value, its best discriminator, and the gradient that vanishes."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo_classics.gan import discriminator_loss, minimax_loss, non_saturating_loss, train
from zoo_classics.nets import Generator, mlp

REAL, FAKE = [4, 3, 2, 1], [1, 2, 3, 4]
TINY = Generator.Config(image_size=4, latent_dim=4, widths=(16, 16))


def test_the_best_discriminator_is_the_share_of_real_and_its_value_is_2_js_minus_2_log_2(best: Any) -> None:
    logits = best(discriminator_loss, REAL, FAKE)
    p, q = torch.tensor(REAL, dtype=torch.float64) / 10, torch.tensor(FAKE, dtype=torch.float64) / 10
    assert logits.sigmoid().tolist() == pytest.approx((p / (p + q)).tolist(), abs=1e-5)
    m = (p + q) / 2
    js = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
    value = (p * logits.sigmoid().log()).sum() + (q * (1 - logits.sigmoid()).log()).sum()
    assert value.item() == pytest.approx(2 * js.item() - 2 * math.log(2), abs=1e-8)


def test_where_real_and_made_agree_the_best_value_is_minus_2_log_2(best: Any) -> None:
    logits = best(discriminator_loss, REAL, REAL)
    rows = torch.arange(4).repeat_interleave(torch.tensor(REAL))
    assert -discriminator_loss(logits[rows], logits[rows]).item() == pytest.approx(-1.386294, abs=1e-6)


def slope_of_bars(D: Callable[[Tensor], Tensor], loss: Callable[[Tensor], Tensor]) -> float:
    """d loss / d theta where G makes a uniform bar on [2 + theta, 3 + theta]; the real one is [0, 1]."""
    theta = torch.zeros((), requires_grad=True)
    made = 2 + theta + torch.linspace(0, 1, 101)
    (slope,) = torch.autograd.grad(loss(D(made)), theta)
    return slope.item()


def test_disjoint_bars_give_the_minimax_generator_no_gradient_and_the_other_one_all() -> None:
    def sharp(x: Tensor) -> Tensor:
        return 1000 * (1.5 - x)  # 1 on the real bar and 0 on the made one, to the last bit of float32

    real = torch.linspace(0, 1, 101)
    assert discriminator_loss(sharp(real), sharp(real + 2)).item() == 0  # the value 2 JS - 2 log 2 with JS = log 2
    assert slope_of_bars(sharp, minimax_loss) == 0
    assert slope_of_bars(sharp, non_saturating_loss) == pytest.approx(1000)  # falls to the left, towards the data


def test_the_better_d_is_trained_the_less_the_minimax_generator_learns() -> None:
    net = mlp(1, 32, 1)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    real = torch.linspace(0, 1, 101)
    shares = []
    for _ in range(3):
        for _ in range(200):
            loss = discriminator_loss(net(real[:, None]), net(real[:, None] + 2))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        minimax, other = (
            slope_of_bars(lambda x: net(x[:, None]), loss) for loss in (minimax_loss, non_saturating_loss)
        )
        shares.append(abs(minimax) / other)
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.01


@pytest.mark.parametrize("generator", ["non-saturating", "minimax"])
def test_g_learns_to_make_what_is_real(play: Any, generator: str) -> None:
    """Where D and G can tell light from dark, swapped labels would end in the dark."""
    G: nn.Module = Generator(TINY)
    made = play(train, G, lambda: 0.8 + 0.05 * torch.randn(32, 1, 4, 4), steps=300, lr=2e-3, generator=generator)
    with torch.no_grad():
        assert ((made(torch.randn(256, 4)) + 1) / 2).mean().item() == pytest.approx(0.8, abs=0.1)
