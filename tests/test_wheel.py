"""What the distribution's wheel holds, as its builder lists it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def shipped() -> set[str]:
    """The paths of the wheel's files."""
    wheel = pytest.importorskip("hatchling.builders.wheel")
    return {file.distribution_path for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}


def test_the_core_and_every_family_say_that_they_are_typed(shipped: set[str]) -> None:
    """By PEP 561: without the file, a type checker takes no notice of the annotations in a package."""
    packages = {path.partition("/")[0] for path in shipped if path.endswith(".py")}
    assert {"zoo", "zoo_dcgan"} <= packages
    assert {f"{package}/py.typed" for package in packages} <= shipped


def test_templates_and_cards_are_shipped(shipped: set[str]) -> None:
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "zoo").rglob("*.jinja")}
    cards = {f"zoo/_cards/{path.relative_to(ROOT / 'cards')}" for path in (ROOT / "cards").glob("*/config.json")}
    assert templates
    assert cards
    assert templates | cards <= shipped
