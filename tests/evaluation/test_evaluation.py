"""Figures: each against a case whose answer is known, and the way they take into a card."""

import dataclasses
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stand_ins import Shows
from tables import classes, write_table
from torch import Tensor, nn
from torch.distributions import Normal

import zoo
from zoo.card import facts as cards
from zoo.card import weights
from zoo.card.config import CardConfig
from zoo.data.source import Dataset, load_dataset
from zoo.evaluation import bench as benches
from zoo.evaluation import features, measures
from zoo.evaluation.bench import Bench
from zoo.evaluation.measures import class_accuracy, importance_bound, memorisation, paired_error, sharpness
from zoo.family.registry import registry
from zoo.hub import places as hub
from zoo.testing import Case
from zoo.training import pictures


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# --- nearest neighbours


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


def test_a_model_that_shows_training_images_mirrored_is_found_out() -> None:
    test, train = dataset(20, "test"), dataset(40)
    (copied,) = memorisation(bench("dcgan", Shows(train.images.flip(3) / 255), test, train))
    assert (copied.value, copied.n) == (0, 20)


# --- parts of a split


def sorted_by_class(n: int = 100) -> Dataset:
    """Black images, then white ones, as a set may be sorted."""
    labels = (torch.arange(n) >= n // 2).long()
    images = (255 * labels).to(torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16).contiguous()
    return Dataset("made", "test", images, labels=labels, names=("black", "white"))


def test_a_part_of_a_split_is_random_and_the_same_for_a_seed() -> None:
    whole = sorted_by_class()
    measured = bench("dcgan", Shows(whole.images / 255), whole, whole)
    rows = measured.some(whole, 40)
    assert whole.labels is not None
    assert 10 < whole.labels[rows].sum() < 30  # the first 40 have none
    assert torch.equal(rows, measured.some(whole, 40))
    assert len(rows.unique()) == 40
    assert not torch.equal(rows, dataclasses.replace(measured, seed=1).some(whole, 40))
    assert not torch.equal(rows, measured.some(dataclasses.replace(whole, split="train"), 40))
    assert measured.some(whole, 100).tolist() == measured.some(whole, None).tolist() == list(range(100))


def test_a_part_is_translated_and_compared_with_its_own_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benches, "MAX_SAMPLES", 30)
    images = torch.randint(0, 256, (80, 3, 16, 16), dtype=torch.uint8)
    whole = Dataset("made", "test", images, inputs=images)
    measured = bench("pix2pix", Same(), whole, whole)
    l1, *_ = paired_error(measured)
    assert (l1.n, l1.value) == (30, pytest.approx(0, abs=1e-6))
    assert not torch.equal(measured.samples, images[:30] / 255)


class Same(nn.Module):
    """Translates each image into itself."""

    def translate(self, x: Tensor, noise: Any = None) -> Tensor:
        return x


def test_the_error_of_a_ratio_is_what_it_varies_by() -> None:
    draws = torch.rand(300, 2, 200, generator=torch.Generator().manual_seed(0))
    varies = (draws[:, 0].mean(1) / draws[:, 1].mean(1)).std().item()
    value, error = measures.ratio(draws[0, 0], draws[0, 1], lambda x: x.mean(-1), seed=0)
    assert value == pytest.approx((draws[0, 0].mean() / draws[0, 1].mean()).item())
    assert error == pytest.approx(varies, rel=0.3)


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
    monkeypatch.setattr(measures, "MAX_DECODED", 4 * 50)
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
    monkeypatch.setattr(measures, "MAX_SAMPLES", 100)
    labels = torch.arange(20) % 10
    shown = torch.full((20, 1, 16, 16), 255 * 0.55).to(torch.uint8)  # every test image looks like an f
    test = Dataset("made", "test", shown, labels=labels, names=tuple("abcdefghij"))
    judge = Case(registry().spec("judge")).wrap(Reads())
    measured = replace(bench("dcgan", Paints(wrong), test, test), judge=judge)
    (found,) = class_accuracy(measured)
    assert (found.value, found.n) == (1 - wrong / 10, 100)
    assert found.ceiling == pytest.approx(0.1)  # of each class as of the others: the judge is right on all f alone


# --- figures of a card


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Path:
    """36 drawn faces to train on and 12 to test on."""
    folder, files = tmp_path_factory.mktemp("data") / "drawn-faces", sorted(faces.iterdir())
    for split, part in (("train", files[:36]), ("test", files[36:])):
        write_table(folder, part, split, label=classes([i % 10 for i in range(len(part))], "abcdefghij"))
    return folder


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
        recipe="dcgan-celeba", columns={"image": "image"} | ({"label": "label"} if kind == "judge" else {}),
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
    assert [cost.bytes for cost in facts.costs] == [(card / "model.safetensors").stat().st_size]
    assert facts.golden == pictures.golden(zoo.load(card))
    assert facts.evaluation.software["torch"] == torch.__version__.partition("+")[0]
    assert facts.evaluation.seconds > 0
    assert facts.evaluation.device == facts.costs[0].machine
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
    test = load_dataset(data, model.preparation, split="test").images / 255
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
    published = {"wings": "the paper: 4", "legs": "the paper: 6"}
    recipe = replace(spec.recipes[0], data="made/faces", judge=None, published=published)
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
    monkeypatch.setattr(benches, "MAX_SAMPLES", 7)
    monkeypatch.setattr(measures, "IMPORTANCE_IMAGES", 5)
    monkeypatch.setattr(measures, "IMPORTANCE_SAMPLES", 3)
    card = make_card("vae", tmp_path / "tiny-vae")
    found = {metric.name: metric for metric in zoo.evaluate(card, data=data, progress=False)}
    assert (found["sliced_wasserstein"].n, found["nearest_neighbour_ratio"].n) == (7, 7)
    assert found["importance_weighted_bound"].n == 5
    assert "7 samples" in found["sliced_wasserstein"].protocol
    assert "7 samples" in found["nearest_neighbour_ratio"].protocol
    assert "k = 3 " in found["importance_weighted_bound"].protocol


def test_evaluating_again_leaves_one_cost_of_each_kind_of_machine(tmp_path: Path, data: Path) -> None:
    card = make_card("dcgan", tmp_path / "card")
    old = cards.Cost(parameters=1, bytes=1, memory=1, seconds=1, machine="CPU (Abacus)")
    gpu = old.model_copy(update={"machine": "GPU (Abacus 2)"})
    cards.write_facts(card, cards.read_facts(card).model_copy(update={"costs": [old, gpu]}))
    zoo.evaluate(card, data=data, write=True, progress=False)
    first, second = cards.read_facts(card).costs
    assert first == gpu
    assert second.machine.startswith("CPU")
    assert second != old


def test_a_judge_that_is_measured_ships_the_statistics_of_its_test_images(tmp_path: Path, data: Path) -> None:
    card = make_card("judge", tmp_path / "judge")
    zoo.evaluate(card, data=data, progress=False)
    assert not (card / features.STATISTICS).exists()
    zoo.evaluate(card, data=data, write=True, progress=False)
    judge = zoo.load(card, device="cpu")
    test = load_dataset(data, judge.preparation, split="test").images / 255
    shipped = features.read_statistics(card, judge)
    assert [*shipped] == ["test", "binary"]
    assert shipped["test"].agrees(features.statistics(judge.features(test)))


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve images are a set."""
    monkeypatch.setattr(measures, "FEWEST", 12)


def test_a_judge_of_another_size_sees_the_data_as_it_was_trained_to(sets: None, tmp_path: Path, data: Path) -> None:
    card, judge = make_card("vae", tmp_path / "card"), make_card("judge", tmp_path / "sharp-eye")
    zoo.evaluate(judge, data=data, write=True, progress=False)
    shipped = features.read_statistics(judge, zoo.load(judge, device="cpu"))
    found = {metric.name: metric for metric in zoo.evaluate(card, data=data, judge=judge, progress=False)}
    assert found["fd-sharp-eye"].reference.statistics == shipped["test"].sha256
    assert {"kd-sharp-eye", "precision", "recall", "density", "coverage"} <= found.keys()


def test_neighbours_are_shown_below_each_sample_and_never_inside_a_card(tmp_path: Path, data: Path) -> None:
    card = make_card("dcgan", tmp_path / "card")
    zoo.evaluate(card, data=data, neighbours=tmp_path / "near.png", progress=False)
    with Image.open(tmp_path / "near.png") as picture:
        assert picture.size == (12 * 16 + 11 * 2, 5 * 16 + 4 * 2)
        shown = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    model = zoo.load(card, device="cpu")
    train = load_dataset(data, model.preparation).images
    made = model.sample(12, seed=0).tensor
    for column in (0, 11):
        below = shown[:, 18:34, 18 * column : 18 * column + 16]
        distances = (made[column] - train / 255).square().flatten(1).sum(1)
        assert torch.equal(below, train[distances.argmin()])
    inside = hub.locate("dcgan-celeba") / "near.png"
    with pytest.raises(zoo.InputError, match="inside a card"):
        zoo.evaluate(card, data=data, neighbours=inside, progress=False)
    with pytest.raises(zoo.InputError, match="not the name of a picture file"):
        zoo.evaluate(card, data=data, neighbours=tmp_path / "near.txt", progress=False)
    with pytest.raises(zoo.InputError, match="makes no images"):
        zoo.evaluate(make_card("judge", tmp_path / "judge"), data=data, neighbours=tmp_path / "n.png", progress=False)
    assert not inside.exists()


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
    "openmoji": "openmoji",
}


@pytest.mark.parametrize("name", sorted(registry().recipes))
def test_a_bundled_card_has_the_figures_it_claims(name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 64 images: those figures whose protocol does not change with their number, within five standard errors.

    A card may have been measured before a figure was added to the evaluation, but it claims none that is not measured.
    """
    if name not in hub.bundled():
        pytest.skip(f"no bundled card {name}")
    monkeypatch.setattr(measures, "IMPORTANCE_SAMPLES", 20)
    facts = cards.read_facts(hub.locate(name))
    folder = real_data / FOLDERS[facts.training.data]
    quick = {m.name: m for m in zoo.evaluate(name, data=folder, limit=64, device="cpu", progress=False)}
    assert quick.keys() >= {metric.name for metric in facts.metrics}
    for metric in facts.metrics:
        again = quick[metric.name]
        assert math.isfinite(again.value)
        if again.protocol == metric.protocol and metric.uncertainty:
            # A few images may all be right, and so of no spread of their own: the claim tells what they should have.
            spread = metric.uncertainty * math.sqrt(metric.n / again.n)
            assert abs(again.value - metric.value) < 5 * math.hypot(spread, metric.uncertainty)
