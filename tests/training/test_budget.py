"""`zoo train --all`: the order, what is skipped, what a budget cuts short, and failures that stay with their recipe."""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import zoo
from zoo.card.facts import read_facts
from zoo.card.names import PLAN
from zoo.cli.parser import app
from zoo.data import decode
from zoo.errors import DataError, InputError, NotFoundError
from zoo.family.registry import registry
from zoo.training import budget, checkpoints
from zoo.training.budget import Outcome, in_order, train_all

STEPS = 2
SMALL = zoo.Recipe(
    name="dcgan-small",
    summary="small",
    data="drawn/faces",
    preparation=zoo.Preparation(size=16),
    config={"image_size": 16, "width": 4, "latent_dim": 8},
    train={"steps": STEPS, "batch_size": 8, "log_every": 1, "ema": 0.5},
)
RECIPES = [
    replace(SMALL, name="dcgan-first", judge="dcgan-judge"),
    replace(SMALL, name="dcgan-second", train={**SMALL.train, "lr": 1e-3}),
    replace(SMALL, name="dcgan-judge", train={**SMALL.train, "seed": 1}),
]
NAMES = ["dcgan-judge", "dcgan-first", "dcgan-second"]


@pytest.fixture(autouse=True)
def recipes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Three small recipes instead of all that are installed; a test may change them."""
    spec = registry().spec("dcgan")
    small = {recipe.name: (spec, recipe) for recipe in RECIPES}
    monkeypatch.setattr(registry(), "recipes", small)
    return small


@pytest.fixture
def everything(tmp_path: Path, faces: Path) -> Callable[..., dict[str, Outcome]]:
    """Train everything, and return the outcomes by name."""

    def run(**options: Any) -> dict[str, Outcome]:
        given = {"data": {"drawn/faces": faces}} | options
        outcomes = train_all(tmp_path / "runs", device="cpu", progress=False, **given)
        return {outcome.recipe: outcome for outcome in outcomes}

    return run


def states(outcomes: dict[str, Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes.values()]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_every_recipe_is_trained_judges_first_and_as_it_would_be_alone(
    everything: Callable[..., dict[str, Outcome]], tmp_path: Path, faces: Path
) -> None:
    reported: list[Outcome] = []
    outcomes = everything(report=reported.append)
    assert list(outcomes) == NAMES
    assert reported == list(outcomes.values())
    assert states(outcomes) == ["finished"] * 3
    assert all(outcome.minutes > 0 and outcome.images_per_second > 0 for outcome in reported)  # type: ignore[operator]
    options: dict[str, Any] = {"device": "cpu", "progress": False}
    zoo.train("dcgan-second", out=tmp_path / "alone", data=faces, data_name="drawn/faces", **options)
    assert weights(tmp_path / "runs" / "dcgan-second") == weights(tmp_path / "alone")
    assert zoo.load(tmp_path / "runs" / "dcgan-second", device="cpu").name == "dcgan-second"


def test_what_is_finished_is_skipped_and_what_is_damaged_is_mended(
    everything: Callable[..., dict[str, Outcome]], tmp_path: Path
) -> None:
    everything()
    card = tmp_path / "runs" / "dcgan-first" / "model.safetensors"
    whole = card.read_bytes()
    card.write_bytes(whole[:-1])
    assert states(everything()) == ["skipped", "finished", "skipped"]
    assert card.read_bytes() == whole
    assert states(everything()) == ["skipped"] * 3


def test_a_card_of_fewer_steps_is_not_finished(
    everything: Callable[..., dict[str, Outcome]], recipes: dict[str, Any], tmp_path: Path
) -> None:
    everything()
    spec, recipe = recipes["dcgan-first"]
    recipes["dcgan-first"] = spec, replace(recipe, train={**recipe.train, "steps": STEPS + 1})
    outcomes = everything()
    assert states(outcomes) == ["skipped", "finished", "skipped"]
    assert checkpoints.found(tmp_path / "runs" / "dcgan-first")[-1].name == "step-00000003"


def test_a_budget_stops_between_steps_and_the_next_call_goes_on(
    everything: Callable[..., dict[str, Outcome]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Here time stands still, so that each recipe is begun; in each run the deadline is over at once, after one step.
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: 0.0))
    for step in range(1, STEPS):
        outcomes = everything(budget=1e-9)
        assert [outcome.detail for outcome in outcomes.values()] == [f"at step {step} of {STEPS}"] * 3
        assert not list(tmp_path.rglob("config.json"))  # no card
    assert states(everything(budget=1e-9)) == ["finished"] * 3
    stopped = {name: weights(tmp_path / "runs" / name) for name in NAMES}
    monkeypatch.undo()
    monkeypatch.setattr(registry(), "recipes", {recipe.name: (registry().spec("dcgan"), recipe) for recipe in RECIPES})
    (tmp_path / "runs").rename(tmp_path / "stopped")
    everything()
    assert {name: weights(tmp_path / "runs" / name) for name in NAMES} == stopped


def test_without_time_nothing_is_begun(everything: Callable[..., dict[str, Outcome]], tmp_path: Path) -> None:
    assert states(everything(budget=0)) == ["not begun"] * 3
    assert not (tmp_path / "runs").exists()


def test_a_recipe_that_fails_keeps_no_other_from_training(
    everything: Callable[..., dict[str, Outcome]], recipes: dict[str, Any], tmp_path: Path, faces: Path
) -> None:
    spec, recipe = recipes["dcgan-first"]
    recipes["dcgan-first"] = spec, replace(recipe, data="drawn/cats")
    outcomes = everything(data={"drawn/faces": faces, "drawn/cats": tmp_path / "nowhere"})
    assert states(outcomes) == ["finished", "failed", "finished"]
    assert re.search(r"no folder .*nowhere.*--data drawn/cats=FOLDER", outcomes["dcgan-first"].detail)
    assert isinstance(outcomes["dcgan-first"].error, DataError)
    assert not (tmp_path / "runs" / "dcgan-first").exists()


def test_code_that_breaks_is_a_failure_of_its_recipe_alone(
    everything: Callable[..., dict[str, Outcome]], recipes: dict[str, Any]
) -> None:
    spec, recipe = recipes["dcgan-first"]
    recipes["dcgan-first"] = replace(spec, train="test_budget:breaking_train"), recipe
    outcomes = everything()
    assert states(outcomes) == ["finished", "failed", "finished"]
    assert outcomes["dcgan-first"].detail == "ZeroDivisionError: division by zero"


def breaking_train(model: torch.nn.Module, batches: zoo.Batches, run: zoo.Run, *, steps: int = 1) -> None:
    raise ZeroDivisionError("division by zero")


def test_a_folder_with_other_settings_is_left_alone(
    everything: Callable[..., dict[str, Outcome]], recipes: dict[str, Any], tmp_path: Path
) -> None:
    everything()
    before = weights(tmp_path / "runs" / "dcgan-first")
    spec, recipe = recipes["dcgan-first"]
    recipes["dcgan-first"] = spec, replace(recipe, train={**recipe.train, "lr": 0.5})
    outcomes = everything()
    assert states(outcomes) == ["skipped", "failed", "skipped"]
    assert "has other settings: lr was" in outcomes["dcgan-first"].detail
    assert weights(tmp_path / "runs" / "dcgan-first") == before
    assert (tmp_path / "runs" / "dcgan-first" / PLAN).is_file()


def test_recipes_of_the_same_images_decode_them_once(
    everything: Callable[..., dict[str, Outcome]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    decoded = []
    decode_one = decode._decode_one

    def counted(*arguments: Any) -> Any:
        decoded.append(arguments[-1])
        return decode_one(*arguments)

    monkeypatch.setattr(decode, "_decode_one", counted)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    everything()
    assert len(decoded) == 48


def test_unknown_names_are_refused_before_anything_is_trained(
    everything: Callable[..., dict[str, Outcome]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"(?s)uses the data set 'drawn/face'.*Did you mean 'drawn/faces'"):
        everything(data={"drawn/face": tmp_path})
    with pytest.raises(NotFoundError, match="dcgna"):
        everything(family="dcgna")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"(?s)several processes cannot.*one process"):
        everything()
    assert not (tmp_path / "runs").exists()


def test_settings_of_the_call_are_those_of_every_recipe(
    everything: Callable[..., dict[str, Outcome]], tmp_path: Path
) -> None:
    assert {outcome.state for outcome in everything(steps=3, lr=5e-4).values()} == {"finished"}
    for name in NAMES:
        training = read_facts(tmp_path / "runs" / name).training
        assert training is not None
        assert (training.steps, training.settings["lr"]) == (3, 5e-4)
    assert {outcome.state for outcome in everything(steps=3, lr=5e-4).values()} == {"skipped"}


def test_a_setting_that_no_recipe_knows_is_refused_before_anything_is_trained(
    everything: Callable[..., dict[str, Outcome]], tmp_path: Path
) -> None:
    with pytest.raises(zoo.ConfigError, match="has no setting 'lrr'"):
        everything(lrr=1)
    assert not list(tmp_path.iterdir())
    assert command("--all", "--out", str(tmp_path / "runs"), "--set", "lrr=1").exit_code == 1
    assert not list(tmp_path.iterdir())


def test_a_family_has_its_own_recipes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert set(in_order()) == set(registry().recipes)
    judges = {recipe.judge for _, recipe in registry().recipes.values()} - {None}
    assert judges
    assert set(in_order()[: len(judges)]) == judges
    assert set(in_order("vae")) == {recipe.name for recipe in registry().spec("vae").recipes}


# The command


def command(*words: object) -> Any:
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_the_command_ends_with_a_table_and_fails_if_a_recipe_does(
    recipes: dict[str, Any], faces: Path, tmp_path: Path
) -> None:
    spec, recipe = recipes["dcgan-first"]
    recipes["dcgan-first"] = spec, replace(recipe, train={**recipe.train, "batch_size": 49})
    words = ["--all", "--out", tmp_path / "runs", "--data", f"drawn/faces={faces}", "--device", "cpu"]
    result = command(*words, "--budget", 60)
    assert result.exit_code == 1, result.output
    header, *rows = [re.split(r"\s{2,}", line) for line in result.stdout.splitlines() if "  " in line][-4:]
    assert header == ["recipe", "state", "minutes", "images/s"]
    assert [row[0] for row in rows] == NAMES
    assert rows[0][1] == f"finished: {STEPS} steps"
    assert rows[1][1].startswith("failed: the batch size 49 does not fit")
    recipes["dcgan-first"] = spec, recipe
    again = command(*words)
    assert again.exit_code == 0, again.output
    states = [re.split(r"\s{2,}", line)[1].split(":")[0] for line in again.stdout.splitlines()[-3:]]
    assert states == ["skipped", "finished", "skipped"]


@pytest.mark.parametrize(
    "words",
    [
        ["--all", "dcgan-first"],
        ["--all", "--resume"],
        ["--all", "--limit", "3"],
        ["--all", "--data", "folder"],
        ["dcgan-first"],
        ["--out", "run"],
        ["dcgan-first", "--out", "run", "--family", "dcgan"],
        ["dcgan-first", "--out", "run", "--budget", "-1"],
    ],
    ids=" ".join,
)
def test_the_two_uses_of_the_command_are_kept_apart(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*words).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_one_recipe_may_have_a_budget_too(faces: Path, tmp_path: Path) -> None:
    words = ["dcgan-first", "--out", tmp_path / "run", "--data", faces, "--device", "cpu", "--budget", 0]
    result = command(*words)
    assert result.exit_code == 0, result.output
    said, again = result.stdout.splitlines()
    assert said == "stopped at step 1 of 2: the time is up. To go on:"
    assert shlex.split(again) == ["zoo", "train", *map(str, words), "--resume"]
    assert "is the card dcgan-" in command(*words, "--resume").stdout
