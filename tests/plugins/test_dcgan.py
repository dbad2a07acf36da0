"""The trap table of DCGAN and the laws of differentiable augmentation."""

import math
from pathlib import Path

import pytest
import torch
import zoo_dcgan.train
from recording import Recorder
from torch import Tensor, nn
from zoo_dcgan.augment import augment, cutout, translation
from zoo_dcgan.model import DCGAN, Discriminator, down, draw_latent, up
from zoo_dcgan.train import train

import zoo
from zoo.data.batches import Batches
from zoo.data.source import Dataset

NETS = {"G": "model", "D": "D"}
TINY = DCGAN.Config(image_size=16, width=4, latent_dim=8)
PAPER = DCGAN.Config()
PORT = DCGAN.Config(width=64, kernel=4)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorder:
    """Two steps of the real loop on images of which half the values are 0 and half are 1."""
    run = Recorder(tmp_path, NETS)
    train(DCGAN(TINY), black_and_white(), run, steps=2)
    return run


def black_and_white() -> Batches:
    """Batches of 8 images of which half the values are 0 and half are 1."""
    images = 255 * torch.randint(0, 2, (32, 3, 16, 16), dtype=torch.uint8)
    return Batches(Dataset("made", "train", images), "images", 8, preparation=zoo.Preparation(size=16))


# --- the losses (section 1 and 2 of the sheet)


@pytest.mark.parametrize(("logit", "expected"), [(0.0, 0.693147), (4.0, 0.018150), (-4.0, 4.018150)])
def test_the_loss_of_a_real_image_takes_one_sigmoid_of_the_logit(logit: float, expected: float) -> None:
    assert zoo.log_loss_real(torch.full((5,), logit)).item() == pytest.approx(expected, abs=1e-6)
    assert zoo.log_loss_fake(torch.full((5,), -logit)).item() == pytest.approx(expected, abs=1e-6)


def test_the_discriminator_gives_logits_not_probabilities() -> None:
    D = Discriminator(TINY)
    with torch.no_grad():
        D.layers[-1].weight.mul_(1e4)
    logits = D(torch.rand(64, 3, 16, 16) * 2 - 1)
    assert logits.shape == (64,)
    assert logits.min() < 0
    assert logits.max() > 1


def test_at_equilibrium_the_losses_are_2_ln_2_and_ln_2() -> None:
    undecided = torch.zeros(3)
    assert (zoo.log_loss_real(undecided) + zoo.log_loss_fake(undecided)).item() == pytest.approx(1.386294, abs=1e-6)
    assert zoo.log_loss_real(undecided).item() == pytest.approx(0.693147, abs=1e-6)


def test_the_generator_loss_does_not_saturate() -> None:
    logit = torch.logit(torch.tensor([0.01])).requires_grad_()
    (slope,) = torch.autograd.grad(zoo.log_loss_real(logit), logit)
    assert slope.item() == pytest.approx(-0.99, abs=1e-6)


def test_the_losses_are_exact_for_logits_in_bfloat16() -> None:
    assert zoo.log_loss_real(torch.full((4096,), 4.0, dtype=torch.bfloat16)).item() == pytest.approx(0.018150, abs=1e-6)


def test_the_best_discriminator_of_two_gaussians_is_found() -> None:
    """N(0, 1) against N(2, 1), each as its 4,001 quantiles: D*(x) = sigmoid(2 - 2x), value 2 JS - 2 ln 2."""
    quantiles = torch.special.ndtri((torch.arange(4_001, dtype=torch.float64) + 0.5) / 4_001)
    real, fake = quantiles.float()[:, None], quantiles.float()[:, None] + 2
    D = nn.Linear(1, 1)
    optimizer = torch.optim.LBFGS(D.parameters(), max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = zoo.log_loss_real(D(real)) + zoo.log_loss_fake(D(fake))
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        found = D(torch.tensor([[-1.0], [0.0], [1.0], [2.0], [3.0]])).sigmoid().flatten()
        value = -(zoo.log_loss_real(D(real)) + zoo.log_loss_fake(D(fake))).item()
    assert found.tolist() == pytest.approx([0.9820, 0.8808, 0.5, 0.1192, 0.0180], abs=1e-3)
    assert value == pytest.approx(2 * 0.33683 - 2 * math.log(2), abs=1e-4)
    assert value == pytest.approx(-0.71263, abs=1e-4)


# --- the loop


def test_each_step_updates_d_then_g(recorded: Recorder) -> None:
    assert [update.optimizer for update in recorded.updates] == ["opt_D", "opt_G"] * 2


def test_d_is_bit_identical_over_a_g_step_and_g_over_a_d_step(recorded: Recorder) -> None:
    for update in recorded.updates:
        mine, other = ("G", "D") if update.optimizer == "opt_G" else ("D", "G")
        assert all(update.steps[mine])
        assert not any(update.steps[other])


def test_the_fake_is_detached_in_the_d_step(recorded: Recorder) -> None:
    for update in recorded.updates:
        reached = [gradient is not None for gradient in update.reach["G"]]
        assert all(reached) if update.optimizer == "opt_G" else not any(reached)


def test_d_sees_real_and_fake_apart_and_fresh_fakes_for_g(recorded: Recorder) -> None:
    seen = [call.given[0] for call in recorded.seen("D")]
    assert len(seen) == 6
    assert all(len(x) == 8 for x in seen)
    real, fake, fresh = seen[:3]
    assert real.unique().tolist() == [-1, 1]
    assert fake.unique().numel() > 2
    assert not torch.equal(fake, fresh)


def test_d_learns_to_tell_and_g_to_be_taken_for_real(recorded: Recorder) -> None:
    """-log D(x) - log(1 - D(G(z))), not halved, and -log D(G(z)): written out from the logits."""
    (real, fake, fresh), (loss_D, loss_G) = (call.gave[0] for call in recorded.seen("D")[:3]), recorded.losses[:2]
    assert loss_D == pytest.approx((-real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()).item(), abs=1e-5)
    assert loss_G == pytest.approx(-fresh.sigmoid().log().mean().item(), abs=1e-5)


def test_a_mixed_batch_would_change_what_d_says_of_the_real_images() -> None:
    D, x = Discriminator(TINY).train(), torch.rand(8, 3, 16, 16) * 2 - 1
    mixed = D(torch.cat([x, torch.zeros_like(x)]))[:8]
    assert not torch.allclose(D(x), mixed, atol=1e-3)


def test_all_that_d_sees_is_augmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policies: list[str] = []
    monkeypatch.setattr(zoo_dcgan.train, "augment", lambda x, policy: (policies.append(policy), 0 * x)[1])
    run = Recorder(tmp_path, NETS)
    train(DCGAN(TINY), black_and_white(), run, steps=1, augmentation="cutout")
    assert policies == ["cutout"] * 3
    assert all(not call.given[0].any() for call in run.seen("D"))


# --- the nets (section 3 of the sheet)


@pytest.mark.parametrize("kernel", [4, 5])
def test_up_doubles_and_down_halves_the_side_exactly(kernel: int) -> None:
    for side in (4, 8, 16, 32, 7, 14):
        assert up(2, 3, kernel)(torch.zeros(1, 2, side, side)).shape == (1, 3, 2 * side, 2 * side)
        assert down(3, 2, kernel)(torch.zeros(1, 3, 2 * side, 2 * side)).shape == (1, 2, side, side)


@pytest.mark.parametrize(
    ("size", "sides"), [(64, [4, 8, 16, 32, 64]), (28, [7, 14, 28]), (32, [4, 8, 16, 32]), (16, [4, 8, 16])]
)
@pytest.mark.parametrize("kernel", [4, 5])
def test_the_generator_grows_the_image_stage_by_stage(size: int, sides: list[int], kernel: int) -> None:
    G = DCGAN(DCGAN.Config(image_size=size, width=2, kernel=kernel)).eval()
    found: list[int] = []
    for module in (G.project, *(layer for layer in G.layers if isinstance(layer, nn.ConvTranspose2d))):
        module.register_forward_hook(lambda *call: found.append(call[2].shape[-1]))
    G(torch.zeros(1, 100))
    assert found == sides


def test_the_4x4_kernel_overlaps_evenly_and_the_5x5_kernel_does_not() -> None:
    """Why the port's kernel draws fewer checkerboards: its parts fall on every pixel equally often."""

    def ripple(kernel: int) -> float:
        layer = up(1, 1, kernel)
        nn.init.ones_(layer.weight)
        inside = layer(torch.ones(1, 1, 8, 8))[..., 4:-4, 4:-4]
        return (inside.max() - inside.min()).item()

    assert ripple(4) == 0
    assert ripple(5) > 0


@pytest.mark.parametrize("config", [PAPER, PORT, TINY], ids=["paper", "port", "tiny"])
def test_batch_norm_is_everywhere_but_at_gs_output_and_ds_input(config: DCGAN.Config) -> None:
    with torch.device("meta"):
        G, D = (list(net.modules()) for net in (DCGAN(config), Discriminator(config)))
    convolutions = [i for i, module in enumerate(D) if isinstance(module, nn.Conv2d)]
    for i in convolutions:
        assert isinstance(D[i + 1], nn.BatchNorm2d) == (i != convolutions[0])
    convolutions = [i for i, module in enumerate(G) if isinstance(module, nn.ConvTranspose2d)]
    for i in convolutions:
        assert isinstance(G[i + 1], nn.BatchNorm2d) == (i != convolutions[-1])
    assert isinstance(G[convolutions[-1] + 1], nn.Tanh)
    slopes = [module.negative_slope for module in D if isinstance(module, nn.LeakyReLU)]
    assert slopes == [0.2] * len([module for module in D if isinstance(module, nn.Conv2d)])
    assert not any(isinstance(module, nn.MaxPool2d | nn.AvgPool2d | nn.LeakyReLU) for module in G)


def parameters(kind: type[nn.Module], config: DCGAN.Config) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in kind(config).parameters())


# Ours have biases at G's output (one per colour) and, in D, at the input and at the logit, which no norm would cancel;
# the authors' code and the port have none at all.
BIASES_G, BIAS_D = 3, 1


def test_the_paper_sized_nets_have_the_authors_parameters() -> None:
    """The authors' first norm has a gain and a bias for each of 1024x4x4 units, ours for each of 1024 maps."""
    per_unit, per_map = 2 * 1024 * 4 * 4, 2 * 1024
    assert parameters(DCGAN, PAPER) == 18_885_760 - per_unit + per_map + BIASES_G == 18_855_043
    assert parameters(Discriminator, PAPER) == 17_232_768 + 128 + BIAS_D


def test_the_port_sized_nets_have_the_ports_parameters() -> None:
    """A linear layer to 512x4x4 without bias and the port's 4x4 transposed convolution from one pixel are one map."""
    assert parameters(DCGAN, PORT) == 3_576_704 + BIASES_G
    assert parameters(Discriminator, PORT) == 2_765_568 + 64 + BIAS_D


def test_the_first_layer_is_a_transposed_convolution_from_one_pixel() -> None:
    G, z = DCGAN(TINY), torch.rand(3, 8)
    linear, unflatten = G.project[0], G.project[1]
    kernel = linear.weight.T.view(8, *unflatten.unflattened_size)
    as_convolution = nn.functional.conv_transpose2d(z[:, :, None, None], kernel)
    assert torch.allclose(unflatten(linear(z)), as_convolution, atol=1e-6)


def test_weights_are_initialised_as_in_section_4() -> None:
    modules = [*DCGAN(PORT).modules(), *Discriminator(PORT).modules()]
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            values = module.weight
            assert values.std().item() == pytest.approx(0.02, rel=0.05)
            assert abs(values.mean().item()) < 0.02 * 4 / math.sqrt(values.numel())
    gains = torch.cat([module.weight for module in modules if isinstance(module, nn.BatchNorm2d)])
    assert gains.mean().item() == pytest.approx(1, abs=0.003)
    assert gains.std().item() == pytest.approx(0.02, rel=0.1)
    biases = [module.bias for module in modules if getattr(module, "bias", None) is not None]
    assert biases
    assert all(not bias.any() for bias in biases)


# --- ranges and batch statistics


def test_latents_are_uniform_on_minus_one_to_one() -> None:
    z = draw_latent(PAPER, zoo.Noise(0, 0, 2000))
    assert z.shape == (2000, 100)
    assert z.abs().max() < 1
    assert z.mean().item() == pytest.approx(0, abs=0.01)
    assert z.var().item() == pytest.approx(1 / 3, abs=0.005)


def test_images_are_scaled_to_what_the_generator_makes(recorded: Recorder) -> None:
    real, fake = (call.given[0] for call in recorded.seen("D")[:2])
    assert (real.min(), real.max()) == (-1, 1)
    assert fake.abs().max() < 1
    samples = recorded.nets["G"].eval().sample(zoo.Noise(0, 0, 16))
    assert torch.equal(samples, (recorded.nets["G"](draw_latent(TINY, zoo.Noise(0, 0, 16))) + 1) / 2)
    assert samples.min() > 0
    assert samples.max() < 1


def test_in_eval_mode_a_sample_does_not_depend_on_its_batch(recorded: Recorder) -> None:
    G, z = recorded.nets["G"].eval(), draw_latent(TINY, zoo.Noise(0, 0, 8))
    assert torch.allclose(G(z)[:1], G(z[:1]), atol=1e-5)


def test_with_batch_statistics_a_sample_depends_on_its_batch(recorded: Recorder) -> None:
    """The authors sample so; the handle never does, but the module can."""
    G, z = recorded.nets["G"].train(), draw_latent(TINY, zoo.Noise(0, 0, 8))
    alone = G(z[:1])
    assert alone.isfinite().all()
    assert not torch.allclose(G(z)[:1], alone, atol=1e-3)


def test_the_published_weights_have_statistics_of_their_own(tmp_path: Path) -> None:
    """Sampling one by one then looks like sampling in the batches that training saw."""
    run = zoo.Run(tmp_path, device="cpu", progress=False, ema=0.999)
    train(DCGAN(TINY), black_and_white(), run, steps=2)
    G, z = run.published, draw_latent(TINY, zoo.Noise(0, 0, 512))
    with torch.no_grad():
        with_running_statistics, with_batch_statistics = G.eval()(z), G.train()(z)
    scale = with_batch_statistics.std()
    assert (with_running_statistics - with_batch_statistics).abs().mean() < 0.1 * scale


# --- differentiable augmentation (Zhao et al. 2020)

ALL = "color,translation,cutout"


def pictures(n: int) -> Tensor:
    return torch.rand(n, 3, 16, 16) * 2 - 1


def test_the_empty_policy_is_the_identity() -> None:
    x = pictures(2)
    assert torch.equal(augment(x, ""), x)


@pytest.mark.parametrize("policy", ["color", "translation", "cutout", ALL])
def test_every_image_gets_its_own_draw(policy: str) -> None:
    x = pictures(1).expand(16, 3, 16, 16)
    made = augment(x, policy)
    assert made.shape == x.shape
    assert len({tuple(row.tolist()) for row in made.flatten(1)}) > 4


@pytest.mark.parametrize("policy", ["color", "translation", "cutout", ALL])
def test_gradients_flow_back_to_the_images(policy: str) -> None:
    """For a fixed draw the gradient equals the difference quotient, and every image gets some."""
    x, direction = pictures(4).double().requires_grad_(), torch.randn(4, 3, 16, 16).double()
    weight = torch.randn(4, 3, 16, 16).double()

    def loss(at: Tensor) -> Tensor:
        torch.manual_seed(3)
        return (augment(at, policy) * weight).sum()

    (gradient,) = torch.autograd.grad(loss(x), x)
    with torch.no_grad():
        slope = (loss(x + 1e-4 * direction) - loss(x - 1e-4 * direction)) / 2e-4
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-6)
    assert gradient.flatten(1).any(1).all()


def test_colour_changes_nothing_on_average() -> None:
    x = pictures(1).double()
    made = augment(x.expand(4000, 3, 16, 16), "color")
    errors = (made.mean(0) - x[0]) / (made.std(0) / math.sqrt(4000))
    assert errors.abs().max() < 5
    assert made.std(0).min() > 0.25


def test_colour_keeps_to_its_ranges() -> None:
    """Brightness moves the mean by at most 0.5; for a grey image the contrast is all that changes its deviation."""
    x = pictures(1)[:, :1].expand(1000, 3, 16, 16)
    made = augment(x, "color")
    shift = (made.mean((1, 2, 3)) - x.mean((1, 2, 3))).abs()
    contrast = made.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.45 < shift.max() <= 0.5 + 1e-5
    assert 0.5 - 1e-5 <= contrast.min() < 0.55
    assert 1.45 < contrast.max() <= 1.5 + 1e-5


@pytest.mark.parametrize(("size", "reach"), [(16, 2), (64, 8)])
def test_translation_moves_by_at_most_an_eighth_and_fills_with_0(size: int, reach: int) -> None:
    x = torch.rand(1, 2, size, size) + 1
    offsets = set()
    for made in translation(x.expand(400, 2, size, size)):
        rows, columns = made[0].any(1).nonzero().flatten(), made[0].any(0).nonzero().flatten()
        down, right = size - len(rows), size - len(columns)
        down, right = (down if rows[0] > 0 else -down), (right if columns[0] > 0 else -right)
        moved = torch.zeros_like(x[0])
        moved[:, max(down, 0) : size + min(down, 0), max(right, 0) : size + min(right, 0)] = x[
            0, :, max(-down, 0) : size - max(down, 0), max(-right, 0) : size - max(right, 0)
        ]
        assert torch.equal(made, moved)
        offsets.add((down, right))
    assert {down for down, _ in offsets} == {right for _, right in offsets} == set(range(-reach, reach + 1))
    assert any(down != right for down, right in offsets)


def test_cutout_removes_a_square_of_half_the_side() -> None:
    """Its centre may lie anywhere, so at the border only a part of the square falls into the image."""
    made = cutout(torch.ones(2000, 3, 16, 16))
    assert set(made.unique().tolist()) == {0, 1}
    heights, widths = set(), set()
    for hole in 1 - made:
        rows, columns = hole[0].any(1).nonzero().flatten(), hole[0].any(0).nonzero().flatten()
        assert hole.sum() == 3 * len(rows) * len(columns)
        assert rows[-1] - rows[0] == len(rows) - 1
        heights.add(len(rows))
        widths.add(len(columns))
    assert heights == widths == {4, 5, 6, 7, 8}


def test_an_unknown_distortion_is_refused_before_data_is_read(tmp_path: Path) -> None:
    with pytest.raises(zoo.ConfigError, match="colour"):
        zoo.train("dcgan-celeba", out=tmp_path / "run", data=tmp_path / "no-data", augmentation="colour")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("policy", ["color", "translation", "cutout"])
def test_fakes_in_half_precision_are_distorted_by_the_same_numbers(policy: str) -> None:
    """Under autocast fakes are bfloat16 and real images float32; draws of its own for each would tell them apart."""
    x = torch.randint(0, 2, (64, 3, 16, 16)).float()  # which bfloat16 holds exactly
    torch.manual_seed(0)
    real = augment(x, policy)
    torch.manual_seed(0)
    assert torch.equal(augment(x.bfloat16(), policy), real)
