"""Training that begins from a card, and cards of runs that were stopped."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import SAME, contents, train

import zoo
from zoo.card.facts import address, read_facts
from zoo.card.weights import load_module
from zoo.errors import ConfigError, InputError, NotFoundError
from zoo.training.checkpoints import reached

TINY: dict[str, Any] = {"steps": 2, "batch_size": 8, "precision": "float32"}


@pytest.fixture(scope="module")
def parent(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card of a small DCGAN."""
    out = tmp_path_factory.mktemp("parents") / "parent"
    train(out, faces, weights="float32", card_name="dcgan-parent")
    return out


def tuned(out: Path, parent: Path | str, faces: Path, **options: Any) -> zoo.Model:
    return zoo.train(out=out, parent=parent, data=faces, device="cpu", progress=False, **TINY | options)


def training(out: Path) -> Any:
    return read_facts(out).training


# From a card


def test_a_training_from_a_card_begins_with_its_weights(parent: Path, faces: Path, tmp_path: Path) -> None:
    """With no rate to speak of, nothing moves."""
    tuned(tmp_path / "run", parent, faces, lr=1e-30, ema=0.0, weights="float32")
    before, after = (dict(load_module(folder)[0].named_parameters()) for folder in (parent, tmp_path / "run"))
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_new_card_names_its_parent(parent: Path, faces: Path, tmp_path: Path) -> None:
    tuned(tmp_path / "run", parent, faces)
    sha256 = zoo.load(parent, device="cpu").sha256
    terms = read_facts(parent).data_terms
    said = {"name": "dcgan-parent", "sha256": sha256, "repository": "", "terms": terms}
    assert training(tmp_path / "run").parent.model_dump() == said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["parent"] == said
    readme = (tmp_path / "run" / "README.md").read_text()
    assert "zoo train dcgan-celeba --from dcgan-parent --data" in readme
    assert sha256[:16] in readme
    assert f"The training began from dcgan-parent: {terms}" in readme
    assert "base_model" not in readme


def test_a_parent_on_the_hub_is_the_base_model(parent: Path, faces: Path, tmp_path: Path) -> None:
    shutil.copytree(parent, tmp_path / "parent")
    address(tmp_path / "parent", "somebody/faces")
    tuned(tmp_path / "run", tmp_path / "parent", faces)
    _, metadata, text = (tmp_path / "run" / "README.md").read_text().split("---\n", 2)
    assert {"base_model: somebody/faces", "base_model_relation: finetune"} <= {*metadata.splitlines()}
    assert "--from somebody/faces" in text


def test_settings_suit_a_small_data_set_unless_they_are_given(parent: Path, faces: Path, tmp_path: Path) -> None:
    tuned(tmp_path / "run", parent, faces, steps=40)
    tuned(tmp_path / "own", parent, faces, steps=2, ema=0.5, flip=False)
    suited, own = training(tmp_path / "run").settings, training(tmp_path / "own").settings
    assert (suited["flip"], suited["ema"]) == (True, 0.75)
    assert (own["flip"], own["ema"]) == (False, 0.5)


def test_a_batch_is_no_larger_than_the_data_set(
    parent: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"parent": parent, "data": faces, "device": "cpu", "steps": 1, "precision": "float32"}
    zoo.train(out=tmp_path / "run", **options)
    assert training(tmp_path / "run").batch_size == 32
    said = " ".join(capsys.readouterr().err.split())
    assert "batch_size=32: there are 43 images. To change it: --set batch_size=VALUE" in said
    assert "ema=0.0: so few steps need no average" in said


def test_a_stopped_fine_tuning_resumes_with_what_it_chose(parent: Path, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(zoo.OutOfTime):
        tuned(tmp_path / "run", parent, faces, steps=3, budget=0)
    tuned(tmp_path / "run", parent, faces, steps=3, resume=True)
    tuned(tmp_path / "straight", parent, faces, steps=3)
    assert contents(tmp_path / "run", {"model.safetensors"}) == contents(tmp_path / "straight", {"model.safetensors"})


def test_a_parent_of_another_shape_or_family_is_refused(parent: Path, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dcgan-parent do not fit a model with width=8"):
        tuned(tmp_path / "run", parent, faces, width=8)
    with pytest.raises(InputError, match="dcgan-parent is a card of the family 'dcgan', and vae-celeba"):
        zoo.train("vae-celeba", out=tmp_path / "run", parent=parent, data=faces, device="cpu", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_card_that_no_recipe_trained_needs_one(tiny_card: Path, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dcgan-tiny does not say which recipe trained it"):
        tuned(tmp_path / "run", tiny_card, faces)
    zoo.train("dcgan-celeba", out=tmp_path / "run", parent=tiny_card, data=faces, device="cpu", progress=False, **TINY)
    assert training(tmp_path / "run").parent.name == "dcgan-tiny"


# Cards of stopped runs


@pytest.fixture
def stopped(faces: Path, tmp_path: Path) -> Path:
    """A run of 100 steps that was stopped after its first."""
    with pytest.raises(zoo.OutOfTime):
        train(tmp_path / "stopped", faces, budget=0, **SAME | {"steps": 100, "weights": "float32"})
    return tmp_path / "stopped"


def test_a_stopped_run_can_be_finished_and_still_go_on(stopped: Path, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"(?s)no card yet.*zoo finish"):
        zoo.load(stopped)
    before = contents(stopped, {"run.json"})
    model = zoo.finish(stopped, data=faces, device="cpu", progress=False)
    assert training(stopped).steps == reached(stopped)[0] == 1
    assert contents(stopped, {"run.json"}) == before
    train(tmp_path / "straight", faces, **SAME | {"steps": 1, "weights": "float32"})
    assert model.sha256 == zoo.load(tmp_path / "straight", device="cpu").sha256
    train(stopped, faces, resume=True, **SAME | {"steps": 4})
    assert training(stopped).steps == 4


def test_finishing_needs_the_same_data_and_a_checkpoint(stopped: Path, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(zoo.DataError, match="begun with other data"):
        zoo.finish(stopped, data=faces, limit=40, device="cpu", progress=False)
    shutil.rmtree(stopped / "checkpoints")
    with pytest.raises(NotFoundError, match="no complete checkpoint"):
        zoo.finish(stopped, data=faces, device="cpu", progress=False)
    with pytest.raises(NotFoundError, match="there is no run in"):
        zoo.finish(tmp_path / "nowhere", device="cpu", progress=False)
    assert not (stopped / "config.json").exists()
