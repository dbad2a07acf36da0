"""The trap table of WGAN-GP."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo_wgan_gp.train
from recording import Recorder
from torch import Tensor, nn
from zoo_wgan_gp.model import WGANGP, Critic, glorot, he
from zoo_wgan_gp.train import gradient_norm, train

import zoo
from zoo.data.batches import Batches
from zoo.data.source import Dataset

NETS = {"G": "model", "D": "D"}
TINY = WGANGP.Config(image_size=16, width=4, latent_dim=8)
TINY_RESNET = TINY.model_copy(update={"architecture": "resnet"})
BOTH = pytest.mark.parametrize("config", [TINY, TINY_RESNET], ids=["dcgan", "resnet"])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def black_and_white() -> Batches:
    """Batches of 8 out of 64 images of which half the values are 0 and half are 1."""
    images = 255 * torch.randint(0, 2, (64, 3, 16, 16), dtype=torch.uint8)
    return Batches(Dataset("made", "train", images), "images", 8, preparation=zoo.Preparation(size=16))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Two steps of the real loop."""
    torch.manual_seed(0)
    run = Recorder(tmp_path_factory.mktemp("run"), NETS)
    train(WGANGP(TINY), black_and_white(), run, steps=2)
    return run


class Linear(nn.Module):
    """D(x) = w . x."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w


def pair(n: int = 6) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 3, 4, 4) * 2 - 1, torch.rand(n, 3, 4, 4) * 2 - 1


def places(n: int = 6) -> Tensor:
    return zoo.Noise(0, 0, n).uniform(1, 1, 1)


# --- the penalty


@pytest.mark.parametrize("length", [0.2, 1.0, 3.0])
def test_the_gradient_norm_of_a_linear_critic_is_the_length_of_its_weights(length: float) -> None:
    w = torch.randn(48)
    norm = gradient_norm(Linear(length * w / w.norm()), *pair(), places())
    assert norm.tolist() == pytest.approx([length] * 6, abs=1e-6)


def test_the_penalty_pulls_the_weights_of_a_linear_critic_to_length_1() -> None:
    D = Linear(torch.randn(48))
    (gradient,) = torch.autograd.grad((gradient_norm(D, *pair(), places()) - 1).square().mean(), D.w)
    expected = 2 * (1 - 1 / D.w.norm()) * D.w
    assert torch.allclose(gradient, expected, atol=1e-5)
    assert expected.norm() > 1


def test_the_norm_is_of_each_image_by_itself() -> None:
    class Quadratic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().flatten(1).sum(1) / 2

    x, x_tilde = pair()
    norm = gradient_norm(Quadratic(), x, x_tilde, torch.ones(6, 1, 1, 1))
    assert torch.allclose(norm, x.flatten(1).norm(dim=1), atol=1e-6)


def test_a_constant_critic_costs_1_and_has_finite_gradients() -> None:
    D = Linear(torch.zeros(48))
    penalty = (gradient_norm(D, *pair(), places()) - 1).square().mean()
    (gradient,) = torch.autograd.grad(penalty, D.w)
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert gradient.isfinite().all()


@BOTH
@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_gradient_of_the_penalty_is_its_slope(config: WGANGP.Config, layer_norm: bool) -> None:
    """Second derivatives through every kind of layer the critics have: against the difference quotient, in float64."""
    D = smooth(Critic(config, layer_norm=layer_norm)).double()
    x, x_tilde = (torch.rand(3, 3, 16, 16) * 2 - 1 for _ in range(2))
    weights = [p for p in D.parameters() if p.ndim > 1]

    def penalty() -> Tensor:
        x_hat = (0.3 * x + 0.7 * x_tilde).double().requires_grad_()
        (gradient,) = torch.autograd.grad(D(x_hat).sum(), x_hat, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

    gradients = torch.autograd.grad(penalty(), weights)
    directions = [torch.randn_like(w) for w in weights]
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))

    def moved(by: float) -> Tensor:
        with torch.no_grad():
            for w, d in zip(weights, directions, strict=True):
                w.add_(by * d)
        return penalty()

    ahead, behind = moved(1e-5), moved(-2e-5)
    assert ((ahead - behind) / 2e-5).item() == pytest.approx(slope.item(), rel=1e-4)


def smooth(net: nn.Module) -> nn.Module:
    """The same net with a softplus for every kink, where difference quotients would not converge."""
    for name, part in net.named_children():
        setattr(net, name, nn.Softplus() if isinstance(part, nn.ReLU | nn.LeakyReLU) else smooth(part))
    return net


def test_the_points_are_on_the_segments_each_at_a_place_of_its_own(recorded: Recorder) -> None:
    shares = []
    for x, x_tilde, x_hat in critic_steps(recorded):
        to_real, to_fake, whole = (
            (a - b).flatten(1).norm(dim=1) for a, b in ((x_hat, x), (x_hat, x_tilde), (x, x_tilde))
        )
        assert torch.allclose(to_real + to_fake, whole, rtol=1e-4)
        shares += (to_fake / whole).tolist()
    assert len({round(share, 4) for share in shares}) > 0.9 * len(shares) == 72
    assert min(shares) < 0.1
    assert max(shares) > 0.9


def test_the_point_is_a_leaf_so_that_no_gradient_goes_on_to_the_images() -> None:
    seen: list[Tensor] = []
    D = Linear(torch.randn(48))
    D.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x, x_tilde = (part.requires_grad_() for part in pair())
    gradient_norm(D, x, x_tilde, places()).sum().backward()
    assert seen[0].is_leaf
    assert x.grad is None
    assert x_tilde.grad is None


def test_in_bfloat16_the_penalty_is_that_of_float32() -> None:
    D, x, x_tilde = Critic(TINY), *(torch.rand(8, 3, 16, 16) for _ in range(2))
    exact = gradient_norm(D, x, x_tilde, places(8))
    with torch.autocast("cpu", torch.bfloat16):
        assert D(x).dtype == torch.bfloat16
        mixed = gradient_norm(D, x, x_tilde.bfloat16(), places(8))
    assert mixed.dtype == torch.float32
    assert torch.allclose(gradient_norm(D, x, x_tilde.bfloat16().float(), places(8)), mixed)
    assert torch.allclose(mixed, exact, rtol=1e-2)


def test_training_in_bfloat16_stays_finite_and_near_float32(tmp_path: Path) -> None:
    runs = [Recorder(tmp_path, precision=precision) for precision in ("float32", "bfloat16")]
    for run in runs:
        torch.manual_seed(0)
        train(WGANGP(TINY), black_and_white(), run, steps=12)
    exact, mixed = (torch.tensor(run.losses) for run in runs)
    assert len(mixed) == 72
    assert mixed.isfinite().all()
    assert mixed[0].item() == pytest.approx(exact[0].item(), rel=1e-2)


# --- the objective: a distance that is known


class Given(nn.Module):
    """A generator of one fixed distribution: z itself, times `scale`. One weight, of no effect, for its optimizer."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.config = WGANGP.Config(latent_dim=1)
        self.idle, self.scale = nn.Parameter(torch.zeros(())), scale

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * z.view(-1, 1, 1, 1) + 0 * self.idle


class Curve(nn.Module):
    """A critic on the line. It begins flat: a slope of 1 the wrong way is a local optimum of the penalised loss."""

    def __init__(self, config: WGANGP.Config, *, layer_norm: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(1, 32), nn.Softplus(), nn.Linear(32, 32), nn.Softplus())
        self.end = nn.Linear(32, 1)
        nn.init.zeros_(self.end.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.layers(x)).squeeze(1)


class EvenCurve(Curve):
    """A critic of the distance from 0, for distributions about 0: with a peak there from the start."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.abs())


def normals(mean: float, scale: float) -> Iterator[Tensor]:
    """Batches of one pixel which, in [-1, 1], is N(mean, scale^2)."""
    while True:
        yield (mean + scale * torch.randn(512, 1, 1, 1) + 1) / 2


def learned(out: Path, patch: pytest.MonkeyPatch, real: tuple[float, float], fake: float, weight: float) -> Recorder:
    """The family's own loop on a critic on the line, with real images N(mean, scale^2) and made ones N(0, fake^2)."""
    patch.setattr(zoo_wgan_gp.train, "Critic", Curve if real[0] else EvenCurve)
    run = Recorder(out)
    train(Given(fake), normals(*real), run, steps=40, n_critic=10, lr=1e-2, decay=1.0, penalty=weight)
    return run


def estimate(run: Recorder, real: tuple[float, float], fake: float) -> float:
    """E D(x) - E D(x_tilde) over quantiles of both."""
    z = torch.special.ndtri((torch.arange(20_001) + 0.5) / 20_001)[:, None, None, None]
    with torch.no_grad():
        return (run.parts["D"](real[0] + real[1] * z).mean() - run.parts["D"](fake * z).mean()).item()


@pytest.mark.parametrize(
    ("real", "fake", "distance"), [((3.0, 1.0), 1.0, 3.0), ((0.0, 1.0), 2.0, math.sqrt(2 / math.pi))]
)
def test_the_critic_finds_the_distance_of_two_normals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: tuple[float, float], fake: float, distance: float
) -> None:
    """The optimum of the penalised objective is above W1 by W1^2 / (2 lambda) at least, so lambda is large here."""
    run = learned(tmp_path, monkeypatch, real, fake, weight=100.0)
    assert estimate(run, real, fake) == pytest.approx(distance, rel=0.05)


def test_at_the_optimum_the_mean_gradient_norm_is_1_plus_the_distance_over_2_lambda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaling the critic changes nothing to first order: W = 2 lambda E[n (n - 1)]; with the paper's lambda of 10."""
    run = learned(tmp_path, monkeypatch, (3.0, 1.0), 1.0, weight=10.0)
    last = run.logged[-100:]
    norm = sum(row["gradient_norm"] for row in last) / len(last)
    assert norm == pytest.approx(1 + 3 / 20, rel=0.02)
    assert estimate(run, (3.0, 1.0), 1.0) > 3 * norm * 0.98


def test_the_critic_rises_towards_the_real_images_and_the_generator_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mean in (3.0, -3.0):
        run = learned(tmp_path, monkeypatch, (mean, 1.0), 1.0, weight=10.0)
        line = torch.linspace(-3, 3, 7)[:, None, None, None] + mean / 2
        with torch.no_grad():
            rises = run.parts["D"](line).diff()
        assert (rises * mean > 0).all()
        assert estimate(run, (mean, 1.0), 1.0) > 0
        made = torch.zeros(4, 1, 1, 1, requires_grad=True)
        (pull,) = torch.autograd.grad(-run.parts["D"](made).mean(), made)  # what the last loss of the loop gives to G
        assert (pull * mean < 0).all()


def test_the_losses_are_those_of_the_paper(recorded: Recorder) -> None:
    """Of the critic: penalty less the estimate. The estimate itself is logged without the penalty."""
    losses = [update.loss for update in recorded.updates if update.optimizer == "opt_D"]
    assert losses == pytest.approx([row["penalty"] - row["wasserstein"] for row in recorded.logged], rel=1e-5)


def test_the_loss_of_the_generator_is_minus_the_score_of_its_images(tmp_path: Path) -> None:
    run = Recorder(tmp_path, NETS)
    train(WGANGP(TINY), black_and_white(), run, steps=1, n_critic=1, lr=0.0)
    with torch.no_grad():
        assert run.losses[-1] == pytest.approx(-run.parts["D"](run.seen("D")[-1].given[0]).mean().item(), rel=1e-5)


# --- the algorithm


def critic_steps(run: Recorder) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Real, made and middle images of each step of the critic, in order."""
    steps = [number for number, update in enumerate(run.updates) if update.optimizer == "opt_D"]
    passes = [[call.given[0] for call in run.seen("D", number)] for number in steps]
    return [(*both.chunk(2), middle) for both, middle in passes]


def test_the_critic_makes_five_steps_for_one_of_the_generator(recorded: Recorder) -> None:
    assert [update.optimizer for update in recorded.updates] == [*5 * ["opt_D"], "opt_G"] * 2


def test_each_step_has_images_and_latents_of_its_own(recorded: Recorder) -> None:
    steps = critic_steps(recorded)
    for part in range(2):
        images = torch.cat([step[part] for step in steps[:5]])
        assert len(images.flatten(1).unique(dim=0)) == 40
    real, fake, _ = steps[0]
    assert (real.min(), real.max()) == (-1, 1)
    assert fake.abs().max() < 1


def test_the_loss_of_the_critic_does_not_reach_the_generator(recorded: Recorder) -> None:
    for update in recorded.updates:
        led = any(gradient is not None for gradient in update.reach["G"])
        assert led == (update.optimizer == "opt_G")


def test_adam_has_the_settings_of_the_authors(recorded: Recorder) -> None:
    for optimizer in (recorded.parts["opt_G"], recorded.parts["opt_D"]):
        assert [(group["lr"], group["betas"]) for group in optimizer.param_groups] == [(1e-4, (0.5, 0.9))]


def test_the_learning_rate_is_constant_or_falls_to_0_with_the_steps_of_the_generator(tmp_path: Path) -> None:
    constant, falling = Recorder(tmp_path, NETS), Recorder(tmp_path, NETS)
    train(WGANGP(TINY), black_and_white(), constant, steps=4, n_critic=2)
    train(WGANGP(TINY), black_and_white(), falling, steps=4, n_critic=2, lr=2e-4, decay=1.0)
    assert constant.rates == [1e-4] * 12
    assert falling.rates == pytest.approx([rate for rate in (2e-4, 1.5e-4, 1e-4, 0.5e-4) for _ in range(3)])
    assert [falling.parts[name].param_groups[0]["lr"] for name in ("opt_G", "opt_D")] == [0, 0]


def test_batch_norm_of_the_generator_sees_every_batch_of_both_kinds_of_step(tmp_path: Path) -> None:
    run = Recorder(tmp_path, NETS)
    train(WGANGP(TINY), black_and_white(), run, steps=2)
    counts = [part.num_batches_tracked.item() for part in run.nets["G"].modules() if isinstance(part, nn.BatchNorm2d)]
    assert counts
    assert set(counts) == {12}
    assert run.nets["G"].training


def test_dequantization_adds_less_than_a_128th(tmp_path: Path) -> None:
    run = Recorder(tmp_path, NETS)
    train(WGANGP(TINY), black_and_white(), run, steps=1, dequantize=True)
    x = torch.cat([step[0] for step in critic_steps(run)])
    added = torch.where(x > 0, x - 1, x + 1)
    assert added.min() >= -1e-6
    assert added.max() <= 1 / 128 + 1e-6
    assert added.mean().item() == pytest.approx(1 / 256, rel=0.05)


def test_the_published_weights_have_statistics_of_their_own(tmp_path: Path) -> None:
    """Sampling one by one then looks like sampling in the batches that training saw."""
    run = zoo.Run(tmp_path, device="cpu", progress=False, ema=0.999)
    train(WGANGP(TINY), black_and_white(), run, steps=2)
    G, z = run.published, torch.randn(512, 8)
    with torch.no_grad():
        with_running_statistics, with_batch_statistics = G.eval()(z), G.train()(z)
    assert (with_running_statistics - with_batch_statistics).abs().mean() < 0.1 * with_batch_statistics.std()


# --- the nets


@BOTH
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_critic_judges_each_image_by_itself(config: WGANGP.Config, layer_norm: bool, training: bool) -> None:
    D, x = Critic(config, layer_norm=layer_norm).train(training), torch.rand(5, 3, 16, 16)
    assert torch.allclose(D(x)[:1], D(x[:1]), atol=1e-5)
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in D.modules())
    norms = [part for part in D.modules() if isinstance(part, nn.GroupNorm)]
    assert all(norm.num_groups == 1 for norm in norms)
    assert bool(norms) is layer_norm


@BOTH
def test_the_score_is_unbounded(config: WGANGP.Config) -> None:
    D, x = Critic(config), torch.rand(4, 3, 16, 16)
    before = D(x)
    with torch.no_grad():
        D.layers[-1].weight.mul_(10)
    assert torch.allclose(D(x), 10 * before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [16, 28, 32, 64])
@pytest.mark.parametrize(("architecture", "kernel"), [("dcgan", 4), ("dcgan", 5), ("resnet", 5)])
def test_images_have_their_size(size: int, architecture: Any, kernel: Any) -> None:
    config = WGANGP.Config(image_size=size, architecture=architecture, kernel=kernel, width=2, latent_dim=3, channels=1)
    with torch.no_grad():
        made = WGANGP(config)(torch.randn(2, 3))
        assert made.shape == (2, 1, size, size)
        assert Critic(config, layer_norm=True)(made).shape == (2,)


def parameters(kind: type[nn.Module], config: WGANGP.Config) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in kind(config).parameters())


def test_the_residual_nets_have_the_authors_parameters() -> None:
    config = WGANGP.Config(image_size=32, architecture="resnet", width=128)
    assert parameters(WGANGP, config) == 1_204_483
    assert parameters(Critic, config) == 1_053_825


def test_the_nets_for_digits_have_the_authors_layers() -> None:
    """128 -> 4x4x256 -> 8x8x128, cut to 7x7 -> 14x14x64 -> 28x28; and 28 -> 14 -> 7 -> 4. No norm at all."""
    config = WGANGP.Config(image_size=28, channels=1, batch_norm=False)
    convolutions = [(256, 128), (128, 64), (64, 1)]
    G = (128 + 1) * 4096 + sum(25 * a * b for a, b in convolutions) + 128 + 64 + 1
    D = sum(25 * a * b for a, b in convolutions) + 256 + 128 + 64 + 4096 + 1
    assert parameters(WGANGP, config) == G
    assert parameters(Critic, config) == D
    sides: list[int] = []
    with torch.no_grad():
        net = WGANGP(config)
        for part in net.layers:
            part.register_forward_hook(lambda _, __, output: sides.append(output.shape[-1]))
        net(torch.randn(1, 128))
    assert list(dict.fromkeys(sides[1:])) == [4, 8, 7, 14, 28]


@pytest.mark.parametrize(("scheme", "gain"), [(he, 4), (glorot, 2)])
def test_initial_weights_have_the_variance_of_their_fans(scheme: Any, gain: int) -> None:
    """What a value is made of, and what it goes into; with a stride only a part of the larger side's kernel counts."""
    layers = {
        nn.Linear(300, 200): 300 + 200,
        nn.Conv2d(60, 80, 5, 2): 25 * 60 + 25 * 80 / 4,
        nn.ConvTranspose2d(60, 80, 4, 2): 16 * 60 / 4 + 16 * 80,
    }
    for layer, fans in layers.items():
        scheme(layer)
        assert layer.weight.var().item() == pytest.approx(gain / fans, rel=0.03)
        assert not layer.bias.any()


def test_samples_are_the_images_of_normal_latents() -> None:
    G = WGANGP(TINY).eval()
    with torch.no_grad():
        samples, expected = G.sample(zoo.Noise(0, 0, 16)), G(zoo.Noise(0, 0, 16).normal(8))
    assert torch.equal(samples, (expected + 1) / 2)
    assert samples.min() > 0
    assert samples.max() < 1
