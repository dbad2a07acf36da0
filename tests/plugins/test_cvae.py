"""The trap table of the CVAE."""

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from recording import Recorder
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal
from torch.distributions import kl_divergence as kl_by_torch
from zoo_cvae.completion import (
    Completion,
    bernoulli_log_prob,
    draw_mask,
    kl_divergence,
    log_normal,
    quadrants,
)
from zoo_cvae.evaluate import evaluate, leakage, probe, swapped
from zoo_cvae.model import CVAE
from zoo_cvae.train import train

import zoo
from zoo.data.source import Dataset
from zoo.evaluation.figures import Bench
from zoo.family.registry import registry
from zoo.testing import Case

SIZES = {"image_size": 8, "latent_dim": 2, "widths": (4,), "hidden": 8, "completion_hidden": 8}
TINY = CVAE.Config(**SIZES, completion_latent_dim=3, names=("a", "b", "c"))
LEFT = quadrants(torch.tensor([[True, False, True, False]]), 8)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Constant(nn.Module):
    """Gives one row whatever it is given."""

    def __init__(self, row: Tensor) -> None:
        super().__init__()
        self.row = row

    def forward(self, x: Tensor) -> Tensor:
        return self.row.expand(len(x), -1)


class Forbidden(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("this net must not be asked")


def binary_images(n: int, side: int = 8) -> Tensor:
    return (torch.rand(n, 1, side, side) < 0.5).float()


def batch(n: int = 6) -> tuple[Tensor, Tensor]:
    return binary_images(n), torch.arange(n) % 3


# --- the divergence and the likelihood


def test_the_kl_between_two_gaussians_and_its_direction() -> None:
    log_4 = torch.tensor([math.log(4)])
    wide, narrow = (torch.tensor([1.0]), log_4), (torch.tensor([-1.0]), -log_4)
    assert kl_divergence(*wide, *narrow).item() == pytest.approx(14.113706, abs=1e-5)
    assert kl_divergence(*narrow, *wide).item() == pytest.approx(math.log(4) + 4.25 / 8 - 0.5, abs=1e-5)


def test_densities_agree_with_torch_distributions() -> None:
    mu1, s1, mu2, s2, z = (torch.randn(4, 5) for _ in range(5))
    p, q = Normal(mu1, (0.5 * s1).exp()), Normal(mu2, (0.5 * s2).exp())
    assert torch.allclose(kl_divergence(mu1, s1, mu2, s2), kl_by_torch(p, q).sum(1), rtol=1e-4)
    assert torch.allclose(log_normal(z, mu1, s1), p.log_prob(z).sum(1), rtol=1e-4)
    x, logits = binary_images(4), torch.randn(4, 1, 8, 8)
    each = Bernoulli(logits=logits).log_prob(x).flatten(1)
    assert torch.allclose(bernoulli_log_prob(x, logits), each.sum(1), rtol=1e-5)
    assert torch.allclose(bernoulli_log_prob(x, logits, ~LEFT), (each * ~LEFT.flatten()).sum(1), rtol=1e-5)


# --- labels: p(x | c)


def test_the_bound_given_a_label_is_the_definition() -> None:
    model, (x, c) = CVAE(TINY), batch()
    mu, log_var = model.posterior(x, c)
    q = Normal(mu, (0.5 * log_var).exp())
    z = q.mean + q.stddev * zoo.Noise(3, 0, 6).normal(2)
    expected = Bernoulli(logits=model.logits(z, c)).log_prob(x).flatten(1).sum(1) - kl_by_torch(q, Normal(0, 1)).sum(1)
    assert torch.allclose(model.elbo(x, zoo.Noise(3, 0, 6), label=c), expected, atol=1e-4)


def test_a_label_reaches_every_pixel_of_the_encoder_and_the_decoder() -> None:
    model, (x, c), other = CVAE(TINY), batch(3), (torch.arange(3) + 1) % 3
    z = model.encode(x, label=c)
    assert (model.encode(x, label=other) != z).any(1).all()
    assert (model.decode(z, label=other) != model.decode(z, label=c)).all()
    planes = torch.zeros(3, 3, 8, 8, requires_grad=True)
    model.encoder(torch.cat([x, planes], 1)).sum().backward()
    assert planes.grad is not None
    assert (planes.grad != 0).all()


GRID = torch.linspace(-7, 7, 141)
LOG_PRIOR = Normal(0, 1).log_prob(GRID) + math.log(14 / 140)
"""Nodes and log weights of a quadrature over a latent from N(0, 1)."""


def exact_log_prob(model: CVAE, x: Tensor, c: Tensor) -> Tensor:
    """log p(x | c) of a model with one latent."""
    fits = [bernoulli_log_prob(x, model.logits(z.expand(len(x), 1), c)) for z in GRID]
    return torch.logsumexp(torch.stack(fits, 1) + LOG_PRIOR, 1)


@torch.no_grad()
def test_importance_weights_with_and_without_a_label_are_unbiased() -> None:
    model = CVAE(TINY.model_copy(update={"latent_dim": 1, "image_size": 4}))
    for p in model.decoder.parameters():
        p.mul_(1.5)  # so that z and c matter
    x, c, k = binary_images(3, 4), torch.arange(3), 10_000
    each = torch.stack([exact_log_prob(model, x, torch.full((3,), label)) for label in range(3)])
    given, without = (model.log_weights(x, zoo.Noise(0, 0, 3), k, label=label) for label in (c, None))
    assert torch.allclose(given.logsumexp(1) - math.log(k), each[c, c], atol=0.02)
    assert torch.allclose(without.logsumexp(1) - math.log(k), each.logsumexp(0) - math.log(3), atol=0.02)
    assert each.std(0).min() > 0.02  # the labels are not all alike

    # One draw is a bound on average, with and without a label.
    many = 4000
    images, labels = x.repeat_interleave(many, 0), c.repeat_interleave(many)
    for label, exact in ((labels, each[c, c]), (None, each.logsumexp(0) - math.log(3))):
        values = model.elbo(images, zoo.Noise(1, 0, 3 * many), label=label).view(3, many)
        assert (values.mean(1) < exact + 3 * values.std(1) / math.sqrt(many)).all()
        assert (values.mean(1) > exact - 3).all()


def test_what_is_left_out_is_chosen() -> None:
    """encode takes the likeliest label, decode the first, sample draws one."""
    model, x = CVAE(TINY), binary_images(5)
    label = model.likeliest_label(x)
    assert torch.equal(model.encode(x), model.encode(x, label=label))
    z = torch.randn(5, 2)
    assert torch.equal(model.decode(z), model.decode(z, label=torch.zeros(5, dtype=torch.long)))
    noise = zoo.Noise(0, 0, 300)
    z, drawn = noise.normal(2), noise.categorical(3)
    assert set(drawn.tolist()) == {0, 1, 2}
    assert torch.equal(model.sample(zoo.Noise(0, 0, 300)), model.decode(z, label=drawn))
    assert torch.equal(model.sample(zoo.Noise(0, 0, 300), label=0 * drawn), model.decode(z, label=0 * drawn))


# --- completion: p(y | x)


@pytest.mark.parametrize("part", ["baseline", "generation"])
def test_given_pixels_are_in_no_loss(part: str) -> None:
    net = Completion(64, 8, 3)
    x = binary_images(5)
    if part == "baseline":
        loss = net.baseline_log_prob(x, LEFT).sum()
    else:
        loss = net.bound(x, LEFT, zoo.Noise(0, 0, 5))[0].sum() + net.gsnn(x, LEFT, zoo.Noise(0, 0, 5)).sum()
    (gradient,) = torch.autograd.grad(loss, [getattr(net, part)[-1].bias])
    assert torch.equal(gradient != 0, ~LEFT.flatten())


def test_the_bound_of_a_completion_is_the_definition() -> None:
    net, x, mask = Completion(64, 8, 3), binary_images(5), draw_mask(8, zoo.Noise(7, 0, 5))
    q, p = (Normal(mu, (0.5 * log_var).exp()) for mu, log_var in (net.posterior(x, mask), net.prior_of(x, mask)))
    epsilon = zoo.Noise(0, 0, 5).normal(3)

    def fit(z: Tensor) -> Tensor:
        return (Bernoulli(logits=net.logits(x, mask, z)).log_prob(x) * ~mask).flatten(1).sum(1)

    log_likelihood, kl = net.bound(x, mask, zoo.Noise(0, 0, 5))
    assert torch.allclose(log_likelihood, fit(q.mean + q.stddev * epsilon), atol=1e-4)
    assert torch.allclose(kl, kl_by_torch(q, p).sum(1), atol=1e-5)
    assert torch.allclose(net.gsnn(x, mask, zoo.Noise(0, 0, 5)), fit(p.mean + p.stddev * epsilon), atol=1e-4)


def test_the_kl_is_0_where_the_prior_has_the_recognition_nets_weights_and_the_guess_is_right() -> None:
    net, x = Completion(64, 8, 3), binary_images(1)
    net.prior.load_state_dict(net.recognition.state_dict())
    assert net.bound(x, LEFT, zoo.Noise(0, 0, 1))[1].item() > 1e-6
    net.baseline = Constant(200 * (2 * x.flatten(1) - 1))
    assert net.bound(x, LEFT, zoo.Noise(0, 0, 1))[1].item() == pytest.approx(0, abs=1e-6)


def test_prediction_knows_neither_the_missing_part_nor_the_recognition_net() -> None:
    model, x = CVAE(TINY), binary_images(4)
    made = model.complete(x, LEFT, zoo.Noise(0, 0, 4))
    model.completion.recognition = Forbidden()
    garbage = torch.where(LEFT, x, torch.tensor(float("nan")))
    assert torch.equal(model.complete(garbage, LEFT, zoo.Noise(0, 0, 4)), made)
    assert torch.equal(made[LEFT.expand_as(x)], x[LEFT.expand_as(x)])
    priors = (model.completion.prior_of(images, LEFT) for images in (x, garbage))
    assert all(torch.equal(*pair) for pair in zip(*priors, strict=True))


def test_every_given_pixel_is_seen_whatever_its_colour() -> None:
    net, x = Completion(64, 8, 3), binary_images(1)
    first = net(x, LEFT, None)
    for row, column in ((0, 0), (7, 3), (4, 1)):
        other = x.clone()
        other[0, 0, row, column] = 1 - other[0, 0, row, column]
        assert not torch.equal(net(other, LEFT, None)[~LEFT], first[~LEFT])
        smaller = LEFT.clone()
        smaller[0, 0, row, column] = False
        assert not torch.equal(net(x, smaller, None)[~LEFT], first[~LEFT])


def test_the_guess_and_the_draw_both_shape_the_prediction() -> None:
    net, x = Completion(64, 8, 3), binary_images(4)
    mean = net(x, LEFT, None)
    drawn = [net(x, LEFT, zoo.Noise(seed, 0, 4)) for seed in (0, 1)]
    assert not torch.equal(*drawn)
    assert not torch.equal(drawn[0], mean)
    net.baseline = Constant(torch.full((64,), 3.0))
    assert not torch.equal(net(x, LEFT, None), mean)


def test_generation_may_see_z_alone() -> None:
    x, z = binary_images(2), torch.randn(1, 3).expand(2, 3)
    for sees_x in (True, False):
        logits = CVAE(TINY.model_copy(update={"generation_sees_x": sees_x})).completion.logits(x, LEFT, z)
        assert torch.equal(logits[0], logits[1]) is not sees_x


# --- conditional log-likelihood


@torch.no_grad()
def test_both_estimates_of_the_conditional_likelihood_agree_with_quadrature() -> None:
    net, x, k = Completion(16, 16, 1), binary_images(4, 4), 20_000
    for p in net.generation.parameters():
        p.mul_(2)  # so that z matters
    mask = draw_mask(4, zoo.Noise(0, 0, 4))
    mu, log_var = net.prior_of(x, mask)
    fits = [bernoulli_log_prob(x, net.logits(x, mask, mu + (0.5 * log_var).exp() * z), ~mask) for z in GRID]
    exact = torch.logsumexp(torch.stack(fits, 1) + LOG_PRIOR, 1)
    for method in ("mc", "is"):
        weights = net.log_weights(x, mask, zoo.Noise(0, 0, 4), k, method)
        assert weights.std(1).min() > 0.01
        assert torch.allclose(weights.logsumexp(1) - math.log(k), exact, atol=0.02)
        # More draws give more on average, and never more than there is: the log is outside the mean.
        few = weights.view(4, -1, 10)
        by_ten = (few.logsumexp(2) - math.log(10)).mean(1)
        assert (weights.mean(1) < by_ten).all()
        assert (by_ten < exact + 0.01).all()


# --- masks


def test_quadrants_stand_where_they_are_called() -> None:
    masks = quadrants(torch.eye(4, dtype=torch.bool), 5)[:, 0]
    assert masks.shape == (4, 5, 5)
    assert torch.equal(masks.sum(0), torch.ones(5, 5))
    corners = [masks[:, row, column].tolist().index(True) for row in (0, 4) for column in (0, 4)]
    assert corners == [0, 1, 2, 3]
    assert masks.flatten(1).sum(1).tolist() == [4, 6, 6, 9]


def test_training_gives_one_two_or_three_quadrants_of_any_kind_equally_often() -> None:
    given = draw_mask(8, zoo.Noise(0, 0, 20_000))[:, 0, [0, 0, 7, 7], [0, 7, 0, 7]]
    kinds, counts = given.unique(dim=0, return_counts=True)
    assert len(kinds) == 14
    for size, ways in ((1, 4), (2, 6), (3, 4)):
        shares = counts[kinds.sum(1) == size] / 20_000
        assert shares.tolist() == pytest.approx([1 / 3 / ways] * ways, abs=0.01)


# --- the loop


NETS = {name: f"model.{name}" for name in ("encoder", "decoder")} | {
    name: f"model.completion.{name}" for name in ("prior", "recognition", "generation", "baseline")
}


def watched(out: Path) -> Recorder:
    """A run whose noise is the same at every call."""
    return Recorder(out, NETS, lambda n: zoo.Noise(0, 0, n))


def test_the_baseline_comes_first_and_is_then_frozen(tmp_path: Path) -> None:
    model, run = CVAE(TINY), watched(tmp_path)
    train(model, iter([batch()] * 4), run, steps=4, baseline_steps=1)
    labels, rest = {"encoder", "decoder"}, {"prior", "recognition", "generation"}
    assert run.moved == [labels, {"baseline"}] + [labels, rest] * 3
    loss = model.completion.bound(batch()[0], LEFT, zoo.Noise(0, 0, 6))[0].sum()
    parameters = list(model.completion.baseline.parameters())
    assert torch.autograd.grad(loss, parameters, allow_unused=True) == (None,) * 6


def test_the_baseline_takes_at_most_half_of_a_run(tmp_path: Path) -> None:
    run = watched(tmp_path)
    train(CVAE(TINY), iter([batch()] * 4), run, steps=4, baseline_steps=100)
    assert ["baseline" in moved for moved in run.moved[1::2]] == [True, True, False, False]


@pytest.mark.parametrize("alpha", [1.0, 0.25, 0.0])
def test_the_hybrid_objective_mixes_the_bound_and_the_gsnn(alpha: float, tmp_path: Path) -> None:
    model, (x, c), run = CVAE(TINY), batch(), watched(tmp_path)
    noise, net = lambda: zoo.Noise(0, 0, 6), model.completion
    mask = draw_mask(8, noise())
    log_likelihood, kl = net.bound(x, mask, noise())
    expected = -(alpha * (log_likelihood - kl) + (1 - alpha) * net.gsnn(x, mask, noise())).mean().item()
    train(model, iter([(x, c)]), run, steps=1, baseline_steps=0, alpha=alpha)
    assert run.losses == pytest.approx([-model_bound(x, c), expected], abs=1e-4)
    assert ("recognition" in run.moved[1]) is (alpha > 0)


def model_bound(x: Tensor, c: Tensor) -> float:
    torch.manual_seed(0)
    return CVAE(TINY).elbo(x, zoo.Noise(0, 0, len(x)), label=c).mean().item()


# --- ten patterns, one for each label, with a tenth of the pixels in noise: both uses are learned in seconds


@pytest.fixture(scope="module")
def patterns() -> Tensor:
    return (torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(5)) < 0.5).float()


def noisy(patterns: Tensor, labels: Tensor) -> Tensor:
    x = patterns[labels]
    return torch.where(torch.rand_like(x) < 0.1, (torch.rand_like(x) < 0.5).float(), x)


@pytest.fixture(scope="module")
def learned(patterns: Tensor, tmp_path_factory: pytest.TempPathFactory) -> CVAE:
    torch.manual_seed(0)
    sizes = {"latent_dim": 2, "widths": (8,), "hidden": 32, "completion_latent_dim": 2, "completion_hidden": 32}
    model = CVAE(CVAE.Config(image_size=8, **sizes))

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            labels = torch.randint(10, (32,))
            yield noisy(patterns, labels), labels

    run = Recorder(tmp_path_factory.mktemp("run"))
    train(model, batches(), run, steps=300, baseline_steps=100, lr=5e-3)
    return model.eval().requires_grad_(False)


def nearest(x: Tensor, patterns: Tensor) -> Tensor:
    return torch.cdist(x.flatten(1), patterns.flatten(1)).argmin(1)


def test_each_label_samples_its_own_pattern(learned: CVAE, patterns: Tensor) -> None:
    labels = torch.arange(10).repeat(20)
    assert torch.equal(nearest(learned.sample(zoo.Noise(0, 0, 200), label=labels), patterns), labels)


def test_a_label_is_told_by_its_bound(learned: CVAE, patterns: Tensor) -> None:
    labels = torch.arange(10).repeat(20)
    assert (learned.likeliest_label(noisy(patterns, labels)) == labels).float().mean() > 0.95


def test_a_quadrant_is_enough_to_complete_a_pattern(learned: CVAE, patterns: Tensor) -> None:
    labels = torch.arange(10).repeat(4)
    mask = quadrants(torch.eye(4, dtype=torch.bool).repeat_interleave(10, 0), 8)
    made = learned.complete(patterns[labels], mask, zoo.Noise(0, 0, 40))
    assert (made.round() == patterns[labels]).float().mean() > 0.95


def bench_of(model: CVAE, patterns: Tensor, labels: Tensor, judge: Any = None) -> Bench:
    data = Dataset("made", "test", (255 * noisy(patterns, labels)).byte(), None, labels, model.config.names)
    return Bench(Case(registry().spec("cvae")).wrap(model), data, data, "made", 0, False, judge)


def judge_of(patterns: Tensor, order: list[int]) -> Any:
    """Sees the nearest pattern, and has its own order of the labels."""
    place = torch.tensor(order).argsort()

    def infer(images: Tensor, batch_size: int) -> dict[str, Tensor]:
        return {"label": nn.functional.one_hot(place[nearest(images, patterns)], 10).float()}

    return SimpleNamespace(name="judge", config=SimpleNamespace(names=tuple(map(str, order))), infer=infer)


def test_a_swapped_label_is_obeyed_and_leaves_no_trace_in_the_latent(learned: CVAE, patterns: Tensor) -> None:
    labels = torch.arange(10).repeat(100)
    judge = judge_of(patterns, [3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    bench = bench_of(learned, patterns, labels, judge)
    x = bench.images(bench.test)
    (swap,) = swapped(bench, x, labels)
    assert swap.value > 0.95
    assert swap.ceiling == 1
    assert leakage(bench, x, labels).value < 0.3
    assert swapped(bench_of(learned, patterns, labels), x, labels) == []


def test_the_probe_reads_a_label_that_is_there_and_none_that_is_not() -> None:
    labels = torch.randint(10, (2000,))
    pure = torch.randn(2000, 6)
    tainted = pure + 5 * torch.randn(10, 6)[labels]
    for z, low, high in ((tainted, 0.95, 1.0), (pure, 0.05, 0.15)):
        right = (probe(z[:1000], labels[:1000])(z[1000:]) == labels[1000:]).float().mean().item()
        assert low <= right <= high


def test_the_figures_of_a_model_that_knows_nothing(patterns: Tensor) -> None:
    """Its pixels are fair coins and its latents N(0, 1): each missing pixel costs ln 2, however it is scored."""
    model = CVAE(CVAE.Config(**SIZES))
    for name in ("baseline", "prior", "recognition", "generation"):
        for p in getattr(model.completion, name)[-1].parameters():
            nn.init.zeros_(p)
    metrics = {metric.name: metric for metric in evaluate(bench_of(model, patterns, torch.arange(10).repeat(12)))}
    for given, missing in ((1, 48), (2, 32), (3, 16)):
        for method in ("mc", "is"):
            metric = metrics.pop(f"completion_nll_{given}_given_{method}")
            assert metric.value == pytest.approx(missing * math.log(2), rel=1e-4)
            assert float(metric.baseline.split()[-1]) == pytest.approx(missing * math.log(2), rel=1e-3)
            assert metric.n == 120
    assert list(metrics) == ["label_leakage"]
