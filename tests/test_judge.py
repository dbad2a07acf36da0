"""Judges: what they say of images, and that they learn."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from zoo_judge.evaluate import evaluate
from zoo_judge.model import Judge
from zoo_judge.train import train

import zoo
from zoo.data import Batches, Dataset
from zoo.registry import registry
from zoo.run import Run
from zoo.testing import Case

NAMES = ("dark", "middle", "bright")
TINY = {"image_size": 16, "channels": 1, "widths": (4, 4, 8, 8), "names": NAMES}


def shades(n: int) -> Dataset:
    """Images of three shades with a little noise: their class is the shade."""
    labels = torch.arange(n) % 3
    grey = 0.2 + 0.3 * labels.float()[:, None, None, None] + 0.02 * torch.randn(n, 1, 16, 16)
    return Dataset("shades", "train", (255 * grey.clamp(0, 1)).to(torch.uint8), labels=labels, names=NAMES)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    torch.manual_seed(0)
    model = Judge(Judge.Config(**TINY))
    run = Run(tmp_path_factory.mktemp("run"), device="cpu", progress=False)
    stream = Batches(shades(60), "labelled", 30, preparation=zoo.Preparation(size=16, mode="L"))
    train(model.train(), stream, run, steps=60, lr=1e-2)
    return model.eval()


def bench(model: Judge, test: Dataset) -> zoo.Bench:
    wrapped = Case(registry().spec("judge")).wrap(model)
    return zoo.Bench(wrapped, test, test, "shades", 0, progress=False)


def test_a_judge_learns_what_anyone_can_see_and_its_accuracy_says_so(trained: Judge) -> None:
    torch.manual_seed(1)
    (metric,) = evaluate(bench(trained, shades(30)))
    assert (metric.name, metric.n) == ("accuracy", 30)
    assert metric.value == 1


def test_a_judge_that_takes_wrong_labels_for_right_is_found_out(trained: Judge) -> None:
    torch.manual_seed(1)
    test = shades(30)
    assert test.labels is not None
    test.labels[:9] = (test.labels[:9] + 1) % 3
    (metric,) = evaluate(bench(trained, test))
    assert metric.value == pytest.approx(0.7)


def test_classes_share_one_probability_and_attributes_have_one_each() -> None:
    x = torch.rand(4, 1, 16, 16)
    classes = Judge(Judge.Config(**TINY)).eval().infer(x)["label"]
    attributes = Judge(Judge.Config(**TINY | {"task": "attributes"})).eval().infer(x)["attributes"]
    assert classes.shape == attributes.shape == (4, 3)
    assert torch.allclose(classes.sum(1), torch.ones(4))
    assert bool(((attributes > 0) & (attributes < 1)).all())
    assert not torch.allclose(attributes.sum(1), torch.ones(4))


@pytest.mark.parametrize(
    ("task", "y", "nats"),
    [("classes", torch.tensor([0, 2]), math.log(3)), ("attributes", torch.tensor([[1.0, 0, 1]] * 2), 3 * math.log(2))],
)
def test_a_judge_that_knows_nothing_pays_the_entropy(task: str, y: Tensor, nats: float) -> None:
    model = Judge(Judge.Config(**TINY | {"task": task}))
    torch.nn.init.zeros_(model.net.fc.weight)
    torch.nn.init.zeros_(model.net.fc.bias)
    assert model.loss(torch.rand(2, 1, 16, 16), y).item() == pytest.approx(nats, rel=1e-6)


def test_the_verdict_is_a_linear_map_of_the_features(trained: Judge) -> None:
    x = torch.rand(5, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(trained.net.fc(trained.features(x)), trained(x), atol=1e-6)
        assert trained.features(x).shape == (5, 8)


def test_attributes_are_scored_one_by_one() -> None:
    class Says(Judge):
        def infer(self, x: Tensor) -> dict[str, Tensor]:
            return {"attributes": torch.tensor([[0.9, 0.1, 0.9]]).expand(len(x), -1)}

    truth = torch.tensor([[1.0, 0, 0], [1, 1, 1], [1, 0, 1], [0, 0, 1]])
    test = Dataset("made", "test", torch.zeros(4, 1, 16, 16, dtype=torch.uint8), labels=truth, names=NAMES)
    model: Any = Says(Judge.Config(**TINY | {"task": "attributes"}))
    found = {metric.name: metric for metric in evaluate(bench(model, test))}
    assert {name: metric.value for name, metric in found.items()} == {
        "accuracy": 0.75, "accuracy_dark": 0.75, "accuracy_middle": 0.75, "accuracy_bright": 0.75,
    }  # fmt: skip
    assert found["accuracy_middle"].baseline == "always the same: 0.750"


def test_data_with_other_classes_are_refused_with_the_names_to_give(faces: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
    for i, file in enumerate(sorted(faces.iterdir())[:8]):
        (folder / ("cat", "dog")[i % 2] / file.name).write_bytes(file.read_bytes())
    with pytest.raises(zoo.DataError, match=r"(?s)has 2 classes .* names 10.*\[\"cat\", \"dog\"\]"):
        zoo.train("judge-mnist", data=folder, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
