"""The trap table of RealNVP: every inverse, every log-determinant, and what the likelihood is the likelihood of."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from recording import Recorder
from torch import Tensor, nn
from torch.distributions import Normal
from zoo_realnvp.evaluate import evaluate
from zoo_realnvp.model import (
    Conv,
    Coupling,
    RealNVP,
    RunningNorm,
    Scale,
    checkerboard,
    diagonals,
    halves,
    squeeze,
    undo_diagonals,
    unsqueeze,
)
from zoo_realnvp.train import train

import zoo
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.family.registry import registry
from zoo.testing import Case

COLOUR = RealNVP.Config(image_size=4, channels=3, scales=2, width=4, blocks=1)
GREY = RealNVP.Config(image_size=8, channels=1, scales=3, width=4, blocks=1)
SHALLOW = GREY.model_copy(update={"scales": 1})


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def shaken(module: nn.Module) -> Any:
    """All parameters and statistics random, in float64 and eval mode: a fresh flow is near the identity."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.3)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return module.double().eval()


def identity(config: RealNVP.Config) -> RealNVP:
    """A flow that changes nothing: only the logit is left."""
    flow = RealNVP(config).double().eval()
    for module in flow.modules():
        if isinstance(module, Coupling):
            nn.init.zeros_(module.net.last[-1].g)
            nn.init.constant_(module.norm.running_var, 1 - module.norm.eps)
    return flow


def uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64)


def slogdet(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """log |det| of f's Jacobian at each row of x, by autograd, (n,)."""
    found = []
    for row in x:
        jacobian = torch.autograd.functional.jacobian(lambda v: f(v[None])[0].flatten(), row)
        found.append(torch.linalg.slogdet(jacobian.reshape(row.numel(), row.numel())).logabsdet)
    return torch.stack(found)


def joined(scale: Scale, x: Tensor) -> Tensor:
    y, done, _ = scale(x)
    return torch.cat([y, done], 1)


class Levels:
    """Dequantisation noise that is `u` everywhere."""

    def __init__(self, u: float) -> None:
        self.u = u

    def uniform(self, *shape: int) -> Tensor:
        return torch.full((1, *shape), self.u, dtype=torch.float64)


# --- inverses and log-determinants, in float64 and after all parameters are randomised

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "checkerboard": lambda: Coupling(checkerboard(4, 4, 0), 4, 2),
    "other checkerboard": lambda: Coupling(checkerboard(4, 4, 1), 4, 2),
    "halves": lambda: Coupling(halves(4, 4, 0), 4, 2),
    "other halves": lambda: Coupling(halves(4, 4, 1), 4, 2),
    "norm": lambda: RunningNorm(4, affine=False),
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_has_its_inverse_and_its_log_determinant(name: str) -> None:
    layer, x = shaken(LAYERS[name]()), torch.randn(2, 4, 4, 4, dtype=torch.float64)
    y, log_det = layer(x)
    assert (y - x).abs().max() > 0.1
    assert (layer.inverse(y) - x).abs().max() < 1e-10
    assert torch.allclose(log_det, slogdet(lambda v: layer(v)[0], x), atol=1e-8)
    assert torch.allclose(-log_det, slogdet(layer.inverse, y.detach()), atol=1e-8)


def test_a_scale_has_its_inverse_and_its_log_determinant() -> None:
    scale, x = shaken(Scale(2, 4, 4, 1)), torch.randn(2, 2, 4, 4, dtype=torch.float64)
    y, done, log_det = scale(x)
    assert y.shape == done.shape == (2, 4, 2, 2)
    assert (scale.inverse(y, done) - x).abs().max() < 1e-10
    assert torch.allclose(log_det, slogdet(lambda v: joined(scale, v), x), atol=1e-8)


@pytest.mark.parametrize("config", [COLOUR, GREY], ids=["colour", "grey"])
def test_the_flow_has_its_inverse_and_its_log_determinant(config: RealNVP.Config) -> None:
    model, u = shaken(RealNVP(config)), uniform(2, config.channels, config.image_size, config.image_size)
    z, log_det = model.flow(u)
    assert z.shape == (2, u[0].numel())
    assert (model.inverse(z) - u).abs().max() < 1e-10
    assert torch.allclose(log_det, slogdet(lambda v: model.flow(v)[0], u), atol=1e-7)
    assert torch.allclose(-log_det, slogdet(model.inverse, z.detach()), atol=1e-7)


@pytest.mark.parametrize("alpha", [0.05, 1e-6])
def test_the_logit_has_its_log_determinant(alpha: float) -> None:
    model, u = RealNVP(COLOUR.model_copy(update={"alpha": alpha})), uniform(2, 3, 4, 4)
    assert torch.allclose(model.logit(u)[1], slogdet(lambda v: model.logit(v)[0], u), atol=1e-8)


def test_the_prior_is_that_of_all_parts() -> None:
    """log p = log N(z) + log |det dz/du| with both from elsewhere; D log 256 less makes it one per 8-bit cell."""
    model, u = shaken(RealNVP(COLOUR)), uniform(2, 3, 4, 4)
    z = model.flow(u)[0]
    expected = Normal(0, 1).log_prob(z).sum(1) + slogdet(lambda v: model.flow(v)[0], u) - 48 * math.log(256)
    assert torch.allclose(model.log_density(u), expected, atol=1e-7)


def test_density_and_samples_agree() -> None:
    """The density of what z decodes to is the prior's, corrected by the inverse's own Jacobian."""
    model, z = shaken(RealNVP(COLOUR)), torch.randn(2, 48, dtype=torch.float64)
    expected = Normal(0, 1).log_prob(z).sum(1) - slogdet(model.inverse, z) - 48 * math.log(256)
    assert torch.allclose(model.log_density(model.inverse(z)), expected, atol=1e-7)


def test_a_density_of_couplings_integrates_to_one() -> None:
    layers = [shaken(Coupling(halves(2, 1, turn), 4, 1)) for turn in range(4)]
    step = 0.1
    axis = torch.arange(-15, 15, step, dtype=torch.float64)
    y = torch.cartesian_prod(axis, axis).view(-1, 2, 1, 1)
    log_density = torch.zeros(len(y), dtype=torch.float64)
    with torch.no_grad():
        for layer in layers:
            y, log_det = layer(y)
            log_density += log_det
    log_density += Normal(0, 1).log_prob(y).flatten(1).sum(1)
    assert (log_density.exp().sum() * step**2).item() == pytest.approx(1, abs=0.01)


def test_log_prob_is_differentiable() -> None:
    model, x = shaken(RealNVP(COLOUR)), uniform(1, 3, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(model.log_prob, x, fast_mode=True)


# --- masks and squeezes (section 3.4 to 3.6)


@pytest.mark.parametrize("mask", [checkerboard(4, 4, 0), halves(4, 4, 1)], ids=["checkerboard", "halves"])
def test_s_and_t_see_the_kept_part_and_move_the_other(mask: Tensor) -> None:
    coupling, x = shaken(Coupling(mask, 4, 1)), torch.randn(1, 4, 4, 4, dtype=torch.float64)
    kept = mask.flatten().bool()
    for i in range(2):
        values = coupling.shifts(x)[i].flatten()
        slopes = torch.autograd.functional.jacobian(lambda v, i=i: coupling.shifts(v)[i].flatten(), x).view(64, 64)
        assert not values[kept].any()
        assert values[~kept].all()
        assert not slopes[:, ~kept].any()
        assert slopes[~kept][:, kept].abs().sum(1).all()


@pytest.mark.parametrize("mask", [checkerboard, halves])
def test_consecutive_masks_are_complements_and_even(mask: Callable[[int, int, int], Tensor]) -> None:
    first, second, third = (mask(4, 6, turn) for turn in range(3))
    assert torch.equal(first + second, torch.ones(4, 6, 6))
    assert torch.equal(first, third)
    assert first.mean() == 0.5


def test_the_checkerboard_keeps_odd_row_plus_column() -> None:
    assert checkerboard(1, 3, 0).tolist() == [[[0, 1, 0], [1, 0, 1], [0, 1, 0]]]


def test_all_couplings_of_a_model_take_turns() -> None:
    model = RealNVP(GREY)
    stacks = [model.last, *(stack for scale in model.scales for stack in (scale.fine, scale.coarse))]
    assert [len(stack) for stack in stacks] == [4, 3, 3, 3, 3]
    for stack in stacks:
        for one, next_one in pairwise(stack):
            assert torch.equal(one.mask + next_one.mask, torch.ones_like(one.mask))


def test_squeezes_are_undone_exactly() -> None:
    x = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    assert squeeze(x).shape == diagonals(x).shape == (2, 12, 2, 2)
    assert torch.equal(unsqueeze(squeeze(x)), x)
    assert torch.equal(undo_diagonals(diagonals(x)), x)


@pytest.mark.parametrize("channels", [1, 3])
def test_channel_halves_do_not_repeat_the_checkerboard(channels: int) -> None:
    colours = squeeze(checkerboard(channels, 4, 0)[None])[0]
    half = halves(4 * channels, 2, 0).bool()
    assert colours[half].mean() == colours[~half].mean() == 0.5


def test_what_goes_on_is_the_main_diagonal_of_each_block() -> None:
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]])[None]
    on, done = diagonals(x).chunk(2, 1)
    assert on.flatten().tolist() == [1, 10, 4, 40]
    assert done.flatten().tolist() == [2, 20, 3, 30]


def test_an_image_that_cannot_be_halved_so_often_is_refused() -> None:
    with pytest.raises(ValueError, match="image_size 28 cannot be halved 3 times"):
        RealNVP(RealNVP.Config(image_size=28))


# --- s, t nets and norms (section 3.7)


def test_the_scale_is_bounded_by_gamma_whatever_comes_in() -> None:
    coupling = shaken(Coupling(checkerboard(2, 4, 0), 4, 1))
    s, _ = coupling.shifts(1e6 * torch.randn(8, 2, 4, 4, dtype=torch.float64))
    assert (s.abs() <= coupling.scale.abs()).all()
    assert torch.allclose(s.abs().amax((0, 2, 3)), coupling.scale.abs().flatten())


def test_weight_norm_takes_the_size_of_a_filter_from_g_alone() -> None:
    conv, x = shaken(Conv(3, 4, 3)), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        before = conv(x) - conv.bias[:, None, None]
        conv.v.mul_(torch.rand(4, 1, 1, 1) + 0.5)
        conv.g.mul_(3)
        after = conv(x) - conv.bias[:, None, None]
    assert torch.allclose(after, 3 * before)
    plain = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1).double())
    plain.load_state_dict(
        {
            "bias": conv.bias,
            "parametrizations.weight.original0": conv.g,
            "parametrizations.weight.original1": conv.v,
        }
    )
    assert torch.allclose(plain(x), conv(x))


def test_training_normalises_by_running_averages_and_learns_by_the_batchs_share() -> None:
    """Appendix E: averages of 0 and 1 move a tenth of the way; so much of the gradient passes, and no more."""
    norm, x = RunningNorm(1, affine=False).double(), (5 + 2 * torch.randn(8, 1, 4, 4, dtype=torch.float64))
    x.requires_grad_()
    mean, var = 0.1 * x.detach().mean(), 0.9 + 0.1 * x.detach().var(correction=0)
    y, log_det = norm(x)
    assert torch.allclose(y, (x - mean) / (var + norm.eps).sqrt())
    assert log_det.item() == pytest.approx(-8 * math.log(var.item() + norm.eps))
    assert norm.running_mean.item() == pytest.approx(mean.item())
    assert norm.running_var.item() == pytest.approx(var.item())
    (slope,) = torch.autograd.grad(norm.update(x)[0].sum(), x)
    assert torch.allclose(slope, torch.full_like(slope, 0.1 / x.numel()))


def test_without_momentum_the_averages_are_those_of_all_batches() -> None:
    norm, x = RunningNorm(3, affine=False), torch.randn(4, 8, 3, 4, 4) * 2 + 1
    norm.momentum = None
    for batch in x:
        norm(batch)
    assert torch.allclose(norm.running_mean, x.mean((0, 1, 3, 4)), atol=1e-5)
    assert torch.allclose(norm.running_var, x.var((1, 3, 4), correction=0).mean(0), atol=1e-5)


def test_once_published_a_density_does_not_depend_on_its_batch() -> None:
    model, x = shaken(RealNVP(COLOUR)), uniform(4, 3, 4, 4)
    assert torch.allclose(model.log_prob(x)[:1], model.log_prob(x[:1]))
    assert not torch.allclose(model.train().log_prob(x)[:1], model.eval().log_prob(x[:1]))


def test_bfloat16_stays_inside_the_nets() -> None:
    """Latents, determinants and densities are float32, and bits per dimension hardly move."""
    model, u = shaken(RealNVP(GREY)).float(), uniform(64, 1, 8, 8).float()
    with torch.no_grad():
        exact = model.log_density(u)
        with torch.autocast("cpu", torch.bfloat16):
            z, log_det = model.flow(u)
            close = model.log_density(u)
    assert z.dtype == log_det.dtype == close.dtype == torch.float32
    assert not torch.equal(close, exact)
    assert ((close - exact).mean() / (64 * math.log(2))).abs() < 0.01


# --- what the likelihood is (section 4.1)


def every_level() -> Tensor:
    """One image of all 256 levels."""
    return (torch.arange(256, dtype=torch.float64) / 255).view(1, 1, 16, 16)


def bits(nats: Tensor) -> float:
    return (-nats / (256 * math.log(2))).mean().item()


def test_the_identity_scores_uniform_noise_at_8_2075_bits() -> None:
    """Known from quadrature: it needs the 8, the logit's slope, and pixels scaled by 1/256 (1/255 shifts it 0.0056)."""
    model = identity(RealNVP.Config(image_size=16, channels=1, scales=1, width=4, blocks=1))
    draws = [bits(model.elbo(every_level(), Levels((i + 0.5) / 20))) for i in range(20)]
    assert sum(draws) / 20 == pytest.approx(8.2075, abs=2e-4)


def test_log_prob_is_the_density_at_the_middle_of_the_cell() -> None:
    model, x = shaken(RealNVP(COLOUR)), torch.randint(0, 256, (2, 3, 4, 4)) / 255.0
    x = x.double()
    assert torch.allclose(model.log_prob(x), model.elbo(x, Levels(0.5)))
    assert torch.allclose(model.encode(x), model.flow((255 * x + 0.5) / 256)[0])


def test_the_bound_is_below_the_log_probability_of_the_cell() -> None:
    """A cell's probability is the mean of the density per cell over it: here by a fine grid on one pixel."""
    model = shaken(RealNVP(COLOUR))
    u = uniform(1, 3, 4, 4).repeat(256, 1, 1, 1)
    u[:, 0, 0, 0] = (100 + (torch.arange(256) + 0.5) / 256) / 256
    with torch.no_grad():
        log_density = model.log_density(u)
    probability = log_density.logsumexp(0) - math.log(256)
    assert log_density.mean() < probability
    assert log_density.mean().item() == pytest.approx(probability.item(), abs=0.1)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_images_have_finite_densities_and_come_back(level: float) -> None:
    model, x = RealNVP(COLOUR).eval(), torch.full((2, 3, 4, 4), level)
    noise = zoo.Noise(0, 0, 2)
    assert model.log_prob(x).isfinite().all()
    assert model.elbo(x, noise).isfinite().all()
    assert (model.decode(model.encode(x)) - x).abs().max() < 1e-5


def test_decoding_undoes_the_preprocessing() -> None:
    """Every 8-bit image comes back as it was, and any u rounds to the level in whose cell it lies."""
    model = shaken(RealNVP(COLOUR))
    x = torch.randint(0, 256, (4, 3, 4, 4)).double() / 255
    assert (model.decode(model.encode(x)) - x).abs().max() < 1e-9
    u = uniform(4, 3, 4, 4)
    assert torch.equal((255 * model.decode(model.flow(u)[0])).round(), (256 * u).floor())


def test_samples_stay_in_range_though_the_density_reaches_beyond() -> None:
    model = shaken(RealNVP(COLOUR))
    z = 5 * torch.randn(64, 48, dtype=torch.float64)
    u = model.inverse(z)
    assert u.min() < 0
    assert u.max() > 1
    assert u.min() >= -0.05 / 0.9 - 1e-9
    assert u.max() <= 1 + 0.05 / 0.9 + 1e-9
    images = model.decode(z)
    assert images.min() == 0
    assert images.max() == 1


# --- the loop and the evaluation


def stripes(n: int) -> Batches:
    """Batches of 16 images 8x8 of two grey levels, in columns."""
    images = torch.full((n, 1, 8, 8), 60, dtype=torch.uint8)
    images[..., ::2] = 200
    return Batches(Dataset("made", "train", images), "images", 16, preparation=zoo.Preparation(size=8, mode="L"))


def test_each_step_sees_fresh_noise_inside_the_cells(tmp_path: Path) -> None:
    model, seen = RealNVP(SHALLOW), []
    logit = model.logit
    model.logit = lambda u: (seen.append(u.detach()), logit(u))[1]
    train(model, stripes(16), Recorder(tmp_path), steps=2)
    first, second = seen
    for u in (first, second):
        assert torch.equal((256 * u).floor().unique(), torch.tensor([60.0, 200.0]))
        assert not torch.equal(u[0], u[1])
    assert not torch.equal(first, second)


def test_l2_is_on_scales_alone_and_the_norm_of_the_gradient_is_bounded(tmp_path: Path) -> None:
    run, model = Recorder(tmp_path), RealNVP(SHALLOW)
    train(model, stripes(16), run, steps=1)
    decays = {id(p): group["weight_decay"] for group in run.parts["optimizer"].param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert decays[id(parameter)] == (5e-5 if name.endswith((".g", ".scale")) else 0), name
    assert [update.clip for update in run.updates] == [100.0]


def test_training_finds_the_grey_levels_of_simple_images(tmp_path: Path) -> None:
    """They hold no information at all: the bits of the first step are those of a flow that knows nothing."""
    run = Recorder(tmp_path)
    train(RealNVP(SHALLOW), stripes(16), run, steps=40, lr=1e-2)
    assert run.losses[0] > 6
    assert run.losses[-1] < run.losses[0] - 2


def test_published_statistics_are_measured_on_training_images(tmp_path: Path) -> None:
    """So that averaged weights score, one image at a time, as they do in batches."""
    run = zoo.Run(tmp_path, device="cpu", progress=False, ema=0.9)
    batches = stripes(64)
    train(RealNVP(SHALLOW), batches, run, steps=12, lr=3e-3)
    model, x, noise = run.published, batches.at(0), zoo.Noise(0, 0, 16)
    with torch.no_grad():
        alone = model.eval().elbo(x, noise).mean()
        for norm in (part for part in model.modules() if isinstance(part, nn.BatchNorm2d)):
            norm.momentum = 1.0
        together = model.train().elbo(x, zoo.Noise(0, 0, 16)).mean()
    assert ((alone - together) / (64 * math.log(2))).abs() < 0.05


def test_evaluation_reports_the_inverse_and_the_bits_of_training_images() -> None:
    case = Case(registry().spec("realnvp"))
    test, seen = (
        Dataset("made", split, torch.randint(0, high, (32, 3, 8, 8), dtype=torch.uint8))
        for split, high in (("test", 256), ("train", 100))
    )
    bench = zoo.Bench(case.model, test, seen, "made", 0, progress=False)
    error, fitted = evaluate(bench)
    assert error.name == "inverse_error"
    assert 0 < error.value < 1e-5
    assert fitted.name == "bits_per_dim_bound_train"
    expected = -case.model.elbo(seen.images / 255.0, seed=0).mean().item() / (192 * math.log(2))
    assert fitted.value == pytest.approx(expected, abs=1e-3)
