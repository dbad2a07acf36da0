"""A recipe on data of the user's own: the model takes their names, pairs stay pairs, and a part is held out."""

from pathlib import Path
from typing import Any

import layouts
import pytest

import zoo
from zoo.card.facts import read_facts
from zoo.errors import DataError

CVAE = {"steps": 1, "batch_size": 4, "image_size": 16, "widths": [4], "hidden": 8, "completion_hidden": 8}
PIX2PIX = {"steps": 1, "batch_size": 2, "image_size": 32, "width": 4, "patch_width": 4}


def train(recipe: str, out: Path, data: Any, **options: Any) -> zoo.Model:
    return zoo.train(recipe, out=out, data=data, device="cpu", progress=False, precision="float32", **options)


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layouts.pictures(
        tmp_path_factory.mktemp("animals"), layouts.numbered({"dogs, big": 16, "cats": 16, "[birds]": 16})
    )


@pytest.fixture(scope="module")
def card(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "animals"
    train("cvae-mnist", out, animals, hold_out=0.5, **CVAE)
    return out


def test_the_model_takes_the_names_and_the_number_of_the_datas_classes(card: Path) -> None:
    assert zoo.load(card, device="cpu").conditions["label"].names == ("[birds]", "cats", "dogs, big")
    training = read_facts(card).training
    assert training is not None
    assert training.names == ["[birds]", "cats", "dogs, big"]
    assert training.columns == {"image": "image", "label": "label"}


def test_a_card_is_evaluated_with_its_folder_alone_on_what_was_held_out(card: Path, animals: Path) -> None:
    training = read_facts(card).training
    assert training is not None
    assert training.held_out is not None
    assert (training.images, training.held_out.images) == (24, 24)
    metrics = zoo.evaluate(card, data=animals, progress=False, device="cpu")
    assert {metric.n for metric in metrics if metric.split == "test" and metric.name.startswith("elbo")} == {24}
    assert "24 more were held out" in (card / "README.md").read_text(encoding="utf-8")


def test_names_in_another_order_are_put_right_and_others_are_an_error(animals: Path, tmp_path: Path) -> None:
    names = ["dogs big", "Cats", "birds"]
    model = train("cvae-mnist", tmp_path / "run", animals, names=names, **CVAE)
    assert model.conditions["label"].names == tuple(names)
    training = read_facts(tmp_path / "run").training
    assert training is not None
    assert training.names == ["dogs, big", "cats", "[birds]"], "the data's spelling in the model's order"
    with pytest.raises(DataError, match=r"The data have \[birds\], cats, dogs, big; the model has dogs, cats, birds"):
        train("cvae-mnist", tmp_path / "other", animals, names=["dogs", "cats", "birds"], **CVAE)


def test_own_pairs_inherit_neither_filter_nor_crop(tmp_path: Path) -> None:
    data = layouts.pictures(tmp_path / "data", layouts.numbered({"A": 12, "B": 12}))
    model = train("pix2pix-edges2celeba", tmp_path / "run", data, **PIX2PIX)
    assert (model.preparation.filter, model.preparation.crop) == (None, 1.0)
    plain = train("pix2pix-edges2celeba", tmp_path / "plain", data / "A", **PIX2PIX)
    assert model.preparation != plain.preparation
    assert plain.preparation.filter == "edges", "images without partners are paired by the recipe's filter"


def test_a_run_inside_its_data_does_not_eat_its_own_pictures(tmp_path: Path) -> None:
    data = layouts.pictures(tmp_path / "data", [f"{i}.png" for i in range(12)])
    small = {"steps": 2, "batch_size": 4, "image_size": 16, "width": 4, "save_every": 1}
    train("dcgan-celeba", data / "run", data, **small)
    again = train("dcgan-celeba", data / "run", data, **small | {"steps": 3}, resume=True)
    assert again.spec.name == "dcgan"
    training = read_facts(data / "run").training
    assert training is not None
    assert training.images == 11
