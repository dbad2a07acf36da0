"""Figures during the training: what is measured, that it changes nothing, and how the best checkpoint is kept."""

import csv
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stand_ins import Shows
from torch import nn

import zoo
from zoo.card.facts import read_facts
from zoo.data.batches import Batches
from zoo.data.source import Dataset, load_dataset
from zoo.distances import frechet_distance, moments
from zoo.errors import DataError, NotFoundError
from zoo.evaluation.figures import evaluate
from zoo.family.registry import registry
from zoo.images.prepare import fit
from zoo.training import checkpoints
from zoo.training.best import Figure, best_of
from zoo.training.measuring import FEWEST, figure_of
from zoo.training.plan import planned
from zoo.training.run import Run

VAE: dict[str, Any] = {"steps": 6, "batch_size": 8, "image_size": 16, "widths": [4, 8], "latent_dim": 4}
GAN: dict[str, Any] = {"steps": 4, "batch_size": 8, "image_size": 16, "width": 4, "latent_dim": 8}
OFTEN: dict[str, Any] = {"log_every": 2, "save_every": 100, "precision": "float32", "weights": "float32", "ema": 0.5}


def train(name: str, out: Path, data: Path, **options: Any) -> zoo.Model:
    sizes = VAE if name.startswith("vae") else GAN
    return zoo.train(name, out=out, data=data, device="cpu", progress=False, **sizes | OFTEN | options)


def rows(out: Path) -> list[dict[str, str]]:
    """log.csv without the clock."""
    with (out / "log.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def steps_kept(out: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoints.found(out)]


# The best checkpoint


class Number(nn.Module):
    """A module that is its number of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.zeros(()), requires_grad=False)


def counted(
    out: Path, values: list[float], total: int | None = None, on: str = "images", better: Any = "higher", **options: Any
) -> Run:
    """A run that is measured at each of its steps: after step k the figure is values[k - 1]."""
    figure = Figure("held_out_toy", better, 4, "held out", on, lambda module: values[int(module.at) - 1])
    often = {"evaluate_every": 1, "save_every": 2, "log_every": 100} | options
    run = Run(out, device="cpu", progress=False, figure=figure, **often)
    model = Number()
    run.prepare(model=model)
    for _ in run.steps(len(values) if total is None else total):
        model.at += 1
    return run


@pytest.mark.parametrize(("better", "best"), [("higher", 2), ("lower", 4)])
def test_the_best_checkpoint_is_kept_beside_the_newest_two(better: str, best: int, tmp_path: Path) -> None:
    counted(tmp_path, [3, 9, 4, 1, 5, 5, 5, 5, 5], better=better)
    assert steps_kept(tmp_path) == [best, 8, 9]
    found = best_of(tmp_path)
    assert found is not None
    assert (found.step, found.value) == (best, 9 if better == "higher" else 1)


def test_every_value_is_in_the_log(tmp_path: Path) -> None:
    counted(tmp_path, [3, 9, 4])
    assert [row["held_out_toy"] for row in rows(tmp_path)] == ["3", "9", "4"]


def test_of_equal_values_the_first_is_the_best_and_a_value_that_is_not_finite_never(tmp_path: Path) -> None:
    run = counted(tmp_path, [math.nan, 2, 2, math.inf, -math.inf])
    assert run.best is not None
    assert run.best.step == 2


def test_a_resumed_run_knows_the_best_of_before(tmp_path: Path) -> None:
    values = [1.0, 9, 2, 3, 4, 5, 6, 7]
    counted(tmp_path, values, total=5)
    run = counted(tmp_path, values, resume=True)
    assert run.best is not None
    assert run.best.step == 2
    assert steps_kept(tmp_path) == [2, 6, 8]


def test_a_run_that_is_not_measured_any_more_keeps_its_best(tmp_path: Path) -> None:
    values = [1.0, 9, 2, 3, 4, 5, 6, 7]
    counted(tmp_path, values, total=3)
    counted(tmp_path, values, resume=True, evaluate_every=0)
    assert steps_kept(tmp_path) == [2, 6, 8]


def test_values_on_other_images_are_not_compared(tmp_path: Path) -> None:
    counted(tmp_path, [1, 9, 2, 3], total=3)
    run = counted(tmp_path, [1, 9, 2, 3], resume=True, on="other images")
    assert run.best is not None
    assert run.best.step == 4


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_run_that_dies_while_it_saves_its_best_step_does_not_lose_a_best_one(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 3 is the best, and the process dies just before or after its checkpoint appears."""
    values = [1.0, 2, 9, 3, 3, 3, 3]
    write = checkpoints.write

    def dies(path: Path, *rest: Any) -> None:
        if path.name.endswith("3"):
            if at == "after":
                write(path, *rest)
            raise KeyboardInterrupt
        write(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            counted(tmp_path, values)
    found = best_of(tmp_path)
    assert found is not None
    assert found.step == (2 if at == "before" else 3)
    assert counted(tmp_path, values, resume=True).best == replace(found, step=3, value=9.0)


def test_a_stop_does_not_wait_for_a_measurement(tmp_path: Path) -> None:
    def never(module: nn.Module) -> float:
        raise AssertionError("measured")

    figure = Figure("held_out_toy", "higher", 4, "held out", "", never)
    run = Run(tmp_path, device="cpu", progress=False, figure=figure, evaluate_every=1, deadline=0.0)
    run.prepare(model=Number())
    with pytest.raises(zoo.OutOfTime):
        list(run.steps(3))
    assert steps_kept(tmp_path) == [1]


# Whole runs


@pytest.fixture(scope="module")
def measured(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE that was measured every two steps. Copy it before changing it."""
    out = tmp_path_factory.mktemp("runs") / "measured"
    train("vae-celeba", out, faces, evaluate_every=2)
    return out


def test_measuring_changes_nothing(measured: Path, faces: Path, tmp_path: Path) -> None:
    train("vae-celeba", tmp_path / "run", faces)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (measured / "model.safetensors").read_bytes()
    unmeasured = [{key: value for key, value in row.items() if key != "held_out_elbo"} for row in rows(measured)]
    assert unmeasured == rows(tmp_path / "run")


def test_the_last_value_is_the_bound_that_the_card_has_on_the_same_images(measured: Path, faces: Path) -> None:
    found = {metric.name: metric for metric in evaluate(measured, data=faces, device="cpu", progress=False)}
    assert float(rows(measured)[-1]["held_out_elbo"]) == pytest.approx(found["elbo"].value, rel=1e-4)
    assert found["elbo"].n == 5


def test_a_resumed_run_measures_what_a_straight_one_does(
    measured: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Batches.__next__

    def dies(self: Batches) -> Any:
        if self.consumed == 5:
            raise RuntimeError("the machine loses its power")
        return quick(self)

    options: dict[str, Any] = {"evaluate_every": 2, "save_every": 4}
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "__next__", dies)
        with pytest.raises(RuntimeError, match="power"):
            train("vae-celeba", tmp_path / "run", faces, **options)
    train("vae-celeba", tmp_path / "run", faces, resume=True, **options)
    assert rows(tmp_path / "run") == rows(measured)
    assert best_of(tmp_path / "run") == best_of(measured)


def test_the_best_checkpoint_becomes_a_card_that_says_so(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train("vae-celeba", out, faces, evaluate_every=2, lr=0.5, seed=1)
    found = best_of(out)
    assert found is not None
    assert found.step < 6, "at such a rate the last step is not the best"
    log = (out / "log.csv").read_bytes()
    curves = sorted(path.name for path in (out / "tensorboard").iterdir())

    model = zoo.finish(out, data=faces, best=True, device="cpu", progress=False)
    facts = read_facts(out)
    assert facts.training is not None
    assert facts.training.chosen is not None
    assert facts.training.steps == found.step
    assert facts.training.chosen.value == found.value
    assert "on 5 images held out" in facts.limits[-1]
    assert facts.limits[-1] in (out / "README.md").read_text()
    metrics = {metric.name: metric.value for metric in evaluate(out, data=faces, device="cpu", progress=False)}
    assert metrics["elbo"] == pytest.approx(found.value, rel=1e-4)

    assert (out / "log.csv").read_bytes() == log
    assert sorted(path.name for path in (out / "tensorboard").iterdir()) == curves, "the curves go on after that step"
    last = zoo.finish(out, data=faces, device="cpu", progress=False)
    assert last.sha256 != model.sha256
    again = read_facts(out)
    assert again.training is not None
    assert (again.training.steps, again.training.chosen) == (6, None)


def test_a_run_without_measurements_has_no_best_checkpoint(faces: Path, tmp_path: Path) -> None:
    train("vae-celeba", tmp_path / "run", faces, steps=2)
    with pytest.raises(NotFoundError, match="nothing was measured in it"):
        zoo.finish(tmp_path / "run", data=faces, best=True, device="cpu", progress=False)


def test_a_damaged_best_checkpoint_is_told(measured: Path, faces: Path, tmp_path: Path) -> None:
    counted(tmp_path, [9, 1, 1, 1])
    (checkpoints.at(tmp_path, 1) / "state.json").write_text("{}")
    shutil.copy(measured / "run.json", tmp_path)
    with pytest.raises(NotFoundError, match="step-00000001, the best checkpoint, is damaged"):
        zoo.finish(tmp_path, data=faces, best=True, device="cpu", progress=False)


# What is measured


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the splits train, of 12 random pictures, and test, of 60."""
    folder, draws = tmp_path_factory.mktemp("noises"), np.random.default_rng(0)
    for split, n in (("train", 12), ("test", 60)):
        (folder / split).mkdir()
        for i in range(n):
            Image.fromarray(draws.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / split / f"{i}.png")
    return folder


def test_a_gan_is_measured_by_the_distance_of_its_samples_in_the_judges_features(noises: Path, tmp_path: Path) -> None:
    model = train("dcgan-celeba", tmp_path, noises, evaluate_every=4)
    judge = zoo.load("judge-celeba", device="cpu")
    test = load_dataset(noises, model.preparation, split="test").images.float() / 255
    sets = (judge.features(fit(x, 64, 3)) for x in (model.sample(60, seed=0).tensor, test))
    expected = frechet_distance(*moments(next(sets)), *moments(next(sets)))
    assert float(rows(tmp_path)[-1]["held_out_fd"]) == pytest.approx(expected, rel=1e-4)
    found = best_of(tmp_path)
    assert found is not None
    assert (found.images, found.whence) == (60, "of the test split")


def random_images(n: int, channels: int = 3, size: int = 16, **more: Any) -> Dataset:
    draws = torch.Generator().manual_seed(n)
    return Dataset("noise", "test", torch.randint(256, (n, channels, size, size), generator=draws).byte(), **more)


def figure_for(name: str, images: Dataset | None, module: nn.Module | None = None, **options: Any) -> Any:
    """What is measured for a recipe on these images; the value for a module, if one is given."""
    spec, recipe = registry().recipe(name)
    todo = planned(name, {"image_size": 16} if name == "dcgan-celeba" else {})
    figure = figure_of(spec, recipe, todo, images, "held out", device="cpu", **options)
    return figure if module is None else figure.of(module)


def test_samples_that_are_the_images_are_at_distance_0() -> None:
    images = random_images(60)
    shown = Shows(images.images.float() / 255)
    shown.register_parameter("weight", nn.Parameter(torch.zeros(1)))
    own = figure_for("dcgan-celeba", images, shown)
    shown.images = shown.images.flip(2) / 2
    assert own == pytest.approx(0, abs=1e-6)
    assert figure_for("dcgan-celeba", images, shown) > 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vae-mnist", "held_out_elbo"),
        ("cvae-mnist", "held_out_elbo"),
        ("pixelcnn-mnist", "held_out_log_prob"),
        ("realnvp-mnist", "held_out_elbo"),
        ("cvae-gan-mnist", "held_out_fd"),
        ("pix2pix-edges2celeba", "held_out_fd"),
    ],
)
def test_a_card_is_measured_by_what_it_can_do(name: str, expected: str) -> None:
    """The value differs between equal cards by nothing, though random numbers were drawn in between."""
    model = zoo.load(name, device="cpu")
    p, n = model.preparation, 60 if expected.endswith("fd") else 3
    images = random_images(n, p.channels, p.size, labels=torch.arange(n) % 10)
    figure = figure_for(name, images)
    assert figure.name == expected
    assert figure.better == ("lower" if expected.endswith("fd") else "higher")
    value = figure.of(model.module)
    torch.rand(1)
    assert math.isfinite(value)
    assert figure.of(model.module) == value


def test_at_most_1000_images_are_measured_and_not_the_first() -> None:
    images = random_images(1100)
    assert figure_for("vae-celeba", images).images == 1000
    first = images.rows(torch.arange(1000), "test")
    assert figure_for("vae-celeba", images).on != figure_for("vae-celeba", first).on


def test_a_distance_to_other_images_or_by_another_judge_is_another_figure() -> None:
    on = {
        figure_for("dcgan-celeba", random_images(n), judge=judge).on
        for n in (60, 61)
        for judge in (None, "judge-mnist")
    }
    assert len(on) == 4


# Refused before the first step


@pytest.mark.parametrize(
    ("name", "n", "judge", "message"),
    [
        ("vae-celeba", None, None, "no test split and no image is held out"),
        ("dcgan-celeba", FEWEST - 1, None, "a distance needs 50 images that no step sees, found 49"),
        ("dcgan-celeba", 60, "vae-celeba", "the card vae-celeba has no features"),
        ("dcgan-celeba", 60, "judge-nothing", "judge-nothing"),
        ("judge-celeba", 60, None, "of judge nothing is measured"),
        ("cyclegan-celeba-blond", 60, None, "of cyclegan nothing is measured"),
    ],
)
def test_what_cannot_be_measured_is_refused(name: str, n: int | None, judge: str | None, message: str) -> None:
    with pytest.raises(zoo.ZooError, match=message):
        figure_for(name, None if n is None else random_images(n), judge=judge)


def test_a_refused_measurement_leaves_nothing_behind(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no test split and no image is held out"):
        train("vae-celeba", tmp_path / "run", faces, evaluate_every=2, hold_out=0)
    assert not (tmp_path / "run").exists()


# The command line


def test_the_commands_measure_and_finish_the_best(run: Callable[..., Any], faces: Path) -> None:
    given = ("widths=[4,8]", "latent_dim=4", "lr=0.1", "weights=float32")
    sizes = ["--steps", 4, "--batch-size", 8, "--image-size", 16, *(f"--set={pair}" for pair in given)]
    words = ["train", "vae-celeba", "--data", faces, "--out", "run", "--device", "cpu", *sizes]
    trained = run(*words, "--evaluate-every", 1)
    assert trained.exit_code == 0, trained.output
    values = {int(row["step"]): float(row["held_out_elbo"]) for row in rows(Path("run"))}
    best = max(values, key=lambda step: values[step])
    assert f"step 1: held_out_elbo {values[1]:.5g}, the best so far" in trained.stderr
    finished = run("finish", "run", "--data", faces, "--best", "--device", "cpu")
    assert finished.exit_code == 0, finished.output
    facts = read_facts(Path("run"))
    assert facts.training is not None
    assert facts.training.steps == best


def test_measuring_is_for_one_recipe(run: Callable[..., Any]) -> None:
    result = run("train", "--all", "--evaluate-every", 10)
    assert result.exit_code == 2
    assert "--evaluate-every" in result.output
