"""The traps of StarGAN (Choi et al. 2018), each as a test, and what becomes of attributes that are left out."""

import math
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from recording import Recorder
from torch import Tensor, nn
from zoo_stargan.evaluate import evaluate
from zoo_stargan.model import Discriminator, StarGAN, upsample
from zoo_stargan.train import class_loss, gradient_penalty, train

import zoo
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.evaluation.figures import Bench
from zoo.family.registry import registry
from zoo.testing import Case

NAMES = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
TINY: dict[str, Any] = {"image_size": 16, "width": 4, "blocks": 1, "classifier_width": 4, "exclusive": NAMES[:3]}
NETS = {"G": "model.generator", "D": "D", "C": "model.classifier"}
SMALL_D = {"d_width": 4, "d_layers": 3}
NAN = float("nan")


def tiny(**config: Any) -> StarGAN:
    torch.manual_seed(0)
    return StarGAN(StarGAN.Config(**(TINY | config)))


def critic(seed: int = 1) -> Discriminator:
    torch.manual_seed(seed)
    return Discriminator(StarGAN.Config(**TINY), 4, 3)


def pictures(n: int) -> Tensor:
    """Smooth random images in [-1, 1]."""
    coarse = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return 2 * F.interpolate(coarse, (16, 16), mode="bilinear") - 1


def labels(n: int) -> Tensor:
    """Attributes of which no two rows in turn are alike; hair has one colour."""
    hair = F.one_hot(torch.arange(n) % 3, 3)
    return torch.cat([hair, (torch.arange(n) % 2)[:, None], (torch.arange(n) // 2 % 2)[:, None]], dim=1).float()


def faces(n: int = 24) -> Dataset:
    return Dataset("made", "train", ((pictures(n) + 1) * 127.5).to(torch.uint8), None, labels(n), NAMES)


def batches() -> Batches:
    return Batches(faces(), "attributes", 4, preparation=zoo.Preparation(size=16))


def recorded(out: Path, model: StarGAN | None = None, **options: Any) -> Recorder:
    run, model = Recorder(out, NETS), model or tiny()
    torch.manual_seed(2)
    train(model, batches(), run, **({"steps": 1, "n_critic": 1} | SMALL_D | options))
    return run


# The losses.


def test_the_class_loss_is_a_sum_over_attributes_and_a_mean_over_images() -> None:
    assert class_loss(torch.zeros(3, 5), labels(3)).item() == pytest.approx(5 * math.log(2), abs=1e-6)


def test_the_class_loss_is_exact_for_logits_in_bfloat16() -> None:
    logits = torch.full((4096, 5), 4.0, dtype=torch.bfloat16)
    assert class_loss(logits, torch.ones(4096, 5)).item() == pytest.approx(5 * 0.018150, abs=1e-5)


class Linear(nn.Module):
    """A critic of 2x2 patch scores, linear in the image: w_i . x for patch i."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.seen = x
        return (x.flatten(1) @ self.weight.T).view(-1, 1, 2, 2), x.new_zeros(len(x), 5)


def penalty_of(weight: Tensor) -> tuple[Linear, Tensor]:
    D = Linear(weight)
    return D, gradient_penalty(D, torch.rand(6, 3, 4, 4), torch.rand(6, 3, 4, 4))


def test_the_penalty_is_that_of_the_sum_of_the_patches() -> None:
    """Not of their mean, whose gradient is a quarter: the authors' choice."""
    weight = torch.randn(4, 48)
    assert penalty_of(weight)[1].item() == pytest.approx((weight.sum(0).norm().item() - 1) ** 2, rel=1e-5)
    unit = weight / weight.sum(0).norm()
    assert penalty_of(unit)[1].item() == pytest.approx(0, abs=1e-9)


def test_the_penalty_reaches_the_critic_through_its_gradient() -> None:
    D, penalty = penalty_of(torch.randn(4, 48))
    penalty.backward()
    total = D.weight.detach().sum(0)
    torch.testing.assert_close(D.weight.grad, (2 * (1 - 1 / total.norm()) * total).expand(4, 48))


def test_a_constant_critic_has_penalty_1_and_finite_gradients() -> None:
    D, penalty = penalty_of(torch.zeros(4, 48))
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert D.weight.grad is not None
    assert D.weight.grad.isfinite().all()


def test_the_penalty_looks_at_a_point_between_each_image_and_its_translation() -> None:
    D, real, fake = Linear(torch.randn(4, 48)), torch.rand(6, 3, 4, 4), torch.rand(6, 3, 4, 4).requires_grad_()
    gradient_penalty(D, real, fake).backward()
    assert D.seen is not None
    to_real, to_fake, whole = (
        (a - b).flatten(1).norm(dim=1) for a, b in ((D.seen, real), (D.seen, fake), (real, fake))
    )
    torch.testing.assert_close(to_real + to_fake, whole)
    assert (to_real / whole).std() > 0.05
    assert D.seen.is_leaf
    assert fake.grad is None


def test_the_penalty_is_in_float32_whatever_the_precision_around_it() -> None:
    D, x = critic(), pictures(4)
    values = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            values.append(gradient_penalty(D, x, x.flip(0).bfloat16()))
    assert values[0].dtype == values[1].dtype == torch.float32
    assert torch.equal(*values)


def test_the_second_derivative_is_the_same_in_channels_last() -> None:
    """By the difference quotient of the penalty along its own gradient, and against the ordinary layout."""
    x, found = pictures(4).double(), []
    for layout in (torch.contiguous_format, torch.channels_last):
        D = critic().double().to(memory_format=layout)
        weight, images = D.trunk[0].weight, x.to(memory_format=layout)

        def penalty(D: Discriminator = D, images: Tensor = images) -> Tensor:
            torch.manual_seed(0)
            return gradient_penalty(D, images, images.flip(0))

        (slope,) = torch.autograd.grad(penalty(), weight)
        values = []
        for move in (1e-6, -2e-6):
            with torch.no_grad():
                weight += move * slope
            values.append(penalty().item())
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope.square().sum().item(), rel=1e-4)
        found.append(slope)
    torch.testing.assert_close(*found)


# The loop.


def test_ten_steps_are_ten_of_d_and_two_of_g(tmp_path: Path) -> None:
    moved = recorded(tmp_path, steps=10, n_critic=5).moved
    assert moved == 2 * [*4 * [{"D"}, {"C"}], {"D"}, {"G"}, {"C"}]


def test_targets_are_the_batchs_own_labels_in_another_order(tmp_path: Path) -> None:
    """So that no target is one that no real image has, like two colours of hair."""
    run, own = recorded(tmp_path, steps=6, n_critic=100), batches()
    orders = []
    for call in run.seen("G"):
        c = call.given[1]
        original = next(own)[1]
        assert sorted(c.tolist()) == sorted(original.tolist())
        orders.append(torch.equal(c, original))
    assert not all(orders)


def test_d_learns_attributes_from_real_images_alone(tmp_path: Path) -> None:
    """Its class head's gradient is the same to the bit when a generator makes other fakes; its critic's is not."""
    one = recorded(tmp_path, tiny()).updates[0].gradients["D"]
    other_model = tiny()
    with torch.no_grad():
        for p in other_model.generator.parameters():
            p.mul_(-1.5)
    other = recorded(tmp_path, other_model).updates[0].gradients["D"]
    assert torch.equal(one["cls.weight"], other["cls.weight"])
    assert not torch.equal(one["src.weight"], other["src.weight"])


def test_ds_loss_is_the_negative_distance_the_class_loss_and_ten_penalties(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    (x, original), ((real, cls), (fake, _), _) = next(batches()), [call.gave for call in run.seen("D")[:3]]
    assert torch.equal(run.seen("D")[0].given[0], 2 * x - 1)
    x_hat = run.seen("D")[2].given[0].requires_grad_()
    D = critic(seed=2)  # as the loop built it
    (gradient,) = torch.autograd.grad(D(x_hat)[0].sum(), x_hat)
    penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    entropy = F.binary_cross_entropy(cls.sigmoid(), original, reduction="sum") / len(x)
    expected = fake.mean() - real.mean() + entropy + 10 * penalty
    assert run.updates[0].loss == pytest.approx(expected.item(), rel=1e-5)


def test_g_is_to_have_the_target_and_to_lead_back_by_the_original(tmp_path: Path) -> None:
    """Its loss written out from what the nets said: the class loss takes c, the way back c'."""
    run, (x, original) = recorded(tmp_path), next(batches())
    there, back_again = run.seen("G")[1:]
    (_, target), (fake,), (given, way_back), (back,) = there.given, there.gave, back_again.given, back_again.gave
    src, cls = run.seen("D")[3].gave
    assert not torch.equal(target, original)
    assert torch.equal(given, fake)
    assert torch.equal(way_back, original)
    entropy = F.binary_cross_entropy(cls.sigmoid(), target, reduction="sum") / len(x)
    expected = -src.mean() + entropy + 10 * (2 * x - 1 - back).abs().mean()
    assert run.updates[1].loss == pytest.approx(expected.item(), rel=1e-5)


def test_the_published_classifier_sees_nothing_but_real_images(tmp_path: Path) -> None:
    run, own = recorded(tmp_path, steps=3), batches()
    assert [torch.equal(call.given[0], 2 * next(own)[0] - 1) for call in run.seen("C")] == [True] * 3


def test_the_rate_is_constant_for_half_of_the_run_and_then_falls_to_0() -> None:
    """The released code takes a thousandth off in all; the paper goes to 0. A step is one of D: 40,000 are G's."""
    for steps in (200_000, 40_000):
        optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], 1e-4)
        (rate,) = zoo.constant_then_linear(optimizer, steps, 0.5).lr_lambdas
        assert [1e-4 * rate(steps * k // 4) for k in range(5)] == pytest.approx([1e-4, 1e-4, 1e-4, 5e-5, 0])


@pytest.mark.parametrize(("decay", "last"), [(0.5, 0.0), (0.0, 1e-4)])
def test_both_rates_end_where_the_decay_says(tmp_path: Path, decay: float, last: float) -> None:
    run = recorded(tmp_path, steps=4, n_critic=2, decay=decay)
    for name in ("opt_G", "opt_D"):
        (group,) = run.parts[name].param_groups
        assert group["lr"] == pytest.approx(last, abs=1e-12)
        assert group["betas"] == (0.5, 0.999)


def test_other_attributes_than_the_configs_are_refused(tmp_path: Path) -> None:
    model = tiny(names=("Hat", "Beard"), exclusive=())
    with pytest.raises(zoo.ConfigError, match="the model has Hat, Beard"):
        train(model, batches(), Recorder(tmp_path, NETS), steps=1, **SMALL_D)


def test_a_discriminator_deeper_than_the_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(zoo.ConfigError, match="d_layers=5 needs images of at least 32"):
        train(tiny(), batches(), Recorder(tmp_path, NETS), steps=1, d_layers=5)


# The nets.


def test_the_discriminator_of_the_recipe_ends_in_as_many_patches_as_the_papers() -> None:
    """The penalty is taken of the sum over patches and the adversarial loss of their mean: with 16 patches for 4 the
    adversarial slope would be a quarter of the authors'."""
    (recipe,) = registry().spec("stargan").recipes
    for config, size in ((StarGAN.Config(**recipe.config), recipe.train), (StarGAN.Config(), {})):
        width, layers = size.get("d_width", 64), size.get("d_layers", 6)
        src, _ = Discriminator(config, width, layers)(torch.zeros(1, 3, config.image_size, config.image_size))
        assert src.shape == (1, 1, 2, 2)


@pytest.mark.parametrize(("upsampling", "flat"), [("nearest", True), ("transposed", False)])
def test_repeated_pixels_leave_no_checkerboard(upsampling: Literal["nearest", "transposed"], flat: bool) -> None:
    torch.manual_seed(0)
    without_norm = nn.Sequential(*upsample(8, 4, upsampling)[:-2])
    inner = without_norm(torch.ones(1, 8, 6, 6))[:, :, 2:-2, 2:-2]
    assert (inner.std((2, 3)) < 1e-6).all() == flat


@pytest.mark.parametrize(("names", "G", "D"), [(5, 8_430_528, 44_762_048), (8, 8_439_936, 44_786_624)])
def test_the_default_nets_have_the_papers_number_of_parameters(names: int, G: int, D: int) -> None:
    config = StarGAN.Config(names=tuple(f"a{i}" for i in range(names)))
    with torch.device("meta"):
        model, discriminator = StarGAN(config), Discriminator(config)
    assert sum(p.numel() for p in model.generator.parameters()) == G
    assert sum(p.numel() for p in discriminator.parameters()) == D


def test_every_attribute_moves_the_translation() -> None:
    G, x = tiny().generator, pictures(2)
    c = torch.zeros(2, 5)
    for i in range(5):
        assert (G(x, c + F.one_hot(torch.tensor(i), 5)) - G(x, c)).abs().max() > 1e-3


def test_padded_by_reflection_the_attributes_would_be_lost_in_the_norm() -> None:
    G, x = tiny().generator, pictures(2)
    first = G.layers[0]
    G.layers[0] = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(8, 4, 7, bias=False))
    G.layers[0][1].weight = first.weight
    torch.testing.assert_close(G(x, torch.ones(2, 5)), G(x, torch.zeros(2, 5)), rtol=0, atol=1e-4)


def test_training_and_inference_norm_alike_by_each_images_own_statistics() -> None:
    model, x, c = tiny(), pictures(4), labels(4)
    made = model.train().generator(x, c)
    assert torch.equal(made, model.eval().generator(x, c))
    torch.testing.assert_close(made[1:2], model.generator(x[1:2], c[1:2]), rtol=0, atol=1e-5)


def test_d_judges_each_image_by_itself() -> None:
    D, x = critic(), pictures(4)
    for alone, together in zip(D(x[:1]), D(x), strict=True):
        torch.testing.assert_close(alone, together[:1], rtol=0, atol=1e-5)


def test_ds_scores_are_unbounded() -> None:
    D, x = critic(), pictures(4)
    before = D(x)[0]
    with torch.no_grad():
        D.src.weight.mul_(1000)
    torch.testing.assert_close(D(x)[0], 1000 * before)


# Attributes at inference.


def asked(**flags: float) -> Tensor:
    return torch.tensor([[flags.get(name, NAN) for name in NAMES]])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, [1, 0, 0, 1, 1]),
        ({"Male": 0}, [1, 0, 0, 0, 1]),
        ({"Blond_Hair": 1}, [0, 1, 0, 1, 1]),
        ({"Blond_Hair": 1, "Black_Hair": 1}, [1, 1, 0, 1, 1]),
        ({"Blond_Hair": 0}, [1, 0, 0, 1, 1]),
        ({"Black_Hair": 0}, [0, 0, 0, 1, 1]),
        ({"Young": 1}, [1, 0, 0, 1, 1]),
    ],
)
def test_what_is_left_out_stays_unless_an_exclusive_one_takes_its_place(
    flags: dict[str, float], expected: list[float]
) -> None:
    present = torch.tensor([[1.0, 0, 0, 1, 1]])
    assert tiny().target(present, asked(**flags)).tolist() == [expected]


def test_without_exclusive_attributes_nothing_else_is_turned_off() -> None:
    present = torch.tensor([[1.0, 0, 0, 1, 1]])
    assert tiny(exclusive=()).target(present, asked(Blond_Hair=1)).tolist() == [[1, 1, 0, 1, 1]]


class Fixed(nn.Module):
    """A classifier with an answer of its own."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor([logits])

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def test_of_exclusive_attributes_the_likeliest_alone_is_present() -> None:
    model = tiny()
    model.classifier = Fixed(1.0, 2.0, -1.0, -3.0, 0.5)
    assert model.present(pictures(2)).tolist() == [[0, 1, 0, 0, 1]] * 2
    model.classifier = Fixed(-1.0, -2.0, -1.0, 3.0, -0.5)
    assert model.present(pictures(1)).tolist() == [[0, 0, 0, 1, 0]]


def test_a_translation_takes_what_is_left_out_from_its_own_classifier() -> None:
    model, x = tiny(), (pictures(1) + 1) / 2
    model.classifier = Fixed(9.0, -9.0, -9.0, -9.0, 9.0)
    whole = asked(Black_Hair=0, Blond_Hair=1, Brown_Hair=0, Male=0, Young=1)
    assert torch.equal(model.translate(x, attributes=asked(Blond_Hair=1)), model.translate(x, attributes=whole))
    as_it_is = asked(Black_Hair=1, Blond_Hair=0, Brown_Hair=0, Male=0, Young=1)
    assert torch.equal(model.translate(x), model.translate(x, attributes=as_it_is))


def test_what_is_kept_does_not_depend_on_the_precision() -> None:
    model, x = tiny(), (pictures(4) + 1) / 2
    with torch.autocast("cpu", torch.bfloat16):
        low = model.infer(x)["attributes"]
    assert torch.equal(low, model.infer(x)["attributes"])


def test_the_handle_takes_each_attribute_by_its_own_name() -> None:
    model, x = Case(registry().spec("stargan")).model, (pictures(3) + 1) / 2
    made = model.translate(x, Blond_Hair=True, Male=[True, False, True]).tensor
    alike = model.translate(x, attributes={"Blond_Hair": 1, "Male": [1, 0, 1]}).tensor
    assert torch.equal(made, alike)
    with pytest.raises(zoo.InputError, match="Blond_Hair"):
        model.translate(x, Blond_Hiar=True)


def test_exclusive_attributes_must_be_among_the_names() -> None:
    with pytest.raises(ValueError, match="Green_Hair"):
        tiny(exclusive=("Green_Hair",))


@pytest.mark.parametrize("name", ["", "Blond Hair", "1st", "-x", "a" * 41])
def test_names_are_ones_that_options_can_bear(name: str) -> None:
    with pytest.raises(ValueError, match="names"):
        StarGAN.Config(names=(name,))


# Evaluation.


class Echo:
    """A judge that sees Blond_Hair and Young in every image, and whose attributes stand in another order."""

    name = "echo"

    class config:  # noqa: N801  (a stand-in for an object)
        names = NAMES[::-1]

    def infer(self, images: Any, batch_size: int) -> dict[str, Tensor]:
        row = [name in ("Blond_Hair", "Young") for name in self.config.names]
        return {"attributes": torch.tensor([row]).float().expand(len(images), -1)}


def figures(judge: Any) -> dict[str, Any]:
    data = faces(12)
    bench = Bench(Case(registry().spec("stargan")).model, data, data, "made", 0, False, judge)
    return {metric.name: metric for metric in evaluate(bench)}


def test_the_judges_verdicts_on_translations_are_counted_where_something_was_to_change() -> None:
    found = figures(Echo())
    values = {name: found[f"attribute_accuracy_{name}"].value for name in NAMES}
    # All asked for blond are blond to this judge, none black; half were asked to become male, half to be young.
    assert values == {"Black_Hair": 0, "Blond_Hair": 1, "Brown_Hair": 0, "Male": 0.5, "Young": 0.5}
    assert [found[f"attribute_accuracy_{name}"].n for name in NAMES] == [8, 8, 8, 12, 12]
    assert found["attribute_accuracy"].value == pytest.approx(2 / 5)
    assert found["attributes_kept"].value == 1
    # Of real images with what was asked for it sees all blond ones as blond, none of the others' hair, and of the rest
    # those that lack Male, and those that have Young: no translation could do better.
    ceilings = {name: found[f"attribute_accuracy_{name}"].ceiling for name in NAMES}
    assert ceilings == {"Black_Hair": 0, "Blond_Hair": 1, "Brown_Hair": 0, "Male": 0.5, "Young": 0.5}
    assert found["attribute_accuracy"].ceiling == pytest.approx(2 / 5)
    assert 0 < found["attribute_accuracy"].uncertainty < 0.2


def test_without_a_judge_of_these_attributes_nothing_is_said_of_them() -> None:
    class Other(Echo):
        class config:  # noqa: N801
            names = ("Black_Hair", "Smiling")

    for judge in (None, Other()):
        assert set(figures(judge)) == {"cycle_l1", "present_accuracy"}
