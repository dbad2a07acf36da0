"""Judges: what they say of images, and that they learn."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from zoo_judge.augment import mix, vary
from zoo_judge.evaluate import evaluate
from zoo_judge.model import Judge
from zoo_judge.train import train

import zoo
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.family.registry import registry
from zoo.testing import Case
from zoo.training.run import Run

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


def test_data_with_other_classes_than_the_names_that_were_given_are_refused(faces: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
    for i, file in enumerate(sorted(faces.iterdir())[:8]):
        (folder / ("cat", "dog")[i % 2] / file.name).write_bytes(file.read_bytes())
    with pytest.raises(zoo.DataError, match=r"(?s)cat, dog.*cat, bird|cat, bird.*cat, dog"):
        zoo.train("judge-mnist", data=folder, out=tmp_path / "run", names=["cat", "bird"], progress=False)
    assert not (tmp_path / "run").exists()


# --- more variety than the data have


def test_a_varied_image_shows_its_own_content_in_another_frame_and_light() -> None:
    """Of an image that is bright at the left and dark at the right, every view is so too, and none is like another."""
    torch.manual_seed(0)
    x = torch.linspace(0.8, 0.2, 32).expand(64, 3, 32, 32)
    views = vary(x)
    assert views.shape == x.shape
    assert 0 <= views.min() <= views.max() <= 1
    assert (views[..., 4] > views[..., 27]).all()
    assert len(views.flatten(1).unique(dim=0)) == 64
    assert (views.mean((1, 2, 3)) - x.mean((1, 2, 3))).abs().max() < 0.25


def test_a_window_is_as_sharp_as_the_image_allows() -> None:
    """Enlarging by at most 4/3 leaves most of a fine pattern's contrast on the average."""
    torch.manual_seed(0)
    x = (torch.arange(32) // 2 % 2).float().expand(64, 1, 32, 32)
    assert vary(x).std((1, 2, 3)).mean() > 0.7 * x.std((1, 2, 3)).mean()


@pytest.mark.parametrize("y", [torch.arange(60) % 3, (torch.arange(180).view(60, 3) % 2).float()])
def test_mixed_labels_say_how_much_of_each_image_is_there(y: Tensor) -> None:
    """Images that are flat in their label: what is seen is what is said."""
    torch.manual_seed(0)
    labels = torch.nn.functional.one_hot(y, 3).float() if y.ndim == 1 else y
    images = labels[:, :, None, None].expand(-1, -1, 4, 4)
    seen, said = mix(images, y, 1.0, 3)
    torch.testing.assert_close(seen.mean((2, 3)), said)
    assert ((said > 0.05) & (said < 0.95)).any()


def test_a_judge_learns_from_varied_and_mixed_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Judge(Judge.Config(**TINY))
    run = Run(tmp_path, device="cpu", progress=False)
    stream = Batches(shades(60), "labelled", 30, preparation=zoo.Preparation(size=16, mode="L"))
    train(model.train(), stream, run, steps=150, lr=1e-2, varied=True, mixed=0.2)
    (metric,) = evaluate(bench(model.eval(), shades(30)))
    assert metric.value > 0.8
