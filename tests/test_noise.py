"""Laws of noise: sample i of a seed is one thing, whatever is drawn around it."""

import math
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from zoo import FreshNoise, InputError, Noise

Draw = Callable[[zoo.AnyNoise], Tensor]
DRAWS: dict[str, Draw] = {
    "normal": lambda noise: noise.normal(3, 5),
    "one normal each": lambda noise: noise.normal(),
    "uniform": lambda noise: noise.uniform(7),
    "categorical": lambda noise: noise.categorical(10),
}
SEEDS = (0, 1, 2**64 - 1)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("seed", SEEDS)
def test_sample_i_does_not_depend_on_the_batch_it_is_drawn_in(draw: Draw, seed: int) -> None:
    whole = draw(Noise(seed, 0, 16))
    for cuts in ([0, 4, 16], [0, 1, 2, 3, 16], [0, 15, 16]):
        parts = [draw(Noise(seed, start, stop)) for start, stop in pairwise(cuts)]
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_sample_i_is_the_same_in_every_call_of_a_longer_program(draw: Draw) -> None:
    whole, part = Noise(0, 0, 16), Noise(0, 5, 7)
    for _ in range(3):
        assert torch.equal(draw(whole)[5:7], draw(part))


def test_the_model_gives_16_samples_and_4_samples_the_same_first_latents(
    tiny_card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo.load(tiny_card, device="cpu")
    monkeypatch.setattr(model.module, "sample", lambda noise: noise.uniform(3, 4, 4))
    sixteen = model.sample(16, seed=0).tensor
    assert torch.equal(model.sample(4, seed=0).tensor, sixteen[:4])
    assert torch.equal(model.sample(16, seed=0, batch_size=3).tensor, sixteen)
    assert torch.equal(model.sample(6, seed=0, start=10, batch_size=4).tensor, sixteen[10:])
    assert not torch.equal(model.sample(4, seed=1).tensor, sixteen[:4])


def test_samples_without_a_seed_differ_and_tell_the_seed_that_repeats_them(tiny_card: Path) -> None:
    model = zoo.load(tiny_card, device="cpu")
    first, second = model.sample(2), model.sample(2)
    assert not torch.equal(first.tensor, second.tensor)
    assert torch.equal(model.sample(2, seed=int(first.info["seed"])).tensor, first.tensor)


def test_samples_calls_and_seeds_share_no_number() -> None:
    noise = Noise(0, 0, 50)
    draws = [noise.uniform(20), noise.uniform(20), Noise(1, 0, 50).uniform(20), Noise(2**63, 0, 50).uniform(20)]
    numbers = torch.cat(draws).flatten()
    # 4000 draws of 2**23 values give one pair in expectation; shared streams would give hundreds.
    assert len(numbers) - len(numbers.unique()) < 10


def test_neighbouring_samples_calls_and_seeds_are_uncorrelated() -> None:
    noise, other = Noise(7, 0, 2), Noise(8, 0, 2)
    rows = torch.cat([noise.normal(50_000), noise.normal(50_000), other.normal(50_000)])
    off_diagonal = torch.corrcoef(rows) - torch.eye(len(rows))
    assert off_diagonal.abs().max() < 5 / math.sqrt(50_000)


def distance(draws: Tensor, cdf: Callable[[Tensor], Tensor]) -> float:
    """Kolmogorov-Smirnov distance times the root of the count; above 1.95 once in a thousand."""
    x, n = draws.flatten().double().sort().values, draws.numel()
    expected, ranks = cdf(x), torch.arange(n + 1) / n
    return float(torch.maximum((ranks[1:] - expected).max(), (expected - ranks[:-1]).max())) * math.sqrt(n)


NOISES = {
    "seeded, many samples": lambda: Noise(3, 0, 100_000),
    "seeded, one sample": lambda: Noise(3, 12_345, 12_346),
    "fresh": lambda: FreshNoise(100_000),
}


def draws_of(noise: zoo.AnyNoise, kind: str) -> Tensor:
    size = 100_000 // len(noise)  # type: ignore[arg-type]
    return getattr(noise, kind)(size)  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("make", NOISES.values(), ids=NOISES)
def test_normal_draws_are_standard_normal(make: Callable[[], zoo.AnyNoise]) -> None:
    x = draws_of(make(), "normal")
    assert x.dtype == torch.float32
    assert x.numel() == 100_000
    assert abs(float(x.mean())) < 4 / math.sqrt(100_000)
    assert abs(float(x.var()) - 1) < 4 * math.sqrt(2 / 100_000)
    assert distance(x, torch.special.ndtr) < 1.95


@pytest.mark.parametrize("make", NOISES.values(), ids=NOISES)
def test_uniform_draws_are_uniform_and_never_0_or_1(make: Callable[[], zoo.AnyNoise]) -> None:
    x = draws_of(make(), "uniform")
    assert x.dtype == torch.float32
    assert 0 < float(x.min()) < float(x.max()) < 1
    assert abs(float(x.mean()) - 0.5) < 4 / math.sqrt(12 * 100_000)
    assert distance(x, lambda u: u) < 1.95


@pytest.mark.parametrize("bits", [0, 2**64 - 1])
def test_the_most_extreme_bits_stay_inside_the_open_interval(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        def __init__(self, **_: object) -> None: ...

        def random_raw(self, size: int) -> np.ndarray:
            return np.full(size, bits, dtype=np.uint64)

    monkeypatch.setattr(np.random, "Philox", Stuck)
    noise = Noise(0, 0, 2)
    assert bool(((noise.uniform(3) > 0) & (noise.uniform(3) < 1)).all())
    assert bool(noise.normal(3).isfinite().all())
    assert noise.categorical(10).tolist() == ([9, 9] if bits else [0, 0])


def test_a_zero_from_the_generator_of_training_is_lifted_above_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", torch.zeros)
    assert bool((FreshNoise(2).uniform(3) > 0).all())


@pytest.mark.parametrize("make", [lambda: Noise(3, 0, 100_000), lambda: FreshNoise(100_000)])
@pytest.mark.parametrize("classes", [1, 2, 10])
def test_categories_are_equally_likely(make: Callable[[], zoo.AnyNoise], classes: int) -> None:
    x = make().categorical(classes)
    assert x.shape == (100_000,)
    assert x.dtype == torch.int64
    counts, expected = torch.bincount(x, minlength=classes).double(), 100_000 / classes
    assert len(counts) == classes
    assert (
        float(((counts - expected) ** 2 / expected).sum()) < 28
    )  # chi-square, 9 degrees of freedom: once in a thousand


def test_the_numbers_of_seed_0_are_pinned() -> None:
    """Published pictures hang on these: a change here, in zoo or in numpy, changes what every card samples."""
    noise = Noise(0, 0, 2)
    normal, uniform, categories = noise.normal(2), noise.uniform(2), noise.categorical(1000)
    far = Noise(2**64 - 1, 2**40, 2**40 + 1).normal(2)
    torch.testing.assert_close(normal, torch.tensor(NORMAL), rtol=1e-6, atol=1e-6)
    assert uniform.tolist() == UNIFORM
    assert categories.tolist() == CATEGORIES
    torch.testing.assert_close(far, torch.tensor(FAR), rtol=1e-6, atol=1e-6)


NORMAL = [[-2.2718842029571533, -0.701327919960022], [0.005964818876236677, -0.5899693965911865]]
UNIFORM = [[0.8133540749549866, 0.7513313889503479], [0.7051952481269836, 0.27307313680648804]]
CATEGORIES = [814, 819]
FAR = [[-0.8290588855743408, 1.5012187957763672]]


def test_seeded_noise_leaves_every_global_random_state_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    noise = Noise(0, 0, 4)
    for draw in DRAWS.values():
        draw(noise)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_fresh_noise_follows_torch_s_own_generator() -> None:
    first = FreshNoise(4).normal(3)
    assert not torch.equal(FreshNoise(4).normal(3), first)
    torch.manual_seed(0)
    assert torch.equal(FreshNoise(4).normal(3), first)


@pytest.mark.parametrize("noise", [Noise(0, 10, 14), FreshNoise(4)], ids=["seeded", "fresh"])
def test_a_draw_has_one_row_per_sample_and_the_shape_asked_for(noise: zoo.AnyNoise) -> None:
    assert len(noise) == 4  # type: ignore[arg-type]
    for shape in ((), (1,), (3,), (3, 2, 2), (0,)):
        assert noise.normal(*shape).shape == (4, *shape)
        assert noise.uniform(*shape).shape == (4, *shape)
    assert noise.categorical(3).shape == (4,)


def test_noise_for_no_sample_is_empty() -> None:
    assert Noise(0, 5, 5).normal(3).shape == (0, 3)


@pytest.mark.parametrize("seed", [-1, 2**64, 10**30, 0.5, "0", None, float("nan")])
def test_a_seed_that_is_no_64_bit_number_is_refused(seed: object) -> None:
    with pytest.raises(InputError, match=r"seed must be a whole number from 0 to 2\*\*64 - 1, found"):
        Noise(seed, 0, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (0, 2**64), (3, 2), (0.0, 1), (0, "1")])
def test_a_range_of_samples_that_is_none_is_refused(start: int, stop: int) -> None:
    with pytest.raises(InputError, match=r"start|stop"):
        Noise(0, start, stop)


def test_a_seed_may_be_a_numpy_integer() -> None:
    assert torch.equal(Noise(np.int64(3), 0, 2).normal(2), Noise(3, 0, 2).normal(2))  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_device_does_not_change_the_numbers() -> None:
    for draw in DRAWS.values():
        assert torch.equal(draw(Noise(0, 0, 4, "cuda")).cpu(), draw(Noise(0, 0, 4)))
