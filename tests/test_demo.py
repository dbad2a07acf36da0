"""The page that shows a card: what is on it, and what its buttons do. Gradio's own client presses them."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from serving import served

import zoo
from zoo.family.conditions import Categorical, Continuous, Flags
from zoo.model import Model

# Gradio leaves event loops open. They are thrown away after each test, while nobody minds.
pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.filterwarnings("ignore::ResourceWarning")]
gradio = pytest.importorskip("gradio")

from zoo import demo  # noqa: E402


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextmanager
def pressing(name: str) -> Iterator[Any]:
    """A client of a card's page."""
    from gradio_client import Client

    with served(name) as address:
        yield Client(address, verbose=False)


def buttons(model: Model) -> set[str]:
    """The names of what the page can do."""
    return {call["api_name"] for call in demo.page(model).config["dependencies"]}


@pytest.mark.parametrize("name", ["dcgan-celeba", "cvae-mnist", "stargan-celeba", "pixelcnn-mnist", "judge-mnist"])
def test_a_page_offers_what_the_card_can_do_and_nothing_else(name: str) -> None:
    model = zoo.load(name)
    offered = buttons(model)
    assert offered
    for tab in demo.TABS:
        assert (tab.method in offered) == hasattr(model, tab.method)


def test_a_kept_seed_gives_the_images_of_that_seed_in_a_file_that_says_so() -> None:
    model = zoo.load("cvae-mnist")
    with pressing(model.name) as client:
        path, seed = client.predict(5, True, 4, "7", api_name="/sample")
    assert seed == 5
    with Image.open(path) as picture:
        assert picture.text["seed"] == "5"
        assert picture.text["label"] == "7"
        assert np.array_equal(np.asarray(picture), np.asarray(model.sample(4, seed=5, label="7").grid()))


def test_a_seed_that_is_not_kept_is_a_new_one_each_time() -> None:
    with pressing("cvae-mnist") as client:
        seeds = {client.predict(5, False, 1, "any", api_name="/sample")[1] for _ in range(3)}
    assert len(seeds) == 3


def test_a_picture_goes_in_and_another_comes_out(tmp_path: Path) -> None:
    from gradio_client import handle_file

    photo = tmp_path / "photo.png"
    Image.new("RGB", (90, 70), (120, 90, 60)).save(photo)
    model = zoo.load("stargan-celeba")
    flags = [flag for kind in model.conditions.values() if isinstance(kind, Flags) for flag in kind.names]
    with pressing(model.name) as client:
        asked = ["yes" if flag == "Blond_Hair" else "any" for flag in flags]
        path, _ = client.predict(0, False, handle_file(str(photo)), *asked, api_name="/translate")
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(model.translate(photo, Blond_Hair=True).pil()[0]))


def test_a_wrong_input_is_answered_with_what_to_do() -> None:
    with pressing("stargan-celeba") as client, pytest.raises(Exception, match=r"no picture yet\. Choose one"):
        client.predict(0, False, None, *["any"] * 5, api_name="/translate")


@pytest.mark.parametrize(
    ("condition", "shown", "given"),
    [
        (Categorical(("a", "b")), ["b"], {"key": "b"}),
        (Categorical(("a", "b")), ["any"], {}),
        (Flags(("f", "g")), ["yes", "any"], {"f": True}),
        (Flags(("f", "g")), ["no", "yes"], {"f": False, "g": True}),
        (Continuous(-1, 1, 2), [0.5, -0.5, True], {"key": [(0.5, -0.5)]}),
        (Continuous(-1, 1, 2), [0.5, -0.5, False], {}),
    ],
)
def test_controls_say_what_conditions_are_given(condition: Any, shown: list[Any], given: dict[str, Any]) -> None:
    rest, found = iter(shown), {}
    for control in demo._conditions({"key": condition}):
        value = control.value(*[next(rest) for _ in control.parts])
        found |= {} if value is None else {control.name: value}
    assert found == given
    assert not [*rest]


def test_a_share_of_the_rows_is_a_mask_from_the_top() -> None:
    model = zoo.load("pixelcnn-mnist")
    (control,) = demo._kept(model)
    assert torch.equal(control.value(0.5)[:, 0], torch.arange(28) < 14)
    assert not control.value(0).any()
    assert control.value(1).all()
