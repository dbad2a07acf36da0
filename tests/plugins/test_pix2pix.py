"""The traps of pix2pix (Isola et al. 2017), each as a test, and the edge filter of its card."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from recording import Recorder
from torch import Tensor, nn
from zoo_pix2pix.edges import edges
from zoo_pix2pix.model import PatchDiscriminator, Pix2Pix, dropout
from zoo_pix2pix.train import l1_distance, train

import zoo
from zoo.card.config import CardDraft
from zoo.card.weights import outline
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.family.registry import registry, resolve

NETS = {"model": "model", "D": "D"}
TINY = {"image_size": 16, "width": 4}


def tiny(**config: Any) -> Pix2Pix:
    torch.manual_seed(0)
    return Pix2Pix(Pix2Pix.Config(**(TINY | config)))


def pictures(n: int, size: int = 16, seed: int = 0) -> Tensor:
    """Smooth random images in [0, 1]."""
    coarse = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def count(config: dict[str, Any]) -> int:
    """Numbers in the weights of a generator, which has no buffers."""
    return sum(math.prod(shape) for _, shape in outline(registry().spec("pix2pix"), config).values())


def blocks(layers: nn.ModuleList, kind: type[nn.Module]) -> list[Any]:
    """The layer of a kind in each block; None where a block has none."""
    return [next((layer for layer in block if isinstance(layer, kind)), None) for block in layers]


# The generator.


@pytest.mark.parametrize(("size", "expected"), [(256, 54_413_955), (128, 41_828_995)])
def test_the_generator_has_the_papers_number_of_parameters(size: int, expected: int) -> None:
    assert count({"image_size": size}) == expected


def test_the_default_generator_is_the_papers() -> None:
    shapes = [(name, shape) for name, (_, shape) in outline(registry().spec("pix2pix"), {}).items() if len(shape) == 4]
    down = [shape for name, shape in shapes if name.startswith("encoder")]
    up = [shape for name, shape in shapes if name.startswith("decoder")]
    assert [outputs for outputs, _, _, _ in down] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [inputs for inputs, _, _, _ in up] == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    assert [outputs for _, outputs, _, _ in up] == [512, 512, 512, 512, 256, 128, 64, 3]
    assert {shape[2:] for shape in down + up} == {(4, 4)}


def test_no_norm_at_the_first_the_innermost_and_the_last_layer() -> None:
    G = tiny()
    down, up = blocks(G.encoder, nn.InstanceNorm2d), blocks(G.decoder, nn.InstanceNorm2d)
    assert [norm is not None for norm in down] == [False, True, True, False]
    assert [norm is not None for norm in up] == [True, True, True, False]
    assert all(norm.affine and not norm.track_running_stats for norm in down[1:-1] + up[:-1])
    assert not [m for m in G.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_the_bottleneck_depends_on_the_input() -> None:
    """A norm over its single pixel would make it the same for every image."""
    codes: list[Tensor] = []
    G = tiny()
    G.encoder[-1].register_forward_hook(lambda _, __, code: codes.append(code))
    G(2 * pictures(4) - 1)
    assert codes[0].shape == (4, 32, 1, 1)
    assert codes[0].std(0).min() > 0


def test_no_convolution_before_a_norm_has_a_bias() -> None:
    G, D = tiny(), PatchDiscriminator(3, 3, 4, 1)
    for block in [*G.encoder, *G.decoder, D.layers]:
        for layer, after in pairwise(block):
            if isinstance(after, nn.InstanceNorm2d | nn.BatchNorm2d):
                assert layer.bias is None


def test_encoder_blocks_begin_with_leaky_relu_and_decoder_blocks_with_relu() -> None:
    G = tiny()
    assert isinstance(G.encoder[0][0], nn.Conv2d)
    assert [block[0].negative_slope for block in G.encoder[1:]] == [0.2] * 3
    assert all(isinstance(block[0], nn.ReLU) for block in G.decoder)
    assert isinstance(G.decoder[-1][-1], nn.Tanh)


def test_each_decoder_layer_sees_the_encoder_layer_of_its_size() -> None:
    G = tiny()
    encoded: list[Tensor] = []
    decoded: list[tuple[Tensor, Tensor]] = []
    for layer in G.encoder:
        layer.register_forward_hook(lambda _, __, result: encoded.append(result))
    for layer in G.decoder:
        layer.register_forward_hook(lambda _, given, result: decoded.append((given[0], result)))
    G(2 * pictures(2) - 1)
    assert torch.equal(decoded[0][0], encoded[-1])
    for i in range(1, len(decoded)):
        assert torch.equal(decoded[i][0], torch.cat([decoded[i - 1][1], encoded[-1 - i]], dim=1))


def test_the_outermost_skip_reaches_the_output() -> None:
    G, x = tiny(), 2 * pictures(2) - 1
    whole = G(x)
    width = G.config.width
    G.decoder[-1].register_forward_pre_hook(
        lambda _, given: torch.cat([given[0][:, :width], 0 * given[0][:, width:]], 1)
    )
    assert not torch.allclose(whole, G(x), atol=1e-3)


def test_an_in_place_leaky_relu_would_not_corrupt_the_skips() -> None:
    """ReLU of LeakyReLU is ReLU: it only holds because every decoder block begins with a ReLU."""
    G, x = tiny(), 2 * pictures(2) - 1
    with torch.no_grad():
        plain = G(x)
        for layer in G.modules():
            if isinstance(layer, nn.LeakyReLU):
                layer.inplace = True
        assert torch.equal(plain, G(x))


def test_weights_begin_as_in_the_paper() -> None:
    G, D = tiny(width=16), PatchDiscriminator(3, 3, 16, 3)
    for module in [*G.modules(), *D.modules()]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.numel() > 1000:
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.15)
        if isinstance(module, nn.InstanceNorm2d | nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.03)
            assert 0 < module.weight.std().item() < 0.04
        if getattr(module, "bias", None) is not None:
            assert module.bias.count_nonzero() == 0


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_result_has_the_size_of_the_input(size: int) -> None:
    G = tiny(image_size=size, width=2)
    assert G.translate(pictures(1, size)).shape == (1, 3, size, size)
    assert G.translate(pictures(1, 2 * size)).shape == (1, 3, 2 * size, 2 * size)


def test_each_direction_has_its_own_channels() -> None:
    grey, colour = torch.rand(2, 1, 16, 16), torch.rand(2, 3, 16, 16)
    there, back = tiny(in_channels=1, out_channels=3), tiny(in_channels=3, out_channels=1)
    assert there.translate(grey).shape == colour.shape
    assert back.translate(colour).shape == grey.shape
    with pytest.raises(RuntimeError, match="channels"):
        there.translate(colour)


def test_a_translation_lies_between_0_and_1() -> None:
    G = tiny()
    with torch.no_grad():
        G.decoder[-1][1].weight.mul_(100)
    y = G.translate(pictures(4), zoo.Noise(0, 0, 4))
    assert 0 <= y.min() < 0.1
    assert 0.9 < y.max() <= 1


# Its noise.


class Counting(zoo.Noise):
    """Noise that remembers what it was asked for."""

    def __init__(self, *span: int) -> None:
        super().__init__(*span)
        self.asked: list[tuple[int, ...]] = []

    def uniform(self, *shape: int) -> Tensor:
        self.asked.append(shape)
        return super().uniform(*shape)


def test_the_three_innermost_decoder_layers_drop_features_one_by_one() -> None:
    noise = Counting(0, 0, 2)
    tiny(image_size=32).translate(pictures(2, 32), noise)
    assert noise.asked == [(32, 2, 2), (16, 4, 4), (8, 8, 8)]


def test_dropout_keeps_half_of_the_features_and_the_mean() -> None:
    kept = dropout(torch.ones(2, 8, 32, 32), zoo.Noise(0, 0, 2))
    assert sorted(kept.unique().tolist()) == [0, 2]
    assert kept.mean().item() == pytest.approx(1, abs=0.05)
    assert not torch.equal(kept[0], kept[1])


def test_dropout_is_a_matter_of_noise_and_not_of_the_mode() -> None:
    G, x = tiny(), pictures(2)
    assert torch.equal(G.train().translate(x), G.eval().translate(x))
    assert torch.equal(G.train().translate(x, zoo.Noise(0, 0, 2)), G.eval().translate(x, zoo.Noise(0, 0, 2)))
    assert not torch.allclose(G.translate(x), G.translate(x, zoo.Noise(0, 0, 2)), atol=1e-4)


def test_a_translation_does_not_depend_on_its_batch() -> None:
    G, x = tiny(), pictures(5)
    together = G.translate(x, zoo.Noise(7, 0, 5))
    for i in range(5):
        alone = G.translate(x[i : i + 1], zoo.Noise(7, i, i + 1))
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def model() -> zoo.Model:
    """The handle of an untrained tiny card with the edge filter."""
    card = CardDraft(
        name="tiny",
        family="pix2pix",
        config=TINY,
        preparation=zoo.Preparation(size=16, filter="edges"),
    )
    return zoo.Model(tiny(), registry().spec("pix2pix"), card, device="cpu")


def test_translate_has_seeded_dropout_unless_it_is_turned_off(model: zoo.Model) -> None:
    x = pictures(3)
    default, off = model.translate(x).tensor, model.translate(x, seed=None).tensor
    assert torch.equal(default, model.translate(x, seed=0).tensor)
    assert torch.equal(off, model.translate(x, seed=None).tensor)
    for other in (off, model.translate(x, seed=1).tensor):
        assert not torch.allclose(default, other, atol=1e-4)


def test_a_photo_is_drawn_first_and_a_drawing_is_taken_as_it_is(model: zoo.Model) -> None:
    photo = pictures(2)
    drawing = edges(photo)
    assert torch.equal(model.translate(photo).tensor, model.translate(drawing, prepared=True).tensor)
    assert not torch.equal(model.translate(photo).tensor, model.translate(photo, prepared=True).tensor)


# The discriminator.


def test_the_discriminator_has_the_papers_number_of_parameters() -> None:
    assert sum(p.numel() for p in PatchDiscriminator(3, 3).parameters()) == 2_768_705


@pytest.mark.parametrize(("layers", "width"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_a_patch_is_as_wide_as_the_paper_says(layers: int, width: int) -> None:
    """By the gradient of the central logit; `eval`, because batch statistics would tie all pixels together."""
    torch.manual_seed(0)
    D = PatchDiscriminator(1, 1, 1, layers).eval()
    x = torch.randn(1, 1, width + 66, width + 66, requires_grad=True)
    logits = D(x, torch.zeros_like(x))
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert x.grad is not None
    seen = x.grad[0, 0] != 0
    assert seen.sum() == width * width
    assert seen.any(0).sum() == seen.any(1).sum() == width


@pytest.mark.parametrize(("size", "layers", "side"), [(256, 3, 30), (64, 3, 6), (64, 2, 14), (32, 1, 14), (32, 2, 6)])
def test_there_is_one_logit_per_patch(size: int, layers: int, side: int) -> None:
    x = torch.zeros(1, 3, size, size)
    assert PatchDiscriminator(3, 3, 1, layers)(x, x).shape == (1, 1, side, side)


def test_the_discriminator_takes_input_and_output() -> None:
    D = PatchDiscriminator(1, 3, 4, 1)
    assert D.layers[0].in_channels == 4
    x, y = torch.rand(3, 1, 16, 16), torch.rand(3, 3, 16, 16)
    assert not torch.allclose(D(x, y), D(x.roll(1, 0), y), atol=1e-4)


def test_the_discriminator_learns_which_input_belongs_to_an_output() -> None:
    """True pairs against shuffled ones: both halves alone look the same, only their agreement tells."""
    torch.manual_seed(0)
    D = PatchDiscriminator(3, 3, 8, 1)
    optimizer = torch.optim.Adam(D.parameters(), 2e-3, (0.5, 0.999))
    for step in range(40):
        y = 2 * pictures(16, seed=step) - 1
        loss = zoo.log_loss_real(D(-y, y)) + zoo.log_loss_fake(D(-y.roll(1, 0), y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    y = 2 * pictures(16, seed=100) - 1
    with torch.no_grad():
        assert zoo.log_loss_real(D(-y, y)) < 0.5 * zoo.log_loss_real(D(-y.roll(1, 0), y))


# The losses.


def test_the_loss_is_a_mean_over_patches_and_not_of_the_mean_patch() -> None:
    logits = torch.tensor([5.0, -5.0]).view(1, 1, 1, 2)
    assert zoo.log_loss_real(logits).item() == pytest.approx(2.5067, abs=1e-4)
    assert zoo.log_loss_real(logits.mean()).item() == pytest.approx(0.6931, abs=1e-4)
    assert zoo.log_loss_fake(logits).item() == pytest.approx(2.5067, abs=1e-4)


def test_the_generator_has_a_gradient_where_the_discriminator_is_sure() -> None:
    """-log D: about -1 at D = 0.01, where log(1 - D) would give -0.01."""
    logit = torch.tensor(math.log(0.01 / 0.99), requires_grad=True)
    zoo.log_loss_real(logit).backward()
    assert logit.grad is not None
    assert logit.grad.item() == pytest.approx(-0.99, abs=1e-4)


def test_losses_are_taken_in_float32() -> None:
    logits = torch.tensor([9.0, -9.0], dtype=torch.bfloat16)
    for loss in (zoo.log_loss_real(logits), zoo.log_loss_fake(logits), l1_distance(logits, logits.float() + 0.1)):
        assert loss.dtype == torch.float32
    assert zoo.log_loss_real(logits).item() == pytest.approx((9 + 2 * math.log1p(math.exp(-9))) / 2, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (8, 3, 16, 16)])
def test_a_constant_error_of_a_tenth_costs_ten(shape: tuple[int, ...]) -> None:
    """At the paper's lambda, whatever the size: a sum in the mean's place would grow with it."""
    y = torch.rand(shape)
    assert 100 * l1_distance(y + 0.1, y).item() == pytest.approx(10.0, abs=1e-4)


# The loop.


def pairs(x: Tensor, y: Tensor | None = None, batch_size: int = 4, **options: Any) -> Batches:
    """Batches of images y with inputs x, or of images x with their drawings."""
    images = [None if image is None else (image * 255).to(torch.uint8) for image in (x, y)]
    dataset = Dataset("made", "train", images[0]) if y is None else Dataset("made", "train", images[1], images[0])
    preparation = zoo.Preparation(size=x.shape[2])
    return Batches(
        dataset, "pairs", batch_size, preparation=preparation, filter=edges if y is None else None, **options
    )


def test_each_step_moves_its_own_net_and_the_translation_is_detached_for_d(tmp_path: Path) -> None:
    """Without the L1 term, so that G must learn through D."""
    run = Recorder(tmp_path, NETS)
    train(tiny(), pairs(pictures(8)), run, steps=2, l1=0.0, patch_layers=1, patch_width=4)
    assert run.moved == [{"D"}, {"model"}] * 2
    assert run.reached == [{"D"}, {"model", "D"}] * 2


def test_the_objectives_are_the_papers(tmp_path: Path) -> None:
    """D's is halved: log 2 for a D that knows nothing; G's is -log D plus 100 times the mean distance."""
    run = Recorder(tmp_path, NETS)
    train(tiny(), pairs(pictures(8)), run, steps=1, patch_layers=1, patch_width=4)
    logged = run.logged[0]
    assert run.losses[0] == pytest.approx(math.log(2), abs=0.1)
    assert logged["loss_D"] == pytest.approx(run.losses[0])
    assert run.losses[1] == pytest.approx(logged["loss_G"] + 100 * logged["l1"], rel=1e-5)


def test_dropout_is_on_in_training(tmp_path: Path) -> None:
    given = []
    G = tiny()
    G.register_forward_pre_hook(lambda _, arguments: given.append(arguments[1]))
    train(G, pairs(pictures(8)), Recorder(tmp_path, NETS), steps=1, patch_layers=1, patch_width=4)
    assert [len(noise) for noise in given] == [4]


def test_it_learns_to_translate(tmp_path: Path) -> None:
    """Negatives: far closer than the inputs themselves, and than the best constant image."""
    G, x = tiny(width=8), pictures(32)
    batches = pairs(x, 1 - x, batch_size=8)
    train(
        G,
        batches,
        zoo.Run(tmp_path / "run", device="cpu", progress=False),
        steps=80,
        lr=2e-3,
        patch_layers=1,
        patch_width=4,
    )
    with torch.no_grad():
        made = G.translate(x)
    y = 1 - x
    constant = (y - y.mean(0)).abs().mean()
    assert (made - y).abs().mean() < 0.75 * constant


def test_patches_larger_than_the_image_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(zoo.ConfigError, match=r"patch_layers=3 needs images of at least 32 pixels, found 16\n.*--set"):
        train(tiny(), pairs(pictures(8)), zoo.Run(tmp_path / "run", device="cpu", progress=False), steps=1)


@pytest.mark.parametrize(("size", "layers"), [(16, 2), (32, 3), (64, 4)])
def test_the_smallest_image_that_is_not_refused_has_patches(size: int, layers: int) -> None:
    x = torch.zeros(2, 3, size, size)
    assert PatchDiscriminator(3, 3, 1, layers)(x, x).shape == (2, 1, 2, 2)


# The pairs.


def test_both_halves_of_a_pair_get_the_same_window_and_mirror() -> None:
    """An input that equals its target still does, bit for bit, after flip and jitter; and they did something."""
    images = pictures(8)
    batches = pairs(images, images, batch_size=8, flip=True, jitter=True)
    plain = pairs(images, images, batch_size=8)
    for number in range(3):
        x, y = batches.at(number)
        assert torch.equal(x, y)
        assert not torch.equal(y, plain.at(number)[1])


def test_an_input_is_the_drawing_of_its_own_augmented_photo() -> None:
    x, y = next(pairs(pictures(8), batch_size=8, flip=True, jitter=True))
    assert torch.equal(x, edges(y))


# The edge filter.


def test_a_drawing_is_black_lines_on_white_in_three_equal_channels() -> None:
    """No greys: shading would tell the colours."""
    drawings = edges(pictures(8, 64))
    assert drawings.shape == (8, 3, 64, 64)
    assert drawings.unique().tolist() == [0, 1]
    assert torch.equal(drawings[:, 0], drawings[:, 1])
    assert torch.equal(drawings[:, 0], drawings[:, 2])
    assert 0.5 < drawings.mean() < 0.98


@pytest.mark.parametrize("size", [16, 64, 128])
def test_a_constant_image_is_blank_paper(size: int) -> None:
    for grey in (0.0, 0.3, 1.0):
        assert edges(torch.full((1, 3, size, size), grey)).min() == 1


def test_noise_below_the_floor_leaves_the_paper_blank() -> None:
    x = 0.5 + 0.01 * torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert edges(x).min() == 1


@pytest.mark.parametrize("contrast", [0.3, -0.3, 0.8])
@pytest.mark.parametrize("turned", [False, True])
def test_a_step_is_one_line_one_pixel_thin_where_it_is(contrast: float, turned: bool) -> None:
    x = torch.full((1, 3, 32, 32), 0.5 - contrast / 2)
    x[..., 20:] += contrast
    drawing = edges(x.mT if turned else x)
    drawing = drawing.mT if turned else drawing
    inked = (drawing[0, 0] == 0).nonzero()
    assert len(inked) == 32
    assert set(inked[:, 1].tolist()) in ({19}, {20})


def test_a_circle_is_drawn_all_round_and_nowhere_else() -> None:
    """Every direction of the gradient: a thin line at the radius, with no gap wider than five degrees."""
    down, right = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    radius = (down**2 + right**2).sqrt()
    ink = edges((radius < 20).float().expand(1, 3, 64, 64))[0, 0] == 0
    assert (radius[ink] - 20).abs().max() < 1.5
    assert (torch.atan2(down, right)[ink].sort().values.diff() < math.radians(5)).all()
    assert ink.sum() < 1.5 * 2 * math.pi * 20


def test_a_fading_line_is_drawn_to_its_end_and_a_line_as_faint_alone_is_not() -> None:
    x = torch.full((2, 3, 64, 64), 0.3)
    x[0, :, :, 32:] += torch.linspace(0.2, 0.06, 64)[:, None]
    x[1, :, :, 32:] += 0.06
    fading, faint = edges(x)[:, 0]
    assert ((fading == 0).sum(1) == 1).all()
    assert faint.min() == 1


def test_brightness_changes_little() -> None:
    x = 0.2 + 0.5 * pictures(8, 64)
    changed = edges(x) != edges(x + 0.2)
    assert changed.float().mean() < 0.005


@pytest.mark.parametrize(
    "layout", [lambda x: x, lambda x: x.contiguous(memory_format=torch.channels_last), lambda x: x.mT.contiguous().mT]
)
def test_a_drawing_is_the_same_to_the_bit_alone_and_in_any_layout(layout: Callable[[Tensor], Tensor]) -> None:
    x = pictures(6, 64)
    together = edges(x)
    assert torch.equal(together, edges(layout(x)))
    assert torch.equal(together[4:5], edges(layout(x[4:5])))


# The recipe.


def test_the_recipe_makes_a_card_of_at_most_15_megabytes() -> None:
    _, recipe = registry().recipe("pix2pix-edges2celeba")
    assert recipe.train["weights"] == "float16"
    assert 2 * count(dict(recipe.config)) < 15e6


def test_the_recipes_filter_is_the_one_tested_here() -> None:
    spec, recipe = registry().recipe("pix2pix-edges2celeba")
    assert recipe.preparation.filter is not None
    assert resolve(spec.filters[recipe.preparation.filter]) is edges


def test_batch_norm_is_for_weights_of_others_and_not_trained(tmp_path: Path) -> None:
    with pytest.raises(zoo.ConfigError, match="trained elsewhere"):
        train(tiny(norm="batch"), None, Recorder(tmp_path), patch_layers=1)
