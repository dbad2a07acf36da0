"""The traps of CycleGAN (Zhu et al. 2017), each as a test."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import zoo_cyclegan.model
import zoo_cyclegan.train
from recording import Recorder
from torch import Tensor, nn
from zoo_cyclegan.evaluate import evaluate
from zoo_cyclegan.model import CycleGAN, Generator, PatchDiscriminator, Residual, upsample
from zoo_cyclegan.train import ImagePool, fake_loss, l1_distance, real_loss, train

import zoo
from zoo.card.config import CardDraft
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.family.registry import registry

TINY = {"image_size": 16, "width": 4, "blocks": 1, "domains": ("dark", "bright")}
NETS = {"G": "model.G", "F": "model.F", "D_X": "D_X", "D_Y": "D_Y"}
SMALL_D = {"patch_layers": 1, "patch_width": 4}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def tiny(**config: Any) -> CycleGAN:
    return CycleGAN(CycleGAN.Config(**(TINY | config)))


def pictures(n: int, size: int = 16, seed: int = 0) -> Tensor:
    """Smooth random images in [0, 1]."""
    coarse = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def numbers(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# The generators.


@pytest.mark.parametrize(("blocks", "expected"), [(9, 11_378_179), (6, 7_837_699)])
def test_a_generator_has_the_papers_number_of_parameters(blocks: int, expected: int) -> None:
    """But for the biases of all convolutions that a norm follows, which would be without effect."""
    G = Generator(CycleGAN.Config(blocks=blocks))
    cancelled = sum(m.num_features for m in G.modules() if isinstance(m, nn.InstanceNorm2d))
    assert numbers(G) + cancelled == expected


@pytest.mark.parametrize("mode", [True, False])
def test_no_image_depends_on_its_batch_mates_nor_on_the_mode(mode: bool) -> None:
    G, x = tiny(blocks=2).G, 2 * pictures(4) - 1
    together, alone = G.train(mode)(x), G.train(not mode)(x[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-5)


def test_norms_learn_nothing_and_remember_nothing() -> None:
    norms = [m for m in [*tiny().modules(), *PatchDiscriminator(3).modules()] if isinstance(m, nn.InstanceNorm2d)]
    assert norms
    assert not any(norm.state_dict() for norm in norms)


def test_a_block_without_weights_is_the_identity_for_negative_values_too() -> None:
    """There is no ReLU after the sum."""
    block, x = Residual(4), torch.randn(2, 4, 8, 8)
    for p in block.parameters():
        nn.init.zeros_(p)
    assert torch.equal(block(x), x)


def test_borders_are_reflected_by_the_wide_kernels_and_in_the_blocks() -> None:
    """A constant image stays constant up to the edge, where zeros would show."""
    G = tiny().G
    block = next(m for m in G.layers if isinstance(m, Residual)).layers
    for part, channels in ((G.layers[:2], 3), (G.layers[-3:], 4), (block[:2], 16), (block[4:6], 16)):
        y = part(torch.ones(1, channels, 16, 16))
        assert y.shape[2:] == (16, 16)
        torch.testing.assert_close(y, y[:, :, 8:9, 8:9].expand_as(y))


def test_only_repeated_pixels_are_upsampled_without_a_checkerboard() -> None:
    """Transposed kernels of 3 at stride 2 overlap unevenly: a flat map becomes a pattern of period 2."""
    flat = torch.rand(1, 8, 1, 1).expand(1, 8, 8, 8)
    uneven, even = (upsample(8, 4, how)(flat)[:, :, 2:-2, 2:-2] for how in ("transposed", "nearest"))
    assert uneven.shape == even.shape == (1, 4, 12, 12)
    torch.testing.assert_close(uneven[..., 2:], uneven[..., :-2])
    assert uneven.diff().abs().mean() > 0.1 * uneven.abs().mean()
    assert even.diff().abs().max() < 1e-5


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
@pytest.mark.parametrize("size", [(16, 16), (8, 8), (20, 28)])
def test_the_result_has_the_size_of_the_input(size: tuple[int, int], upsampling: str) -> None:
    assert tiny(upsampling=upsampling).translate(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_weights_begin_as_in_the_paper() -> None:
    for net in (Generator(CycleGAN.Config(width=16, blocks=2)), PatchDiscriminator(3, 16)):
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.15)
                assert layer.bias is None or layer.bias.count_nonzero() == 0


# Translation.


def test_every_image_goes_where_it_is_sent_as_if_it_were_alone() -> None:
    model, x = tiny(), pictures(5)
    to = torch.tensor([1, 0, 0, 1, 0])
    together = model.translate(x, to=to)
    for i in range(5):
        net = (model.F, model.G)[to[i]]
        torch.testing.assert_close(together[i : i + 1], (net(2 * x[i : i + 1] - 1) + 1) / 2, rtol=0, atol=1e-5)


def test_a_translation_goes_to_the_second_domain_unless_told() -> None:
    model, x = handle(tiny()), pictures(3)
    assert torch.equal(model.translate(x).tensor, model.translate(x, to="bright").tensor)
    assert not torch.allclose(model.translate(x).tensor, model.translate(x, to="dark").tensor, atol=1e-3)


def test_a_domain_is_called_by_its_name() -> None:
    with pytest.raises(zoo.InputError, match=r"'brigth' is no class of this model\n.*bright"):
        handle(tiny()).translate(pictures(1), to="brigth")


def handle(module: nn.Module) -> zoo.Model:
    card = CardDraft(
        name="tiny",
        family="cyclegan",
        config=TINY,
        preparation=zoo.Preparation(size=16),
    )
    return zoo.Model(module, registry().spec("cyclegan"), card, device="cpu")


# The discriminators.


def test_a_discriminator_has_the_papers_number_of_parameters() -> None:
    """But for biases that a norm would cancel."""
    D = PatchDiscriminator(3)
    cancelled = sum(m.num_features for m in D.modules() if isinstance(m, nn.InstanceNorm2d))
    assert numbers(D) + cancelled == 2_764_737


@pytest.mark.parametrize(("layers", "width"), [(1, 16), (2, 34), (3, 70)])
def test_a_patch_is_as_wide_as_the_paper_says(layers: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the gradient of the central score, without norms, which tie all pixels together."""
    monkeypatch.setattr(zoo_cyclegan.model, "norm", lambda width: nn.Identity())
    x = torch.randn(1, 1, width + 66, width + 66, requires_grad=True)
    scores = PatchDiscriminator(1, 1, layers)(x)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert x.grad is not None
    seen = x.grad[0, 0] != 0
    assert seen.sum() == width * width
    assert seen.any(0).sum() == seen.any(1).sum() == width


@pytest.mark.parametrize(("size", "layers", "side"), [(256, 3, 30), (64, 2, 14), (16, 2, 2), (32, 3, 2)])
def test_there_is_one_score_per_patch(size: int, layers: int, side: int) -> None:
    assert PatchDiscriminator(3, 1, layers)(torch.zeros(1, 3, size, size)).shape == (1, 1, side, side)


def test_scores_are_not_squeezed_between_0_and_1() -> None:
    D = PatchDiscriminator(3, 4, 1)
    with torch.no_grad():
        D.layers[-1].weight.mul_(100)
    scores = D(2 * pictures(8) - 1)
    assert scores.min() < -1
    assert scores.max() > 2


# The losses.


def test_an_undecided_score_costs_a_quarter_either_way() -> None:
    half = torch.full((2, 1, 3, 3), 0.5)
    assert real_loss(half).item() == fake_loss(half).item() == 0.25
    assert real_loss(2 * half).item() == fake_loss(0 * half).item() == 0


def test_losses_are_taken_in_float32() -> None:
    scores = torch.full((1000,), 3.0, dtype=torch.bfloat16)
    scores[0] = 300.0
    assert real_loss(scores).item() == pytest.approx((999 * 4 + 299**2) / 1000, rel=2e-3)
    for loss in (real_loss(scores), fake_loss(scores), l1_distance(scores, scores.float() + 0.1)):
        assert loss.dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (8, 3, 16, 16)])
def test_a_constant_error_is_its_own_distance_whatever_the_size(shape: tuple[int, ...]) -> None:
    y = torch.rand(shape)
    assert l1_distance(y + 0.1, y).item() == pytest.approx(0.1, abs=1e-6)


def test_the_best_discriminator_by_least_squares_is_found() -> None:
    """N(0, 1) against N(2, 1), each as its 2,001 quantiles: D*(x) = p / (p + q) = sigmoid(2 - 2x)."""
    quantiles = torch.special.ndtri((torch.arange(2_001, dtype=torch.float64) + 0.5) / 2_001).float()[:, None]
    D = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.LBFGS(D.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = real_loss(D(quantiles)) + fake_loss(D(quantiles + 2))
        loss.backward()
        return loss

    optimizer.step(closure)
    x = torch.linspace(-1, 3, 9)[:, None]
    torch.testing.assert_close(D(x), (2 - 2 * x).sigmoid(), rtol=0, atol=0.03)


# The pool.


def marked(*marks: int) -> Tensor:
    """Images (n, 1, 1, 1) that hold their mark."""
    return torch.tensor(marks, dtype=torch.float32).view(-1, 1, 1, 1)


def full(capacity: int = 50) -> ImagePool:
    pool = ImagePool(capacity)
    pool.query(marked(*range(capacity)))
    return pool


def test_the_first_images_are_kept_and_passed_on() -> None:
    pool = ImagePool(50)
    for i in range(0, 50, 10):
        given = marked(*range(i, i + 10))
        assert torch.equal(pool.query(given), given)
    assert [int(image) for image in pool.images] == list(range(50))


def test_a_full_pool_gives_an_old_image_half_of_the_time_and_only_then_keeps_the_new_one() -> None:
    pool, old, count = full(), 0, 4_000
    for i in range(count):
        before = {int(image) for image in pool.images}
        (passed,) = pool.query(marked(1_000 + i)).flatten().int().tolist()
        after = {int(image) for image in pool.images}
        if passed == 1_000 + i:
            assert after == before
        else:
            old += 1
            assert after == before - {passed} | {1_000 + i}
    assert old / count == pytest.approx(0.5, abs=0.03)


def test_the_coin_is_tossed_for_each_image() -> None:
    passed = full().query(marked(*range(100, 116))).flatten()
    assert 0 < (passed < 50).sum() < 16


def test_what_a_pool_gives_has_no_graph_and_what_it_keeps_is_its_own() -> None:
    pool = ImagePool(2)
    fake = marked(1, 2).requires_grad_()
    passed = pool.query(fake)
    assert not passed.requires_grad
    passed.zero_()
    fake.data.zero_()
    assert [int(image) for image in pool.images] == [1, 2]
    for _ in range(20):
        given = marked(3, 4)
        pool.query(given).zero_()
        given.zero_()
    assert {int(image) for image in pool.images} <= {1, 2, 3, 4}


def test_a_pool_without_room_passes_everything_on() -> None:
    pool = ImagePool(0)
    assert torch.equal(pool.query(marked(1, 2, 3)), marked(1, 2, 3))
    assert not pool.images


# The loop.


class Constant(nn.Module):
    """A discriminator that scores one half whatever it sees."""

    def __init__(self, *_: int) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.score.expand(len(x), 1, 2, 2)


def unpaired(n: int = 8, batch_size: int = 4) -> Batches:
    """Two sets of other pictures: dark ones, up to 0.4, and bright ones, from 0.6."""
    x = torch.cat([0.4 * pictures(n, seed=1), 0.6 + 0.4 * pictures(n, seed=2)])
    labels = torch.arange(2 * n) // n
    dataset = Dataset("made", "train", (255 * x).to(torch.uint8), labels=labels, names=("dark", "bright"))
    return Batches(dataset, "unpaired", batch_size, preparation=zoo.Preparation(size=16))


def test_g_and_f_learn_together_then_both_d_and_never_one_through_the_other(tmp_path: Path) -> None:
    """Without cycle and identity, so that G and F must learn through the discriminators' view of what they make now."""
    run = Recorder(tmp_path, NETS)
    train(tiny(), unpaired(), run, steps=3, cycle=0.0, pool=4, **SMALL_D)
    assert run.moved == [{"G", "F"}, {"D_X", "D_Y"}] * 3
    assert run.reached == [{"G", "F", "D_X", "D_Y"}, {"D_X", "D_Y"}] * 3


@pytest.mark.parametrize("weights", [{}, {"cycle": 3.0, "identity": 2.0}, {"identity": 0.0}])
def test_the_generators_descend_the_papers_objective(tmp_path: Path, weights: dict[str, float]) -> None:
    """Its value and its whole gradient, written out here as the paper has it, from separate passes."""
    model, batches, run = tiny(), unpaired(), Recorder(tmp_path, NETS)
    x, y = (2 * image - 1 for image in batches.at(0))
    train(model, batches, run, steps=1, **weights, **SMALL_D)
    G, F, D_X, D_Y = (run.before[name] for name in ("G", "F", "D_X", "D_Y"))
    adversarial = (D_Y(G(x)) - 1).square().mean() + (D_X(F(y)) - 1).square().mean()
    cycle = (F(G(x)) - x).abs().mean() + (G(F(y)) - y).abs().mean()
    identity = (G(y) - y).abs().mean() + (F(x) - x).abs().mean()
    weight = weights.get("cycle", 10.0)
    loss = adversarial + weight * cycle + weight * weights.get("identity", 0.5) * identity
    assert run.losses[0] == pytest.approx(loss.item(), rel=1e-5)
    expected = torch.autograd.grad(loss, [*G.parameters(), *F.parameters()])
    gradients = [gradient for net in "GF" for gradient in run.updates[0].gradients[net].values()]
    for found, gradient in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-6)


def test_an_undecided_discriminator_loses_a_quarter_per_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One half of 1/4 + 1/4 for D, and for G and F, whose loss is not halved, 1/4 each."""
    monkeypatch.setattr(zoo_cyclegan.train, "PatchDiscriminator", Constant)
    run = Recorder(tmp_path, NETS)
    train(tiny(), unpaired(), run, steps=1, **SMALL_D)
    logged = run.logged[0]
    assert logged["loss_X"] == logged["loss_Y"] == pytest.approx(0.25)
    assert logged["loss_GAN"] == pytest.approx(0.5)
    assert run.losses[1] == pytest.approx(0.5)


def test_each_domain_has_a_pool_of_its_own_translations(tmp_path: Path) -> None:
    batches, run = unpaired(), Recorder(tmp_path, NETS)
    x, y = (2 * image - 1 for image in batches.at(0))
    train(tiny(), batches, run, steps=1, **SMALL_D)
    for pool, net, given in ((run.parts["pool_X"], "F", y), (run.parts["pool_Y"], "G", x)):
        torch.testing.assert_close(torch.stack(pool.images), run.before[net](given).detach(), rtol=0, atol=1e-5)


def test_discriminators_are_shown_old_translations(tmp_path: Path) -> None:
    """With a pool of 1 and batches of 1, half of the images after the first are the one before."""
    passed: list[Tensor] = []

    class Spied(Recorder):
        def prepare(self, **parts: Any) -> tuple[Any, ...]:
            # Calls of a step: D_Y on G(x), then on y, then on what the pool passes on.
            parts["D_Y"].register_forward_hook(lambda _, inputs, __: passed.append(inputs[0].detach().clone()))
            return super().prepare(**parts)

    train(tiny(), unpaired(batch_size=1), Spied(tmp_path), steps=12, pool=1, **SMALL_D)
    fresh, shown = passed[0::3], passed[2::3]
    same = [torch.equal(a, b) for a, b in zip(fresh, shown, strict=True)]
    assert same[0]
    assert 0 < sum(same) < 12
    for i, was_fresh in enumerate(same):
        assert was_fresh or any(torch.equal(shown[i], earlier) for earlier in fresh[:i])


def test_both_optimizers_follow_the_rate(tmp_path: Path) -> None:
    run = Recorder(tmp_path, NETS)
    train(tiny(), unpaired(), run, steps=4, lr=1e-3, decay=0.5, **SMALL_D)
    assert run.rates == pytest.approx([1e-3] * 6 + [5e-4] * 2)


def test_images_meet_others_in_each_pass() -> None:
    """Unpaired: the order of one domain says nothing about that of the other."""
    batches = unpaired(n=8, batch_size=8)
    pairs = []
    for number in range(4):
        a, b = batches.at(number)
        orders = [image.flatten(1).mean(1).argsort().tolist() for image in (a, b)]
        pairs.append(sorted(zip(*orders, strict=True)))
    assert len({str(pair) for pair in pairs}) == 4


def test_it_learns_to_translate_both_ways_and_back(tmp_path: Path) -> None:
    model = tiny(width=8)
    run = zoo.Run(tmp_path / "run", device="cpu", progress=False)
    train(model, unpaired(32), run, steps=60, lr=2e-3, **SMALL_D)
    dark, bright = 0.4 * pictures(8, seed=3), 0.6 + 0.4 * pictures(8, seed=4)
    there, back = handle(model).translate(dark, to="bright").tensor, handle(model).translate(bright, to="dark").tensor
    assert there.mean() > 0.6
    assert back.mean() < 0.4
    assert (handle(model).translate(there, to="dark").tensor - dark).abs().mean() < 0.12


def test_patches_larger_than_the_image_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(zoo.ConfigError, match=r"patch_layers=3 needs images of at least 32 pixels, found 16\n.*--set"):
        train(tiny(), unpaired(), zoo.Run(tmp_path / "run", device="cpu", progress=False), steps=1)


# Its measures.


class Negative(nn.Module):
    """The translator of dark and bright that is perfect but for its judgement of what is bright already."""

    def forward(self, x: Tensor) -> Tensor:
        return -x


class Hiding(nn.Module):
    """Gives one grey for all, with the original in its last digits; or finds it there."""

    def __init__(self, *, finds: bool) -> None:
        super().__init__()
        self.finds = finds

    def forward(self, x: Tensor) -> Tensor:
        return (x * 1000).clamp(-1, 1) if self.finds else x / 1000


def bench(module: CycleGAN, judge: Any = None) -> zoo.Bench:
    images = (255 * torch.cat([0.4 * pictures(6, seed=1), 0.6 + 0.4 * pictures(4, seed=2)])).to(torch.uint8)
    labels = torch.tensor([0] * 6 + [1] * 4)
    test = Dataset("made", "test", images, labels=labels, names=("Dark_Sky", "Bright_Sky"))
    return zoo.Bench(handle(module), test, test, "made", 0, False, judge)


def measures(bench: zoo.Bench) -> dict[str, Any]:
    return {metric.name: metric for metric in evaluate(bench)}


def with_nets(G: nn.Module, F: nn.Module) -> CycleGAN:
    model = tiny()
    model.G, model.F = G, F  # type: ignore[assignment]
    return model


def test_a_perfect_cycle_has_no_error_and_moves_by_little_more_than_noise() -> None:
    found = measures(bench(with_nets(Negative(), Negative())))
    assert found["cycle_l1_dark"].value < 1e-6
    assert found["cycle_l1_drowned_dark"].value == pytest.approx(0.025 * (2 / torch.pi) ** 0.5, rel=0.2)
    assert found["cycle_l1_dark"].n == 6
    assert found["cycle_l1_bright"].n == 4


def test_an_identity_error_is_that_of_images_which_are_there_already() -> None:
    made = bench(with_nets(Negative(), Negative()))
    x = made.images(made.test)[6:]
    assert measures(made)["identity_l1_bright"].value == pytest.approx((1 - 2 * x).abs().mean().item(), rel=1e-4)


def test_a_hidden_original_is_lost_in_noise() -> None:
    found = measures(bench(with_nets(Hiding(finds=False), Hiding(finds=True))))
    assert found["cycle_l1_dark"].value < 0.01
    assert found["cycle_l1_drowned_dark"].value > 0.3


def test_the_judge_says_whether_a_translation_arrived_and_what_it_kept() -> None:
    """A judge of three attributes: the domains, and whether there is more red than green, which a negative turns."""

    def infer(x: Tensor, **_: Any) -> dict[str, Tensor]:
        bright = (x.mean((1, 2, 3)) > 0.5).float()
        red = (x[:, 0].mean((1, 2)) > x[:, 1].mean((1, 2))).float()
        return {"attributes": torch.stack([1 - bright, bright, red, bright], 1)}

    config = SimpleNamespace(names=("Dark_Sky", "Bright_Sky", "Red", "Grey_Sky"))
    judge = SimpleNamespace(infer=infer, name="judge", module=SimpleNamespace(config=config))
    found = measures(bench(with_nets(Negative(), nn.Identity()), judge))
    assert found["arrived_bright"].value == 1
    assert found["arrived_dark"].value == 0
    assert (found["arrived_bright"].ceiling, found["arrived_bright"].baseline) == (1, "before translation: 0")
    assert found["kept_red_bright"].value == 0
    assert found["kept_red_dark"].value == 1
    assert not [name for name in found if "sky" in name]


def test_without_a_judge_nothing_is_judged() -> None:
    assert not [name for name in measures(bench(tiny())) if name.startswith(("arrived", "kept"))]


# What is for weights that were trained elsewhere.


@pytest.mark.parametrize("config", [{"directions": "forward"}, {"norm": "batch"}])
def test_what_is_for_weights_of_others_is_not_trained(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(zoo.ConfigError, match="trained elsewhere"):
        train(tiny(**config), None, Recorder(tmp_path, NETS), **SMALL_D)


def test_one_direction_takes_no_condition_and_has_no_figure_of_a_cycle() -> None:
    model = tiny(directions="forward")
    assert model.conditions == {}
    assert not [key for key in model.state_dict() if key.startswith("F.")]
    bench = SimpleNamespace(
        model=SimpleNamespace(module=model),
        test=SimpleNamespace(labels=torch.tensor([0, 1])),
        images=lambda _: pictures(2),
    )
    assert evaluate(bench) == []
