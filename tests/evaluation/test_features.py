"""Sets of images compared by features: whose they are, what a judge's card ships, and what the figures say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from stand_ins import Shows
from torch import Tensor, nn

import zoo
from zoo.card.names import STATISTICS
from zoo.data.source import Dataset
from zoo.evaluation import features
from zoo.evaluation.bench import Bench
from zoo.evaluation.features import (
    Backbone,
    find_backbone,
    of_judge,
    read_statistics,
    statistics,
    write_statistics,
)
from zoo.evaluation.measures import fidelity, measures, moments
from zoo.family.registry import registry
from zoo.images.prepare import binary_draw, fit
from zoo.testing import Case

N = 120


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pictures(n: int, side: int = 16, channels: int = 3) -> Tensor:
    """Smooth random images, 8-bit."""
    rough = torch.rand(n, channels, side // 4, side // 4)
    return (255 * nn.functional.interpolate(rough, (side, side), mode="bilinear")).to(torch.uint8)


class Looks(nn.Module):
    """A judge whose features are a few fixed random projections."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("axes", torch.randn(16 * 16, 6, generator=torch.Generator().manual_seed(0)))

    def features(self, x: Tensor) -> Tensor:
        return x.mean(1).flatten(1) @ self.axes


def judge(mode: Any = "RGB") -> zoo.Model:
    model = Case(registry().spec("judge")).wrap(Looks())
    model.card = model.card.model_copy(update={"preparation": zoo.Preparation(size=16, mode=mode)})
    return model


TEST, TRAIN = Dataset("made", "test", pictures(N)), Dataset("made", "train", pictures(N))


def bench(made: Tensor, **more: Any) -> Bench:
    model = Case(registry().spec("dcgan")).wrap(Shows(made))
    return Bench(model, TEST, TRAIN, "made", 0, False, backbone=of_judge(judge()), **more)


def found(made: Tensor, **more: Any) -> dict[str, zoo.Metric]:
    return {metric.name: metric for metric in fidelity(bench(made, **more))}


# --- figures


def test_training_images_in_the_place_of_samples_are_at_the_floor() -> None:
    for metric in found(TRAIN.images / 255).values():
        assert metric.floor is not None
        assert metric.value == pytest.approx(metric.floor)


def test_test_images_in_the_place_of_samples_are_perfect() -> None:
    figures = found(TEST.images / 255)
    assert figures["fd-tiny"].value == pytest.approx(0, abs=1e-4)
    assert (figures["precision"].value, figures["recall"].value, figures["coverage"].value) == (1, 1, 1)


def test_one_image_again_and_again_is_precise_and_recalls_nothing() -> None:
    figures = found((TEST.images[:1] / 255).expand(N, -1, -1, -1))
    assert figures["precision"].value == 1
    assert figures["recall"].value < 0.1
    assert figures["coverage"].value < 0.2
    assert figures["fd-tiny"].value > 5 * figures["fd-tiny"].floor  # type: ignore[operator]


def test_glare_is_far_from_the_data_in_every_figure() -> None:
    figures = found(0.9 + 0.1 * torch.rand(N, 3, 16, 16))
    for name, metric in figures.items():
        assert metric.floor is not None
        worse = metric.value > metric.floor if metric.better == "lower" else metric.value < metric.floor
        assert worse, name


def test_a_distance_in_a_judges_features_is_called_by_the_judge_and_never_fid() -> None:
    figures = found(TRAIN.images / 255)
    assert [*figures] == ["fd-tiny", "kd-tiny", "precision", "recall", "density", "coverage"]
    inception = replace(of_judge(judge()), name=features.INCEPTION)
    assert inception.names() == ("fid", "kid")


def test_distances_are_measured_in_a_second_backbones_features_too() -> None:
    first = of_judge(judge())
    second = replace(first, name="other", look=lambda images: 3 * first.look(images))
    both = replace(bench(TRAIN.images / 255), second=second)
    figures = {metric.name: metric for metric in fidelity(both)}
    assert [*figures][-3:] == ["coverage", "fd-other", "kd-other"]
    assert figures["fd-other"].value == pytest.approx(figures["fd-other"].floor)
    assert figures["fd-other"].value != figures["fd-tiny"].value
    assert figures["fd-other"].reference is not None
    assert figures["fd-other"].reference.statistics == statistics(second(TEST.images / 255)).sha256


def test_every_figure_says_whose_features_it_is_of_and_which_real_images() -> None:
    eyes = of_judge(judge())
    for metric in found(TRAIN.images / 255).values():
        assert metric.reference is not None
        assert (metric.reference.backbone, metric.reference.weights) == (eyes.name, eyes.weights)
        assert metric.reference.statistics == statistics(eyes(TEST.images / 255)).sha256
        assert (metric.reference.n, metric.n) == (N, N)
        assert "16x16" in metric.reference.resize


def test_shipped_statistics_are_used_when_they_are_of_these_images_and_not_else() -> None:
    eyes = of_judge(judge())
    true = statistics(eyes(TEST.images / 255))
    moved = replace(true, mean=true.mean + 1e-5 * true.covariance.diagonal().sqrt())  # as another machine might find
    other = replace(true, mean=true.mean + 1)
    for shipped, used in ((moved, moved), (other, true), (replace(true, n=N - 1), true)):
        metric = found(TRAIN.images / 255, shipped={"test": shipped})["fd-tiny"]
        assert metric.reference is not None
        assert metric.reference.statistics == used.sha256


def test_binary_samples_are_compared_with_draws_of_the_data() -> None:
    draws = binary_draw(TRAIN.images / 255, "train", 0)
    figures = found(draws)
    assert figures["fd-tiny"].value == pytest.approx(figures["fd-tiny"].floor)
    assert figures["fd-tiny"].value < found(draws * 0.999)["fd-tiny"].value / 3  # no draw any more: grey data


def test_a_model_of_another_size_is_seen_as_the_judge_sees_and_beside_the_same_data() -> None:
    small = nn.functional.avg_pool2d(TEST.images / 255, 2)
    data = {"test": TEST, "train": TRAIN}
    tiny = replace(bench(small), test=Dataset("made", "test", pictures(N, 8)), prepared=data)
    metric = {each.name: each for each in fidelity(tiny)}["fd-tiny"]
    assert metric.reference is not None
    assert metric.reference.statistics == statistics(of_judge(judge())(TEST.images / 255)).sha256
    assert metric.value < 2 * found(TRAIN.images / 255)["fd-tiny"].value


def test_few_images_are_not_taken_for_a_distribution() -> None:
    few = replace(bench(TRAIN.images / 255), test=Dataset("made", "test", pictures(10)))
    assert fidelity in measures(bench(TRAIN.images / 255))
    assert fidelity not in measures(few)
    assert fidelity not in measures(replace(bench(TRAIN.images / 255), backbone=None))


# --- backbones


def test_images_come_to_a_backbones_size_and_channels_within_their_range() -> None:
    board = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).float().expand(2, 1, 32, 32)
    small = fit(board, 16, 3, "bicubic")
    assert small.shape == (2, 3, 16, 16)
    assert small.sub(0.5).abs().max() < 0.2  # the filter sees all of it: no aliasing
    assert fit(board, 64, 1, "bicubic").aminmax() == (0, 1)
    assert fit(board, 32, 1) is board


def test_a_judges_features_are_those_of_its_handle_whatever_the_batch() -> None:
    x, model = TEST.images / 255, judge()
    assert torch.allclose(of_judge(model)(x), model.features(x))


def test_a_timm_model_without_its_weights_is_refused_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(zoo.InputError, match=r"'resnet10t\.c3_in1k': timm cannot load it") as caught:
        find_backbone("resnet10t.c3_in1k", torch.device("cpu"))
    assert "--backbone" in str(caught.value.hint)
    with pytest.raises(zoo.InputError, match="'resnet999'"):
        find_backbone("resnet999", torch.device("cpu"))


def test_any_timm_model_whose_weights_are_at_hand_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    made = timm.create_model

    def unfetched(name: str, pretrained: bool, **more: Any) -> nn.Module:
        assert pretrained
        return made(name, **more)

    monkeypatch.setattr(timm, "create_model", unfetched)
    eyes = find_backbone("test_resnet", torch.device("cpu"))
    size = timm.data.resolve_model_data_config(made("test_resnet"))["input_size"][-1]
    assert eyes.names() == ("fd-test_resnet", "kd-test_resnet")
    assert f"{size}x{size}" in eyes.resize
    assert eyes(pictures(3) / 255).shape == eyes(pictures(3, channels=1) / 255).shape
    assert len(eyes.weights) == 64


def test_inception_whose_weights_cannot_be_fetched_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(zoo.InputError, match="inception") as caught:
        find_backbone("inception", torch.device("cpu"))
    assert "torch-fidelity downloads its weights at the first use" in str(caught.value.hint)


def test_the_digest_of_a_network_tells_one_weight_from_another() -> None:
    net = nn.Linear(3, 2)
    before = features.digest(net)
    assert features.digest(net) == before
    net.weight.data[0, 0] += 1e-6
    assert features.digest(net) != before


# --- what a judge's card ships


def test_statistics_come_back_as_they_were_written(tmp_path: Path) -> None:
    ours = {kind: statistics(torch.randn(50, 6)) for kind in ("test", "binary")}
    write_statistics(tmp_path, ours)
    again = read_statistics(tmp_path, judge("L"))
    assert {kind: part.sha256 for kind, part in again.items()} == {kind: part.sha256 for kind, part in ours.items()}
    assert all(again[kind].agrees(ours[kind]) for kind in ours)
    assert not again["test"].agrees(ours["binary"])


def test_a_judge_of_grey_images_ships_both_kinds_and_one_of_colours_one() -> None:
    grey = Dataset("made", "test", pictures(60, channels=1))
    for model, data, kinds in ((judge("L"), grey, ["test", "binary"]), (judge(), TEST, ["test"])):
        shipped = moments(Bench(model, data, data, "made", 0, False))
        assert [*shipped] == kinds
        assert all(part.n == len(data) for part in shipped.values())


def test_a_judge_that_ships_nothing_ships_nothing(tmp_path: Path) -> None:
    assert read_statistics(tmp_path, judge()) == {}


GOOD = {"test.mean": torch.zeros(6), "test.covariance": torch.eye(6), "test.n": torch.tensor([50])}


@pytest.mark.parametrize(
    "change",
    [
        {"test.mean": torch.zeros(7)},
        {"test.covariance": torch.zeros(6, 6, dtype=torch.float64)},
        {"test.mean": torch.full((6,), float("nan"))},
        {"more": torch.zeros(1)},
    ],
)
def test_statistics_that_do_not_fit_the_judge_are_refused(change: dict[str, Tensor], tmp_path: Path) -> None:
    (tmp_path / STATISTICS).write_bytes(safetensors.torch.save(GOOD))
    assert [*read_statistics(tmp_path, judge())] == ["test"]
    (tmp_path / STATISTICS).write_bytes(safetensors.torch.save(GOOD | change))
    with pytest.raises(zoo.FormatError, match="statistics"):
        read_statistics(tmp_path, judge())


def test_a_backbone_sees_batches_as_it_sees_images() -> None:
    calls: list[int] = []

    def look(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x.mean((2, 3))

    eyes = Backbone("made", "0" * 64, "none", look)
    x = torch.rand(600, 3, 4, 4)
    assert torch.equal(eyes(x), x.mean((2, 3)))
    assert calls == [256, 256, 88]
