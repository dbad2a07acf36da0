"""Ways between latents keep their ends, and truncated latents follow the cut normal distribution."""

import math

import pytest
import torch
from torch import Tensor

import zoo


@pytest.fixture
def ends() -> tuple[Tensor, Tensor]:
    a, b = zoo.Noise(0, 0, 2).normal(4, 50)
    return a, b


@pytest.mark.parametrize("way", [zoo.lerp, zoo.slerp])
def test_a_way_has_both_ends_and_every_step(way: object, ends: tuple[Tensor, Tensor]) -> None:
    a, b = ends
    points = way(a, b, 5)  # type: ignore[operator]
    assert points.shape == (5, 4, 50)
    assert torch.allclose(points[0], a, atol=1e-5)
    assert torch.allclose(points[-1], b, atol=1e-5)


def test_slerp_turns_by_equal_angles_and_stays_on_the_sphere(ends: tuple[Tensor, Tensor]) -> None:
    a, b = (end / end.norm() for end in ends)
    points = zoo.slerp(a, b, 6)
    assert torch.allclose(points.flatten(1).norm(dim=1), torch.ones(6), atol=1e-5)
    angles = (points[:-1] * points[1:]).flatten(1).sum(1).arccos()
    assert torch.allclose(angles, angles[:1].expand(5), atol=1e-3)
    assert zoo.lerp(a, b, 3)[1].norm() < 0.9


def test_slerp_is_straight_where_there_is_no_arc() -> None:
    a = torch.ones(3)
    for b in (2 * a, -a):
        assert torch.equal(zoo.slerp(a, b, 4), zoo.lerp(a, b, 4))


def test_truncated_latents_follow_the_cut_normal_distribution() -> None:
    """Their variance is 1 - 2 t phi(t) / (2 Phi(t) - 1), and they keep their order."""
    z, t = zoo.Noise(1, 0, 20_000).normal(1).flatten(), 1.2
    cut = zoo.truncate(z, t)
    density = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    wanted = 1 - 2 * t * density / math.erf(t / math.sqrt(2))
    assert cut.abs().max() <= t
    assert abs(cut.var().item() - wanted) < 0.01
    assert torch.equal(cut.argsort(), z.argsort())
    assert torch.allclose(zoo.truncate(z, 40.0), z, atol=1e-4)


def test_what_makes_no_way_and_no_limit_is_refused(ends: tuple[Tensor, Tensor]) -> None:
    a, b = ends
    with pytest.raises(zoo.InputError, match="at least 2"):
        zoo.lerp(a, b, 1)
    with pytest.raises(zoo.InputError, match="no way between"):
        zoo.slerp(a, b[0])
    with pytest.raises(zoo.InputError, match="above 0"):
        zoo.truncate(a, float("nan"))
