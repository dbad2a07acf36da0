"""The trap table of PixelCNN: masks, likelihoods, and a sampler that agrees with a pass per pixel."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from recording import Recorder
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from zoo_pixelcnn.model import PixelCNN
from zoo_pixelcnn.sampler import draw, quantile
from zoo_pixelcnn.train import train

import zoo
from zoo.data.batches import Batches
from zoo.data.source import Dataset

GREY = PixelCNN.Config(image_size=5, width=8, blocks=2, head=16)
COLOUR = PixelCNN.Config(image_size=4, channels=3, n_levels=4, width=8, blocks=2, head=16)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def coins(config: PixelCNN.Config, n: int = 512) -> Batches:
    """Batches of 32 images whose values are black or white by the toss of a fair coin."""
    side = config.image_size
    images = 255 * torch.randint(0, 2, (n, config.channels, side, side), dtype=torch.uint8)
    preparation = zoo.Preparation(size=side, mode="L" if config.channels == 1 else "RGB")
    return Batches(Dataset("coins", "train", images), "images", 32, preparation=preparation)


def trained(config: PixelCNN.Config, out: Path, steps: int = 3, lr: float = 1e-2) -> PixelCNN:
    model = PixelCNN(config)
    train(model, coins(config), Recorder(out), steps=steps, lr=lr)
    return model


def vivid(**config: Any) -> PixelCNN:
    """A random model whose pixels depend strongly on each other."""
    model = PixelCNN(PixelCNN.Config(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def every_image(model: PixelCNN) -> Tensor:
    c, side, n = model.config.channels, model.config.image_size, model.config.n_levels
    digits = torch.cartesian_prod(*[torch.arange(n)] * (c * side * side))
    return model.values(digits.view(-1, c, side, side))


def uniforms(model: PixelCNN, n: int) -> Tensor:
    return model.uniforms(zoo.Noise(3, 0, n))


@torch.no_grad()
def one_pass_per_pixel(model: PixelCNN, u: Tensor) -> tuple[Tensor, Tensor]:
    """The naive sampler: levels (n, c, h, w), and the sum of the log-probabilities of its steps (n,)."""
    levels, total = torch.zeros_like(u, dtype=torch.long), torch.zeros(len(u))
    for i in range(u.shape[2]):
        for j in range(u.shape[3]):
            for k in range(u.shape[1]):
                logits = model(model.values(levels))[:, k, :, i, j]
                levels[:, k, i, j] = quantile(logits, u[:, k, i, j, None])
                total += logits.log_softmax(1).gather(1, levels[:, k, i, j, None])[:, 0]
    return levels, total


# --- masks (section 3.4)


PLACED = GREY.model_copy(update={"position": True})


@pytest.mark.parametrize("config", [GREY, COLOUR, PLACED], ids=["grey", "colour", "placed"])
def test_after_training_steps_no_logit_depends_on_its_own_or_a_later_value(
    config: PixelCNN.Config, tmp_path: Path
) -> None:
    model, side = trained(config, tmp_path).double(), config.image_size
    mix = torch.randn(config.n_levels, dtype=torch.double)

    def in_order(x: Tensor) -> Tensor:
        """One number per value, values in the order (row, column, channel)."""
        logits = model(x.view(1, side, side, config.channels).permute(0, 3, 1, 2))
        return torch.einsum("cvhw,v->hwc", logits[0], mix).flatten()

    # Several points, since at one of them a ReLU may be shut.
    points = torch.rand(4, side * side * config.channels, dtype=torch.double)
    jacobian = sum(torch.autograd.functional.jacobian(in_order, x).abs() for x in points)
    assert not jacobian.triu().any()
    assert jacobian.diagonal(-1).count_nonzero() > 0.6 * len(jacobian)
    assert all(row[:i].any() for i, row in enumerate(jacobian) if i)


def test_mask_a_keeps_24_of_49_taps_and_mask_b_5_of_9() -> None:
    model = PixelCNN(GREY)
    assert model.first.mask[0, 0].sum() == 24
    assert model.blocks[0].middle.mask[0, 0].sum() == 5


def seen_from_the_middle() -> Tensor:
    """(28, 28): where the logits of pixel (14, 14) look, in a stack so deep that only the masks limit it."""
    model = PixelCNN(PixelCNN.Config(width=1, blocks=30, head=1)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.1)  # nothing cancels, and no ReLU is shut
    x = torch.ones(1, 1, 28, 28, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x)[0, 0, 0, 14, 14], x)
    return gradient[0, 0] != 0


def test_the_blind_spot_hides_55_of_406_earlier_pixels() -> None:
    assert seen_from_the_middle().sum() == 351


def test_rows_above_are_seen_so_little_to_the_right_that_rows_can_follow_each_other_4_columns_apart() -> None:
    seen = seen_from_the_middle()
    for up in range(1, 15):
        furthest = seen[14 - up].nonzero().max().item() - 14
        assert furthest == min(up + 2, 13)
        assert furthest < 4 * up


def test_features_belong_to_red_then_green_then_blue() -> None:
    """The logits of a channel follow from its own features: renaming the colours of an image changes its likelihood."""
    model, x = vivid(**COLOUR.model_dump()), torch.rand(4, 3, 4, 4)
    assert (model.log_prob(x) - model.log_prob(x.flip(1))).abs().min() > 1e-2


def test_each_channel_needs_features_of_its_own() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        PixelCNN(PixelCNN.Config(channels=3, width=2))


# --- likelihood


@pytest.mark.parametrize("config", [{"channels": 1, "n_levels": 4}, {"channels": 3, "n_levels": 2}])
def test_the_probabilities_of_all_images_sum_to_one(config: dict[str, Any]) -> None:
    model = vivid(image_size=2, width=4, blocks=1, head=4, **config)
    with torch.no_grad():
        total = model.log_prob(every_image(model)).double().exp().sum().item()
    assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("n_levels", "nats"), [(2, 543.427), (256, 784 * math.log(256))])
def test_a_model_that_knows_nothing_gives_one_bit_per_binary_pixel_and_eight_per_8_bit_pixel(
    n_levels: int, nats: float
) -> None:
    model = PixelCNN(PixelCNN.Config(n_levels=n_levels, width=2, blocks=1))
    torch.nn.init.zeros_(model.head[1].weight)
    assert model.log_prob(torch.rand(2, 1, 28, 28)).tolist() == pytest.approx([-nats] * 2, rel=1e-5)


def test_no_likelihood_is_better_than_the_entropy_of_fair_coins(tmp_path: Path) -> None:
    model, entropy = trained(GREY, tmp_path, steps=150), 25 * math.log(2)
    fresh = torch.randint(0, 2, (4000, 1, 5, 5)).float()
    with torch.no_grad():
        nll = -model.log_prob(fresh).mean().item()
    assert entropy - 0.05 < nll < entropy + 0.5


def test_training_learns_what_depends_on_earlier_pixels(tmp_path: Path) -> None:
    """Columns all alike: one row of coins and then no surprise."""
    rows = torch.randint(0, 2, (512, 1, 1, 5), dtype=torch.uint8)
    data = Dataset("stripes", "train", 255 * rows.expand(512, 1, 5, 5))
    run = Recorder(tmp_path)
    train(
        PixelCNN(GREY),
        Batches(data, "images", 32, preparation=zoo.Preparation(size=5, mode="L")),
        run,
        steps=150,
        lr=1e-2,
    )
    assert 5 * math.log(2) - 0.5 < sum(run.losses[-10:]) / 10 < 5 * math.log(2) + 1.5


@pytest.mark.parametrize(("position", "low", "high"), [(False, 0.3, 0.5), (True, 0.0, 0.1)])
def test_only_with_a_bias_of_position_does_the_net_know_the_last_row(
    position: bool, low: float, high: float, tmp_path: Path
) -> None:
    """The padding is above and beside the image, so that far from the top all rows look alike."""
    config = PixelCNN.Config(image_size=12, width=8, blocks=1, head=16, position=position)
    batches = coins(config)
    batches.dataset.images[:, :, -1] = 0
    model = PixelCNN(config)
    train(model, batches, Recorder(tmp_path), steps=100, lr=1e-2)
    with torch.no_grad():
        white = model(batches.at(0)).softmax(2)[:, 0, 1, -1].mean()
    assert low < white < high


@pytest.mark.parametrize("n_levels", [2, 4, 16, 256])
def test_levels_are_whole_numbers_that_images_hold_exactly(n_levels: int) -> None:
    model, k = PixelCNN(PixelCNN.Config(n_levels=n_levels, width=1, blocks=1)), torch.arange(n_levels)
    assert torch.equal(model.levels(model.values(k)), k)
    assert model.values(k)[0] == 0
    assert model.values(k)[-1] == 1


def test_inputs_are_rounded_like_targets_and_centred() -> None:
    model, seen = PixelCNN(COLOUR), []
    model.first.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    x = torch.rand(64, 3, 4, 4)
    assert torch.equal(model.log_prob(x), model.log_prob((x * 3).round() / 3))
    assert seen[0].unique().tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])


def test_bfloat16_changes_the_likelihood_by_less_than_2_millibits_per_dimension(tmp_path: Path) -> None:
    model, x = trained(GREY, tmp_path, steps=30), torch.randint(0, 2, (256, 1, 5, 5)).float()
    with torch.no_grad():
        exact = model.log_prob(x)
        with torch.autocast("cpu", torch.bfloat16):
            close = model.log_prob(x)
    assert close.dtype == torch.float32
    assert (close - exact).mean().abs() / (25 * math.log(2)) < 0.002


# --- sampling

CONFIGS: list[dict[str, Any]] = [
    {"image_size": 2, "width": 3, "blocks": 1},
    {"image_size": 3, "width": 3, "blocks": 2},
    {"image_size": 5, "width": 4, "blocks": 3, "n_levels": 4},
    {"image_size": 9, "width": 4, "blocks": 6},
    {"image_size": 9, "width": 4, "blocks": 3, "position": True},
    {"image_size": 5, "width": 4, "blocks": 1, "channels": 3, "n_levels": 4, "head": 5, "position": True},
    {"image_size": 4, "width": 3, "blocks": 1, "channels": 3, "n_levels": 256, "head": 4},
    {"image_size": 6, "width": 7, "blocks": 3, "channels": 3, "n_levels": 4, "head": 5},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_sampler_agrees_with_one_pass_per_pixel_and_with_the_likelihood(config: dict[str, Any]) -> None:
    model = vivid(**config)
    u = uniforms(model, 3)
    levels, chain = one_pass_per_pixel(model, u)
    assert torch.equal(draw(model.network(), u), levels)
    assert len(levels.unique()) > 1
    with torch.no_grad():
        assert torch.allclose(model.log_prob(model.values(levels)), chain, rtol=1e-4, atol=1e-4)


def test_samples_are_as_frequent_as_they_are_probable() -> None:
    model = vivid(image_size=2, width=4, blocks=1, head=4)
    samples = model.sample(zoo.Noise(0, 0, 20_000))
    places = (samples.flatten(1) @ torch.tensor([8.0, 4, 2, 1])).long()
    with torch.no_grad():
        expected = model.log_prob(every_image(model)).exp()
    assert expected.max() > 2 * expected.median()
    assert (places.bincount(minlength=16) / 20_000 - expected).abs().sum() < 0.04


class Largest(TorchDispatchMode):
    """Of all tensors that operations make, the size of the largest in bytes of memory."""

    bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        sizes = [x.untyped_storage().nbytes() for x in tree_leaves(made) if isinstance(x, Tensor)]
        self.bytes = max(self.bytes, *sizes, 0)
        return made


def test_sampling_an_image_computes_less_than_one_pass_over_it() -> None:
    """Masked taps are all that a pass does and sampling does not, so anything done twice would show."""
    model = PixelCNN(PixelCNN.Config(image_size=12, width=8, blocks=4))
    with torch.no_grad(), FlopCounterMode(display=False) as one_pass:
        model(torch.zeros(2, 1, 12, 12))
    with FlopCounterMode(display=False) as sampling:
        draw(model.network(), uniforms(model, 2))
    assert 0.6 < sampling.get_total_flops() / one_pass.get_total_flops() < 1


@pytest.mark.parametrize("side", [16, 32])
def test_the_memory_of_sampling_grows_with_the_side_and_not_with_the_pixels(side: int) -> None:
    model = PixelCNN(PixelCNN.Config(image_size=side, width=8, blocks=4))
    with Largest() as largest:
        draw(model.network(), uniforms(model, 2))
    assert largest.bytes <= 4 * 6 * (4 * 2 * 8) * (side + 1)


def test_sampling_is_the_same_under_autocast_and_in_inference_mode() -> None:
    model = vivid(image_size=6, width=4, blocks=2)
    u = uniforms(model, 4)
    plain = draw(model.network(), u)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(draw(model.network(), u), plain)
    with torch.inference_mode():
        assert torch.equal(draw(model.network(), u), plain)


def test_a_sample_does_not_depend_on_the_batch_it_is_drawn_in() -> None:
    model = vivid(image_size=6, width=4, blocks=2)
    whole = model.sample(zoo.Noise(0, 0, 5))
    assert torch.equal(model.sample(zoo.Noise(0, 3, 4)), whole[3:4])


# --- completion (figure 1)


def prefix(n: int, side: int, pixels: int) -> Tensor:
    return (torch.arange(side * side) < pixels).view(1, 1, side, side).expand(n, 1, side, side)


@pytest.mark.parametrize("config", [CONFIGS[3], CONFIGS[7]], ids=["grey", "colour"])
def test_completing_the_beginning_of_a_sample_with_its_own_noise_gives_the_sample(config: dict[str, Any]) -> None:
    model, side = vivid(**config), config["image_size"]
    sample = model.sample(zoo.Noise(1, 0, 4))
    for pixels in (0, 1, side * side // 2 + 2, side * side):
        mask = prefix(4, side, pixels)
        erased = torch.where(mask, sample, 1 - sample)
        assert torch.equal(model.complete(erased, mask, zoo.Noise(1, 0, 4)), sample)


def test_given_pixels_are_kept_exactly_though_the_model_rounds_them() -> None:
    model, x = vivid(**COLOUR.model_dump()), torch.rand(4, 3, 4, 4)
    made = model.complete(x, prefix(4, 4, 6), zoo.Noise(0, 0, 4))
    assert torch.equal(made[:, :, 0], x[:, :, 0])
    assert torch.equal(model.complete(x, prefix(4, 4, 16), zoo.Noise(0, 0, 4)), x)
    assert torch.equal(
        made, torch.where(prefix(4, 4, 6), x, model.complete((3 * x).round() / 3, prefix(4, 4, 6), zoo.Noise(0, 0, 4)))
    )


def test_a_completion_follows_the_conditional_distribution_of_a_raster_prefix() -> None:
    model = vivid(image_size=2, width=4, blocks=1, head=4)
    given = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).expand(20_000, 1, 2, 2)
    made = model.complete(given, prefix(20_000, 2, 2), zoo.Noise(0, 0, 20_000))
    places = (made[:, 0, 1] @ torch.tensor([2.0, 1])).long()
    with torch.no_grad():
        expected = model.log_prob(every_image(model))[8:12].softmax(0)
    assert (places.bincount(minlength=4) / 20_000 - expected).abs().sum() < 0.03


def test_pixels_given_further_on_do_not_change_those_drawn_before_them() -> None:
    model = vivid(image_size=6, width=4, blocks=2)
    lower = ~prefix(3, 6, 18)
    made = model.complete(torch.ones(3, 1, 6, 6), lower, zoo.Noise(1, 0, 3))
    assert torch.equal(made[:, :, :3], model.sample(zoo.Noise(1, 0, 3))[:, :, :3])
    assert made[:, :, 3:].all()


def test_each_image_has_a_mask_of_its_own() -> None:
    model, x = vivid(image_size=6, width=4, blocks=2), torch.randint(0, 2, (3, 1, 6, 6)).float()
    masks = torch.rand(3, 1, 6, 6) < 0.5
    together = model.complete(x, masks, zoo.Noise(0, 0, 3))
    for i in range(3):
        assert torch.equal(model.complete(x[i : i + 1], masks[i : i + 1], zoo.Noise(0, i, i + 1)), together[i : i + 1])


# --- the loop


def test_the_step_size_falls_to_0_over_the_last_part_of_the_run(tmp_path: Path) -> None:
    run = Recorder(tmp_path)
    train(PixelCNN(GREY), coins(GREY), run, steps=8, lr=1e-2, decay=0.5)
    assert run.rates == pytest.approx([1e-2] * 5 + [7.5e-3, 5e-3, 2.5e-3])
