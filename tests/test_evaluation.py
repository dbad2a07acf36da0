"""Figures: each against a case whose answer is known, and the way they take into a card."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tables import write_table
from torch import Tensor, nn
from torch.distributions import Normal

import zoo
from zoo import cards, evaluation, hub, weights
from zoo.config import CardConfig
from zoo.data import Dataset
from zoo.evaluation import (
    Bench,
    class_accuracy,
    detail,
    importance_bound,
    memorisation,
    nearest,
    paired_error,
    sharpness,
    sliced_wasserstein,
)
from zoo.registry import registry
from zoo.testing import Case


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# --- sliced Wasserstein distance


def pictures(n: int, side: int = 32) -> Tensor:
    """Smooth random images with some detail."""
    rough = torch.rand(n, 3, side // 4, side // 4)
    return nn.functional.interpolate(rough, (side, side), mode="bilinear") * 0.8 + 0.2 * torch.rand(n, 3, side, side)


def distance(a: Tensor, b: Tensor, seed: int = 0, patches: int = 32, directions: int = 64) -> float:
    return sliced_wasserstein(a, b, seed, patches, directions)


def test_a_set_is_at_distance_0_from_itself() -> None:
    x = pictures(10)
    assert distance(x, x) == 0


def test_the_distance_is_symmetric_and_positive() -> None:
    a, b = pictures(10), pictures(10).sqrt()
    assert distance(a, b) == distance(b, a) > 0


def test_the_distance_grows_as_a_set_moves_away() -> None:
    x, noise = pictures(20), torch.rand(20, 3, 32, 32)
    found = [distance(x, (1 - t) * x + t * noise) for t in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[1] > 0.01


def test_the_distance_of_two_samples_of_one_distribution_shrinks_with_their_size() -> None:
    few, many = distance(pictures(10), pictures(10)), distance(pictures(160), pictures(160))
    assert many < few / 2


def test_patches_are_compared_whatever_their_brightness_and_contrast() -> None:
    x = pictures(10)
    assert distance(x, 0.5 * x + 0.3) < 1e-5


@pytest.mark.parametrize("power", [1.0, 2.0, 5.0])
def test_the_distance_of_flat_images_is_that_of_their_grey_values(power: float) -> None:
    """A patch of a flat image is its value times the vector of 49 ones: one dimension, where W1 sorts.

    Along a random direction u of 49 dimensions that vector has length 7 |u_1| on average, of known mean.
    """
    a = torch.linspace(0, 1, 50)
    b = a**power
    unit = [(v - v.mean()) / v.std(correction=0) for v in (a, b)]
    w1 = (unit[0].sort().values - unit[1].sort().values).abs().mean().item()
    length = 7 * math.exp(math.lgamma(24.5) - math.lgamma(25)) / math.sqrt(math.pi)
    flat = [v.view(50, 1, 1, 1).expand(50, 1, 16, 16) for v in (a, b)]
    assert distance(*flat, patches=4, directions=8192) == pytest.approx(length * w1, rel=0.02, abs=1e-6)


def test_the_distance_is_a_function_of_its_seed() -> None:
    a, b = pictures(10), pictures(10)
    assert distance(a, b, seed=1) == distance(a, b, seed=1) != distance(a, b, seed=2)


def test_sets_of_different_size_are_not_compared() -> None:
    with pytest.raises(zoo.InputError, match="one shape"):
        distance(pictures(4), pictures(5))


# --- nearest neighbours


def test_nearest_finds_what_trying_all_finds() -> None:
    x, among = torch.rand(30, 3, 8, 8), torch.rand(70, 3, 8, 8)
    every = torch.stack([(row - among).square().flatten(1).sum(1).sqrt().min() for row in x])
    assert torch.allclose(nearest(x, among), every, rtol=1e-6)
    assert torch.allclose(nearest(x, among, chunk=7), every, rtol=1e-6)


def test_a_copy_is_at_distance_0_exactly() -> None:
    among = torch.rand(300, 3, 32, 32)
    assert not nearest(among[100:200], among).any()


class Shows(nn.Module):
    """A "generator" that only ever shows what it was given."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.register_buffer("images", images)

    def sample(self, noise: zoo.Noise) -> Tensor:
        return self.images[noise.start : noise.stop]


def dataset(n: int, split: str = "train") -> Dataset:
    return Dataset("made", split, torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8))


def bench(family: str, module: nn.Module, test: Dataset, train: Dataset) -> Bench:
    return Bench(Case(registry().spec(family)).wrap(module), test, train, "made", 0, progress=False)


def test_a_model_that_shows_training_images_is_found_out() -> None:
    test, train = dataset(20, "test"), dataset(40)
    (copied,) = memorisation(bench("dcgan", Shows(train.images / 255), test, train))
    (unseen,) = memorisation(bench("dcgan", Shows(test.images / 255), test, train))
    assert copied.name == "nearest_neighbour_ratio"
    assert (copied.value, copied.n) == (0, 20)
    assert unseen.value == pytest.approx(1)


def test_means_of_binary_pixels_are_compared_with_grey_values_and_draws_with_draws() -> None:
    """Else a model of binary images would look as if it copied: means are nearer to a draw than another draw is."""
    test, train = dataset(20, "test"), dataset(40)
    for made in (test.images / 255, (torch.rand(20, 3, 16, 16) < test.images / 255).float()):
        measured = bench("dcgan", Shows(made), test, train)
        preparation = zoo.Preparation(size=16, binarize=True)
        measured.model.card = measured.model.card.model_copy(update={"preparation": preparation})
        assert memorisation(measured)[0].value == pytest.approx(1, abs=0.03)


def test_binary_images_of_the_two_splits_are_drawn_apart() -> None:
    grey = torch.full((50, 3, 16, 16), 128, dtype=torch.uint8)
    test, train = Dataset("made", "test", grey), Dataset("made", "train", grey)
    measured = bench("dcgan", Shows(grey / 255), test, train)
    measured.model.card = measured.model.card.model_copy(
        update={"preparation": zoo.Preparation(size=16, binarize=True)}
    )
    one, other = measured.images(test), measured.images(train)
    assert torch.equal(one, measured.images(test))
    assert (one == other).float().mean().item() == pytest.approx(0.5, abs=0.02)


# --- the importance-weighted bound


class Scalar(nn.Module):
    """z ~ N(0, 1), x | z ~ N(z, 1), so that x ~ N(0, 2); q(z | x) = N(x / 2, 1) is wider than the posterior."""

    def log_weights(self, x: Tensor, noise: zoo.AnyNoise, k: int) -> Tensor:
        x = x.flatten(1)
        posterior = Normal(x / 2, 1.0)
        z = x / 2 + noise.normal(k)
        return Normal(z, 1.0).log_prob(x) + Normal(0.0, 1.0).log_prob(z) - posterior.log_prob(z)


SCALAR: Any = SimpleNamespace(module=Scalar(), device=torch.device("cpu"))


def test_the_importance_bound_nears_the_likelihood_from_below() -> None:
    x = torch.linspace(-2, 2, 400).view(400, 1, 1, 1)
    exact = Normal(0.0, math.sqrt(2)).log_prob(x.flatten())
    many = importance_bound(SCALAR, x, 5000, seed=0)
    assert (many - exact).abs().max() < 0.05
    means = [importance_bound(SCALAR, x, k, seed=0).mean().item() for k in (1, 10, 100)]
    assert means == sorted(means)
    # E_q[log p(x, z) - log q(z | x)] = log p(x) - KL(q || posterior), whose variance is 1/2.
    kl = 0.5 * (2 - 1 - math.log(2))
    assert means[0] == pytest.approx(exact.mean().item() - kl, abs=0.1)


def test_the_importance_bound_does_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.linspace(-2, 2, 25).view(25, 1, 1, 1)
    whole = importance_bound(SCALAR, x, 50, seed=3)
    assert not torch.equal(whole, importance_bound(SCALAR, x, 50, seed=4))
    monkeypatch.setattr(evaluation, "MAX_DECODED", 4 * 50)
    assert torch.equal(whole, importance_bound(SCALAR, x, 50, seed=3))


# --- errors of a translator


class Brightens(nn.Module):
    def translate(self, x: Tensor, noise: zoo.AnyNoise | None = None) -> Tensor:
        return x + 0.1


def test_errors_of_a_translation_that_is_off_by_a_known_amount() -> None:
    """0.1 everywhere: L1 0.1, PSNR -10 log10 0.01 = 20 dB; SSIM of flat images is the luminance term alone."""
    flat = torch.full((5, 3, 16, 16), 102, dtype=torch.uint8)
    test = Dataset("made", "test", flat, inputs=flat)
    found = {metric.name: metric for metric in paired_error(bench("pix2pix", Brightens(), test, test))}
    c1 = 0.01**2
    assert {name: metric.n for name, metric in found.items()} == {"l1": 5, "psnr": 5, "ssim": 5}
    assert found["l1"].value == pytest.approx(0.1, abs=1e-5)
    assert found["psnr"].value == pytest.approx(20, abs=1e-3)
    assert found["ssim"].value == pytest.approx((2 * 0.4 * 0.5 + c1) / (0.4**2 + 0.5**2 + c1), abs=1e-4)
    assert found["l1"].uncertainty == pytest.approx(0, abs=1e-6)


def test_without_an_input_column_the_cards_filter_makes_the_input() -> None:
    class Repeats(nn.Module):
        def translate(self, x: Tensor, noise: zoo.AnyNoise | None = None) -> Tensor:
            return x

    test = dataset(4, "test")
    measured = bench("pix2pix", Repeats(), test, test)
    x = test.images / 255
    expected = (measured.model.prepare(x, filtered=True) - x).abs().mean().item()
    assert paired_error(measured)[0].value == pytest.approx(expected, rel=1e-4)


# --- fine detail


def test_detail_of_a_checkerboard_is_that_of_its_laplacian() -> None:
    board = (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).float().expand(2, 3, 16, 16)
    assert detail(board).item() == pytest.approx(16, rel=0.02)  # the Laplacian is +4 and -4 in turn
    assert detail(torch.full((2, 3, 16, 16), 0.3)).item() == pytest.approx(0, abs=1e-9)


def test_blurred_images_are_less_sharp_than_the_data() -> None:
    test, train = dataset(20, "test"), dataset(40)
    blurred = nn.functional.avg_pool2d(test.images / 255, 3, 1, 1)
    (same,) = sharpness(bench("dcgan", Shows(test.images / 255), test, train))
    (less,) = sharpness(bench("dcgan", Shows(blurred), test, train))
    assert same.value == pytest.approx(1)
    assert less.value < 0.2


# --- samples by class


class Paints(nn.Module):
    """Paints its class as a shade of grey; for a share of the classes it paints another's."""

    def __init__(self, wrong: int) -> None:
        super().__init__()
        self.wrong = wrong
        self.conditions = {"label": zoo.Categorical(tuple("abcdefghij"))}

    def sample(self, noise: zoo.Noise, *, label: Tensor) -> Tensor:
        shade = torch.where(label < self.wrong, 9 - label, label) / 10 + 0.05
        return shade[:, None, None, None].expand(len(noise), 1, 16, 16)


class Reads(nn.Module):
    """A judge that reads the shade."""

    config = SimpleNamespace(names=tuple("abcdefghij"))

    def infer(self, x: Tensor) -> dict[str, Tensor]:
        return {"label": nn.functional.one_hot((x.mean((1, 2, 3)) * 10).long(), 10).float()}


@pytest.mark.parametrize("wrong", [0, 3])
def test_class_accuracy_is_the_share_judged_as_asked(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.evaluation.MAX_SAMPLES", 100)
    labels = torch.arange(20) % 10
    shown = torch.full((20, 1, 16, 16), 255 * 0.55).to(torch.uint8)  # every test image looks like an f
    test = Dataset("made", "test", shown, labels=labels, names=tuple("abcdefghij"))
    judge = Case(registry().spec("judge")).wrap(Reads())
    measured = replace(bench("dcgan", Paints(wrong), test, test), judge=judge)
    (found,) = class_accuracy(measured)
    assert (found.value, found.n, found.baseline) == (1 - wrong / 10, 100, "test images: 0.1")


# --- figures of a card


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Path:
    """36 drawn faces to train on and 12 to test on."""
    folder, files = tmp_path_factory.mktemp("data") / "drawn-faces", sorted(faces.iterdir())
    write_table(folder, files[:36], "train")
    return write_table(folder, files[36:], "test")


PREPARATIONS = {
    "dcgan": zoo.Preparation(size=16),
    "judge": zoo.Preparation(size=16, mode="L"),
    "vae": zoo.Preparation(size=8, mode="L", binarize=True),
    "gaussian vae": zoo.Preparation(size=8, mode="L"),
}
CONFIGS = {"gaussian vae": {"likelihood": "gaussian"}}


def make_card(kind: str, folder: Path) -> Path:
    """An untrained card of a family's tiny model, with all its facts."""
    folder.mkdir()
    spec = registry().spec(kind.split()[-1])
    module = weights.build(spec, dict(spec.tiny) | CONFIGS.get(kind, {}))
    cards.write_config(
        folder,
        CardConfig(
            name=folder.name,
            family=spec.name,
            config=module.config.model_dump(mode="json"),
            preparation=PREPARATIONS[kind],
            weights=weights.save_weights(module, folder),
        ),
    )
    training = cards.Training(
        recipe="dcgan-celeba",
        data="made/faces", split="train", images=36, steps=1, batch_size=8, passes=0.2, seconds=1, device="CPU",
        precision="float32", seed=0, settings={}, software={},
    )  # fmt: skip
    cards.write_facts(
        folder, cards.Facts(summary="Tiny.", license="cc0-1.0", data_terms="Drawn.", limits=[], training=training)
    )
    return folder


@pytest.fixture(params=["dcgan", "vae", "gaussian vae"])
def card(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_card(request.param, tmp_path / f"tiny-{request.param.replace(' ', '-')}")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


EXPECTED = {
    "tiny-dcgan": {"sliced_wasserstein": 12, "sharpness": 12, "nearest_neighbour_ratio": 12},
    "tiny-vae": {
        "elbo": 12,
        "importance_weighted_bound": 12,
        "reconstruction_rmse": 12,
        "sliced_wasserstein": 12,
        "sharpness": 12,
        "nearest_neighbour_ratio": 12,
    },
}
EXPECTED["tiny-gaussian-vae"] = EXPECTED["tiny-vae"] | {"bits_per_dim_bound": 12}


def test_a_card_gets_the_figures_its_capabilities_allow(card: Path, data: Path) -> None:
    before = contents(card)
    metrics = zoo.evaluate(card, data=data, progress=False)
    assert {metric.name: metric.n for metric in metrics} == EXPECTED[card.name]
    assert all(math.isfinite(metric.value) for metric in metrics)
    assert {(metric.data, metric.split, metric.seed) for metric in metrics} == {("drawn-faces", "test", 0)}
    assert contents(card) == before


def test_written_figures_stand_in_the_facts_and_in_the_readme(card: Path, data: Path) -> None:
    metrics = zoo.evaluate(card, data=data, data_name="made/faces", write=True, progress=False)
    facts, readme = cards.read_facts(card), (card / "README.md").read_text()
    assert facts.metrics == metrics
    assert facts.cost.parameters == sum(p.numel() for p in zoo.load(card).module.parameters())
    assert facts.cost.bytes == (card / "model.safetensors").stat().st_size
    assert facts.cost.seconds > 0
    for metric in metrics:
        said = (cards.figure(metric), "12 images", "made/faces", metric.protocol)
        assert any(all(part in line for part in said) for line in readme.splitlines()), metric
    assert cards.render(card) == readme


def test_figures_on_a_part_of_the_test_split_are_not_written(card: Path, data: Path) -> None:
    before = contents(card)
    with pytest.raises(zoo.InputError, match="part of the test split"):
        zoo.evaluate(card, data=data, limit=5, write=True, progress=False)
    assert {metric.n for metric in zoo.evaluate(card, data=data, limit=5, progress=False)} == {5}
    assert contents(card) == before


def test_the_same_seed_gives_the_same_figures(card: Path, data: Path) -> None:
    first = zoo.evaluate(card, data=data, seed=1, progress=False)
    assert zoo.evaluate(card, data=data, seed=1, progress=False) == first
    other = zoo.evaluate(card, data=data, seed=2, progress=False)
    assert [metric.value for metric in other] != [metric.value for metric in first]


def test_a_figure_is_a_mean_with_its_standard_error(tmp_path: Path, data: Path) -> None:
    card = make_card("gaussian vae", tmp_path / "tiny-gaussian-vae")
    found = {metric.name: metric for metric in zoo.evaluate(card, data=data, seed=3, progress=False)}
    model = zoo.load(card, device="cpu")
    test = evaluation.load_dataset(data, model.preparation, split="test").images / 255
    elbo = model.elbo(test, seed=3).double()
    assert found["elbo"].value == pytest.approx(elbo.mean().item(), rel=1e-4)
    assert found["elbo"].uncertainty == pytest.approx(elbo.std().item() / math.sqrt(12), rel=1e-3)
    assert found["bits_per_dim_bound"].value == pytest.approx(-found["elbo"].value / (64 * math.log(2)), rel=1e-4)
    rmse = (model.reconstruct(test).tensor - test).square().mean((1, 2, 3)).sqrt()
    assert found["reconstruction_rmse"].value == pytest.approx(rmse.mean().item(), rel=1e-4)


def own_measure(bench: Bench) -> list[zoo.Metric]:
    """What a family's package would bring."""
    seen = bench.judge.name if bench.judge else "nobody"
    return [bench.metric("wings", 2.0, "higher", f"counted by {seen}", baseline="birds: 2")]


@pytest.fixture
def flying(monkeypatch: pytest.MonkeyPatch) -> None:
    """DCGAN with a measure of its own, and a recipe that names what a paper found."""
    spec = registry().spec("dcgan")
    recipe = replace(spec.recipes[0], data="made/faces", published={"wings": "the paper: 4", "legs": "the paper: 6"})
    changed = replace(spec, evaluation="test_evaluation:own_measure", recipes=(recipe,))
    monkeypatch.setitem(registry().specs, "dcgan", changed)
    monkeypatch.setitem(registry().recipes, "dcgan-celeba", (changed, recipe))


def test_a_familys_own_measures_come_after_the_others_beside_what_papers_found(
    flying: None, tmp_path: Path, data: Path
) -> None:
    card = make_card("dcgan", tmp_path / "card")
    *others, wings = zoo.evaluate(card, data=data, data_name="made/faces", progress=False)
    assert {metric.name for metric in others} == EXPECTED["tiny-dcgan"].keys()
    assert (wings.name, wings.value, wings.protocol) == ("wings", 2, "counted by nobody")
    assert wings.baseline == "birds: 2; the paper: 4"


def test_what_papers_found_is_not_said_of_other_data(flying: None, tmp_path: Path, data: Path) -> None:
    card = make_card("dcgan", tmp_path / "card")
    assert zoo.evaluate(card, data=data, progress=False)[-1].baseline == "birds: 2"


def test_a_judge_is_taken_from_wherever_one_is_given(flying: None, tmp_path: Path, data: Path) -> None:
    card, judge = make_card("dcgan", tmp_path / "card"), make_card("judge", tmp_path / "sharp-eye")
    assert zoo.evaluate(card, data=data, judge=judge, progress=False)[-1].protocol == "counted by sharp-eye"
    with pytest.raises(zoo.NotFoundError, match="no card 'nobody'"):
        zoo.evaluate(card, data=data, judge="nobody", progress=False)


def test_one_test_image_has_no_standard_error(tmp_path: Path, data: Path) -> None:
    card = make_card("vae", tmp_path / "tiny-vae")
    metrics = zoo.evaluate(card, data=data, limit=1, progress=False)
    assert metrics
    assert all(metric.uncertainty is None for metric in metrics)
    json.dumps([metric.model_dump() for metric in metrics], allow_nan=False)


def test_samples_and_importance_draws_are_bounded_and_said(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "MAX_SAMPLES", 7)
    monkeypatch.setattr(evaluation, "IMPORTANCE_IMAGES", 5)
    monkeypatch.setattr(evaluation, "IMPORTANCE_SAMPLES", 3)
    card = make_card("vae", tmp_path / "tiny-vae")
    found = {metric.name: metric for metric in zoo.evaluate(card, data=data, progress=False)}
    assert (found["sliced_wasserstein"].n, found["nearest_neighbour_ratio"].n) == (7, 7)
    assert found["importance_weighted_bound"].n == 5
    assert "7 samples" in found["sliced_wasserstein"].protocol
    assert "7 samples" in found["nearest_neighbour_ratio"].protocol
    assert "k = 3 " in found["importance_weighted_bound"].protocol


def test_a_data_set_without_a_test_split_is_refused(tmp_path: Path, data: Path) -> None:
    card, only = make_card("dcgan", tmp_path / "tiny-dcgan"), tmp_path / "only-train"
    shutil.copytree(data, only)
    (only / "data" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(zoo.DataError, match="no split 'test'"):
        zoo.evaluate(card, data=only, progress=False)


# --- bundled cards on real data, where there is any

FOLDERS = {
    "ylecun/mnist": "mnist",
    "zalando-datasets/fashion_mnist": "fashion_mnist",
    "flwrlabs/celeba": "celeba_10k",
}


@pytest.mark.parametrize("name", sorted(registry().recipes))
def test_a_bundled_card_has_the_figures_it_claims(name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 64 images: those figures whose protocol does not change with their number, within five standard errors."""
    if name not in hub.bundled():
        pytest.skip(f"no bundled card {name}")
    monkeypatch.setattr(evaluation, "IMPORTANCE_SAMPLES", 20)
    facts = cards.read_facts(hub.locate(name))
    folder = real_data / FOLDERS[facts.training.data]
    quick = {m.name: m for m in zoo.evaluate(name, data=folder, limit=64, device="cpu", progress=False)}
    assert quick.keys() == {metric.name for metric in facts.metrics}
    for metric in facts.metrics:
        again = quick[metric.name]
        assert math.isfinite(again.value)
        if again.protocol == metric.protocol and metric.uncertainty:
            # A few images may all be right, and so of no spread of their own: the claim tells what they should have.
            spread = metric.uncertainty * math.sqrt(metric.n / again.n)
            assert abs(again.value - metric.value) < 5 * math.hypot(spread, metric.uncertainty)
