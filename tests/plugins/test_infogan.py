"""The trap table of InfoGAN."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from recording import Recorder, Update
from torch import Tensor, nn
from zoo_infogan.evaluate import UNMATCHED, accuracy, evaluate, one_to_one
from zoo_infogan.model import Codes, InfoGAN, Posterior, code_head, generator, trunk
from zoo_infogan.train import read_loss, train

import zoo
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.evaluation.figures import Bench
from zoo.family.registry import registry
from zoo.testing import Case

NETS = {"G": "model.G", "trunk": "model.trunk", "Q": "model.Q", "D": "D"}
TINY = InfoGAN.Config(image_size=8, latent_dim=4, width=4, hidden=16)
PAPER = InfoGAN.Config()
LN_10 = math.log(10)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def batches(level: int = 255) -> Batches:
    """Batches of 16 random images of black and of `level`."""
    images = level * torch.randint(0, 2, (64, 1, 8, 8), dtype=torch.uint8)
    return Batches(Dataset("made", "train", images), "images", 16, preparation=zoo.Preparation(size=8, mode="L"))


def record(out: Path, steps: int = 1, level: int = 255, **settings: float) -> Recorder:
    """Steps of the real loop from the same weights, draws and places of the images."""
    torch.manual_seed(0)
    model, data, run = InfoGAN(TINY), batches(level), Recorder(out, NETS)
    torch.manual_seed(1)
    train(model, data, run, steps=steps, **settings)
    return run


def alike(net: str, one: Update, other: Update) -> bool:
    """Whether two updates gave a net the same gradients, to the bit."""
    pairs = zip(one.gradients[net].values(), other.gradients[net].values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


# --- the loss of the codes (section 5)


def posterior(logits: Tensor, mean: float = 0.0) -> Posterior:
    return Posterior(logits, torch.full((len(logits), 1), mean))


def codes(category: Tensor, style: float = 0.5) -> Codes:
    return Codes(torch.zeros(len(category), 4), category, torch.full((len(category), 1), style))


def test_not_knowing_the_category_costs_ln_10_and_knowing_it_nothing() -> None:
    category = torch.arange(10)
    assert read_loss(posterior(torch.zeros(10, 10)), codes(category))[0].item() == pytest.approx(2.302585, abs=1e-6)
    assert read_loss(posterior(100 * torch.eye(10)), codes(category))[0].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("style", "mean", "expected"), [(0.5, 0.0, 1.043939), (-1.0, 1.0, 2.918939), (0.3, 0.3, 0.918939)]
)
def test_a_style_costs_its_gaussian_log_density_with_variance_1(style: float, mean: float, expected: float) -> None:
    loss = read_loss(posterior(torch.zeros(3, 10), mean), codes(torch.zeros(3, dtype=torch.long), style))[1]
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_styles_add_up_and_samples_average() -> None:
    style, mean = torch.tensor([[0.5, -0.5], [1.0, 0.0]]), torch.zeros(2, 2)
    loss = read_loss(Posterior(torch.zeros(2, 10), mean), Codes(torch.zeros(2, 4), torch.zeros(2).long(), style))[1]
    assert loss.item() == pytest.approx(math.log(2 * math.pi) + 0.5 * (0.25 + 0.25 + 1.0) / 2, abs=1e-6)


CHANNEL = torch.tensor([[7, 2, 1, 0], [0, 5, 5, 0], [1, 0, 1, 8]])
"""How often, out of ten, each of three categories makes each of four images."""


def information(logits: Tensor) -> float:
    """L_I of a Q given as logits for each of the four images, over every pair as often as it occurs."""
    pairs = torch.tensor([(c, x) for c in range(3) for x in range(4) for _ in range(int(CHANNEL[c, x]))])
    return math.log(3) - read_loss(posterior(logits[pairs[:, 1]]), codes(pairs[:, 0]))[0].item()


def test_the_bound_is_the_mutual_information_at_the_true_posterior_and_below_it_elsewhere() -> None:
    joint = CHANNEL.double() / CHANNEL.sum()
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    exact = torch.where(joint > 0, joint * (joint / independent).log(), 0).sum().item()
    truth = CHANNEL.T.float().clamp_min(1e-12).log()
    assert information(truth) == pytest.approx(exact, abs=1e-6)
    for scale in (0.1, 1.0, 3.0):
        assert information(truth + scale * torch.randn(4, 3)) < exact


def test_before_training_an_image_tells_nothing_of_its_category() -> None:
    model = InfoGAN(InfoGAN.Config(width=8, hidden=128))
    drawn = model.draw(zoo.Noise(0, 0, 256))
    with torch.no_grad():
        category, _ = read_loss(model.read(model.trunk(model.generate(drawn))), drawn)
    assert LN_10 - category.item() == pytest.approx(0, abs=0.1)


def test_the_codes_are_read_in_float32_when_training_runs_in_bfloat16() -> None:
    model = InfoGAN(TINY)
    with torch.autocast("cpu", torch.bfloat16):
        logits, mean = model.read(model.trunk(torch.rand(4, 1, 8, 8)))
    assert logits.dtype == mean.dtype == torch.float32


# --- the codes


def test_codes_are_drawn_anew_for_every_sample_from_the_whole_of_their_range() -> None:
    model, noise = InfoGAN(PAPER.model_copy(update={"width": 1, "hidden": 1})), zoo.Noise(0, 0, 5000)
    z, category, style = model.draw(noise)
    for uniform in (z, style):
        assert 0.99 < uniform.abs().max() < 1
        assert uniform.mean().item() == pytest.approx(0, abs=0.02)
        assert uniform.var().item() == pytest.approx(1 / 3, abs=0.01)
    assert torch.corrcoef(torch.cat([z[:, :2], style], 1).T).triu(1).abs().max() < 0.06
    counts = category.bincount(minlength=10)
    assert counts.min() > 400
    assert counts.max() < 600
    assert not torch.equal(model.draw(noise).category, category)


def test_a_code_that_is_given_changes_no_other() -> None:
    """So that one code can be moved while all else stays: sample i of a seed keeps its z."""
    model = InfoGAN(TINY).eval()
    drawn = model.draw(zoo.Noise(3, 0, 6))
    as_drawn = model.sample(zoo.Noise(3, 0, 6))
    for given in ({"category": drawn.category}, {"style": drawn.style}):
        assert torch.equal(model.sample(zoo.Noise(3, 0, 6), **given), as_drawn)


@pytest.mark.parametrize("training", [False, True])
def test_one_rows_code_changes_other_rows_through_batch_statistics_alone(training: bool) -> None:
    """Pictures in which one code moves are made in eval mode, as the handle makes all."""
    model = InfoGAN(TINY)
    drawn = model.draw(zoo.Noise(0, 0, 6))
    style = drawn.style.clone()
    style[2] += 1
    with torch.no_grad():
        for _ in range(50):
            model.generate(drawn)  # settles the running statistics
        model.train(training)
        change = (model.generate(drawn._replace(style=style)) - model.generate(drawn)).abs().flatten(1).amax(1)
    assert change[2] > 1e-4
    assert (change[[0, 1, 3, 4, 5]].max() > 1e-5) == training


def test_the_handle_moves_one_code_under_the_same_noise() -> None:
    model = Case(registry().spec("infogan")).model
    moved = [model.sample(4, seed=5, category=str(c)).tensor for c in range(10)]
    alone = [model.sample(1, seed=5, start=2, category=c).tensor for c in range(10)]
    for c in range(10):
        assert torch.allclose(moved[c][2:3], alone[c], atol=1e-6)
    assert len({tuple(x[0].flatten().tolist()) for x in moved}) == 10


def test_styles_reach_as_far_as_the_papers_figures_and_no_further() -> None:
    model = Case(registry().spec("infogan")).model
    model.sample(2, seed=0, style=[-2, 2])
    with pytest.raises(zoo.InputError, match="2 numbers from -2 to 2"):
        model.sample(2, seed=0, style=[0, 2.1])


def test_infer_gives_probabilities_and_means_for_each_image() -> None:
    found = Case(registry().spec("infogan")).model.infer(torch.rand(5, 1, 8, 8))
    assert found["category"].shape == (5, 10)
    assert torch.allclose(found["category"].sum(1), torch.ones(5), atol=1e-5)
    assert found["style"].shape == (5, 2)


# --- the nets (appendix C.1)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_nets_have_the_papers_parameters() -> None:
    """Less the biases that batch norm would cancel, and less the styles' variances, which are fixed at 1."""
    with torch.device("meta"):
        assert count(generator(PAPER)) == 6_652_481 - (1024 + 7 * 7 * 128 + 64)
        assert count(trunk(PAPER)) == 6_558_144 - (128 + 1024)
        assert count(code_head(PAPER)) == 133_262 - 128 - 2 * (128 + 1)


@pytest.mark.parametrize("size", [8, 12, 28, 32, 64])
def test_images_of_any_size_in_fours_go_through_both_nets(size: int) -> None:
    model = InfoGAN(TINY.model_copy(update={"image_size": size, "channels": 3})).eval()
    x = model.sample(zoo.Noise(0, 0, 2))
    assert x.shape == (2, 3, size, size)
    assert model.infer(x)["category"].shape == (2, 10)


def test_batch_norm_is_neither_at_gs_output_nor_at_ds_input() -> None:
    G, T = list(generator(TINY)), list(trunk(TINY))
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    outputs = [G.index(layer) for layer in G if isinstance(layer, nn.Linear | nn.ConvTranspose2d)]
    assert [isinstance(G[i + 1], norms) for i in outputs] == [True, True, True, False]
    inputs = [T.index(layer) for layer in T if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert [isinstance(T[i + 1], norms) for i in inputs] == [False, True, True]


# --- the game (section 4)


@pytest.mark.parametrize("inform_trunk", [True, False])
def test_every_parameter_has_exactly_one_optimizer(tmp_path: Path, inform_trunk: bool) -> None:
    run = record(tmp_path, inform_trunk=inform_trunk)
    held = [id(p) for name in ("opt_G", "opt_D") for group in run.parts[name].param_groups for p in group["params"]]
    there = [id(p) for net in ("model", "D") for p in run.parts[net].parameters()]
    assert sorted(held) == sorted(there)


def test_d_and_q_learn_in_one_step_and_g_in_the_other(tmp_path: Path) -> None:
    assert record(tmp_path, steps=2).moved == [{"trunk", "Q", "D"}, {"G"}] * 2


def test_a_trunk_that_is_not_informed_leaves_the_codes_to_g_and_q(tmp_path: Path) -> None:
    run = record(tmp_path, steps=2, inform_trunk=False)
    assert run.moved == [{"trunk", "D"}, {"G", "Q"}] * 2
    heedless = record(tmp_path, inform_trunk=False, lambda_category=0.0, lambda_style=0.0)
    assert alike("trunk", run.updates[0], heedless.updates[0])


def test_d_and_q_see_images_alone_and_real_and_generated_ones_apart(tmp_path: Path) -> None:
    run = record(tmp_path, steps=1)
    seen = [call.given for call in run.seen("trunk")]
    assert [[tuple(x.shape) for x in given] for given in seen] == [[(16, 1, 8, 8)]] * 3
    black_and_white = [bool(((x == 0) | (x == 1)).all()) for (x,) in seen]
    assert black_and_white.count(True) == 1
    assert not black_and_white[-1]


def test_q_learns_from_generated_images_alone(tmp_path: Path) -> None:
    """Other real images change the gradients of D, and not one bit of Q's."""
    one, other = (record(tmp_path, level=level).updates[0] for level in (255, 100))
    assert alike("Q", one, other)
    assert not alike("D", one, other)


@pytest.mark.parametrize("name", ["lambda_category", "lambda_style"])
def test_lambda_weighs_the_information_in_the_gradient_of_g(tmp_path: Path, name: str) -> None:
    """The gradient is affine in lambda, and the information has a part in it; trunk and Q are held still."""
    zero, one, two = (
        torch.cat([g.flatten() for g in run.updates[1].gradients["G"].values()])
        for run in (record(tmp_path, lr_D=0.0, **{name: weight}) for weight in (0.0, 1.0, 2.0))
    )
    part = (one - zero).norm()
    assert part > 1e-3 * zero.norm()
    assert (two - one - (one - zero)).norm() < 1e-3 * part


def test_with_no_weight_on_the_information_q_stays_as_it_was(tmp_path: Path) -> None:
    assert record(tmp_path, lambda_category=0.0, lambda_style=0.0).moved[0] == {"trunk", "D"}


@pytest.mark.parametrize(
    "frozen", [{"lr_G": 0.0, "lr_D": 3e-3}, {"lr_D": 0.0, "lr_G": 3e-3}], ids=["Q alone", "G alone"]
)
def test_the_category_becomes_readable_by_q_and_by_g(tmp_path: Path, frozen: dict[str, float]) -> None:
    logged = record(tmp_path, steps=60, **frozen).logged
    assert logged[0]["category"] == pytest.approx(LN_10, abs=0.3)
    assert logged[-1]["category"] < logged[0]["category"] - 0.15


def test_the_published_statistics_fit_samples_in_g_and_real_images_in_q(tmp_path: Path) -> None:
    """What is published is used in eval mode: there it must behave as on the batches that training saw."""
    torch.manual_seed(0)
    data, run = batches(), zoo.Run(tmp_path, device="cpu", progress=False, ema=0.99)
    train(InfoGAN(TINY), data, run, steps=20)
    model, x = run.published, torch.cat([data.at(i) for i in range(4)])
    drawn = model.draw(zoo.Noise(0, 0, 512))
    for look in (lambda: model.generate(drawn), lambda: model.trunk(x), lambda: model.read(model.trunk(x)).logits):
        with torch.no_grad():
            model.eval()
            published = look()
            model.train()
            fresh = look()
        assert (published - fresh).abs().mean() < 0.15 * fresh.std()


# --- the measures


class Reader:
    """A handle that reads the category of an image from its grey level: level c is category c."""

    config = TINY

    class preparation:  # noqa: N801  (stands in for an object)
        binarize = False

    def infer(self, images: Tensor, batch_size: int = 64) -> dict[str, Tensor]:
        levels = (255 * images[:, 0, 0, 0]).round().long()
        return {"category": nn.functional.one_hot(levels, 10).float()}


def bench(train: list[tuple[int, int]], test: list[tuple[int, int]]) -> Bench:
    """A bench of images that are given as pairs (category, label)."""
    splits = []
    for name, pairs in (("test", test), ("train", train)):
        levels, labels = torch.tensor(pairs).T
        images = levels.to(torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
        splits.append(Dataset("made", name, images, labels=labels))
    return Bench(Reader(), *splits, data="made", seed=0, progress=False)  # type: ignore[arg-type]


def test_categories_are_matched_on_the_training_split_and_judged_on_the_test_split() -> None:
    turned = [(c, (c + 3) % 10) for c in range(10)] * 3
    straight = [(c, c) for c in range(10)]
    for test, expected in ((turned, 1.0), (straight, 0.0), (turned[:10] + straight, 0.5)):
        assert [metric.value for metric in accuracy(bench(turned, test))] == [expected, expected]


def test_two_categories_of_one_class_count_in_the_majority_vote_and_not_one_to_one() -> None:
    """Class 0 is spread over categories 0 (most of it) and 1; class 1 has no category of its own."""
    pairs = [(0, 0)] * 6 + [(1, 0)] * 4 + [(2, 2)] * 10
    majority, matched = accuracy(bench([*pairs, (2, 1)], pairs))
    assert (majority.name, majority.value) == ("category_accuracy_majority", 1.0)
    assert (matched.name, matched.value) == ("category_accuracy_one_to_one", 0.8)


@pytest.mark.parametrize("shape", [(5, 5), (3, 5), (5, 3)])
def test_the_one_to_one_match_is_the_best_of_all(shape: tuple[int, int]) -> None:
    counts = torch.randint(0, 50, shape).tolist()
    rows, columns = range(shape[0]), range(shape[1])
    if shape[0] <= shape[1]:
        best = max(sum(counts[i][c] for i, c in enumerate(p)) for p in itertools.permutations(columns, len(rows)))
    else:
        best = max(sum(counts[r][c] for c, r in enumerate(p)) for p in itertools.permutations(rows, len(columns)))
    match = one_to_one(counts)
    used = [c for c in match if c != UNMATCHED]
    assert len(used) == len(set(used)) == min(shape)
    assert sum(counts[i][c] for i, c in enumerate(match) if c != UNMATCHED) == best


class Perfect(InfoGAN):
    """Draws each category and style as a grey level, and reads them back without fault."""

    def generate(self, codes: Codes) -> Tensor:
        x = torch.zeros(len(codes.z), 1, 8, 8)
        x[:, 0, 0, 0] = codes.category / 10
        x[:, 0, 1, :2] = (codes.style + 2) / 4
        return x

    def infer(self, x: Tensor) -> dict[str, Tensor]:
        category = nn.functional.one_hot((10 * x[:, 0, 0, 0]).round().long(), 10).float()
        return {"category": category, "style": 4 * x[:, 0, 1, :2] - 2}


def measured(module: nn.Module) -> dict[str, Any]:
    """The family's measures of a module, without labels, judged by a judge that sees the grey level."""

    class Judge(Reader):
        name = "grey"

        def infer(self, images: zoo.Images, batch_size: int = 64) -> dict[str, Tensor]:
            return {"label": nn.functional.one_hot((10 * images.tensor[:, 0, 0, 0]).round().long(), 10).float()}

    blank = Dataset("made", "test", torch.zeros(8, 1, 8, 8, dtype=torch.uint8))
    case = Case(registry().spec("infogan"))
    found = evaluate(Bench(case.wrap(module), blank, blank, "made", 0, False, Judge()))  # type: ignore[arg-type]
    return {metric.name: metric for metric in found}


def test_codes_that_are_read_without_fault_carry_all_their_information() -> None:
    found = measured(Perfect(case_config()))
    assert list(found) == ["category_information", "style_correlation", "category_purity"]
    assert found["category_information"].value == pytest.approx(LN_10, abs=1e-4)
    assert found["style_correlation"].value == pytest.approx(1, abs=1e-4)
    assert found["category_purity"].value == 1
    assert found["category_purity"].baseline.startswith("10 of 10")


def test_an_untrained_model_carries_no_information() -> None:
    found = measured(InfoGAN(case_config()))
    assert found["category_information"].value == pytest.approx(0, abs=0.1)
    assert abs(found["style_correlation"].value) < 0.9
    assert found["category_purity"].value == 0.1  # all of one class, which one category may stand for


def case_config() -> InfoGAN.Config:
    config: InfoGAN.Config = Case(registry().spec("infogan")).build().config
    return config
