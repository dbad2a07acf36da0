"""What needs no extra works without; what needs one says so in one sentence, with the line to type."""

import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import Isolated

import zoo
from zoo.errors import MissingExtraError
from zoo.extras import EXTRAS, install, require

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = sorted({module for modules in EXTRAS.values() for module in modules})
# As if it were not installed: what Python does with a name that stands for None there.
BARE = f"import sys; sys.modules |= dict.fromkeys({OPTIONAL})\n"


def packages(requirements: list[str]) -> set[str]:
    """The names by which what is required is imported."""
    return {requirement.partition(">=")[0].replace("-", "_") for requirement in requirements}


def test_the_extras_are_those_of_the_package() -> None:
    declared = PROJECT["optional-dependencies"]
    for extra, modules in EXTRAS.items():
        assert packages(declared[extra]) == set(modules)
        assert not packages(PROJECT["dependencies"]) & set(modules)


@pytest.mark.parametrize(("extra", "used"), [("test", {*EXTRAS}), ("docs", {"train", "evaluate"}), ("dev", {*EXTRAS})])
def test_who_works_on_zoo_has_every_extra_that_it_uses(extra: str, used: set[str]) -> None:
    def brought(extra: str) -> set[str]:
        asked = PROJECT["optional-dependencies"][extra]
        inner = {word for line in asked if line.startswith("genzoo[") for word in line[7:-1].split(",")}
        return inner.union(*map(brought, inner))

    assert used <= brought(extra)


def test_an_extra_that_is_there_is_not_missed_and_one_that_is_not_is_named_with_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require("train", "training")
    monkeypatch.setitem(EXTRAS, "train", ("json", "a_package_nobody_has", "accelerate"))
    with pytest.raises(MissingExtraError, match="training needs what is not installed: a_package") as caught:
        require("train", "training")
    assert caught.value.hint == "pip install 'genzoo[train]'"
    assert isinstance(caught.value, ImportError)


def test_without_any_extra_cards_are_listed_loaded_sampled_and_translated(isolated: Isolated, tmp_path: Path) -> None:
    code = """
    import json, os, zoo
    from typer.testing import CliRunner
    from zoo.cli.parser import app
    os.chdir(sys.argv[1])
    pictures = zoo.load("dcgan-celeba", device="cpu").sample(1, seed=0)
    pictures.save("photo.png")
    made = {"dcgan-celeba": list(pictures.tensor.shape)}
    for name in ("pix2pix-edges2celeba", "cyclegan-celeba-blond", "stargan-celeba"):
        model = zoo.load(name, device="cpu")
        made[name] = list(model.translate("photo.png").tensor.shape)
    run = [
        ["list"],
        ["plugins"],
        ["info", "dcgan-celeba"],
        ["sample", "vae-mnist", "-n", "1", "--device", "cpu", "--out", "digit.png"],
        ["translate", "stargan-celeba", "photo.png", "--device", "cpu", "--out", "blond.png", "--Blond_Hair", "true"],
    ]
    print(json.dumps([made, [CliRunner().invoke(app, words).exit_code for words in run]]))
    """
    made, codes = isolated(BARE + dedent(code), str(tmp_path))
    assert len(made) == 4
    assert all(shape == [1, 3, 64, 64] for shape in made.values())
    assert codes == [0] * len(codes)


def test_what_needs_an_extra_ends_with_one_sentence_and_the_line_to_type(isolated: Isolated, tmp_path: Path) -> None:
    code = """
    import json
    from typer.testing import CliRunner
    from zoo.cli.parser import app
    runs = {
        "train": ["train", "dcgan-celeba", "--data", ".", "--out", sys.argv[1] + "/run"],
        "train --all": ["train", "--all", "--out", sys.argv[1] + "/runs"],
        "check": ["check", "dcgan"],
        "export": ["export", "dcgan-celeba", "--out", sys.argv[1] + "/onnx"],
        "evaluate": ["evaluate", "dcgan-celeba", "--data", "."],
        "verify --data": ["verify", "dcgan-celeba", "--data", "."],
        "publish": ["publish", "dcgan-celeba", "--to", "org/faces", "--yes"],
    }
    told = {what: CliRunner().invoke(app, words) for what, words in runs.items()}
    print(json.dumps({what: [one.exit_code, one.stderr.splitlines()] for what, one in told.items()}))
    """
    told = isolated(BARE + dedent(code), str(tmp_path))
    assert len(told) == 7
    for what, (status, lines) in told.items():
        extra = {"train": "train", "train --all": "train", "check": "train", "export": "export"}.get(what, "evaluate")
        assert (status, lines[1:]) == (1, [f"  {install(extra=extra)}"]), what
        assert any(module in lines[0] for module in EXTRAS[extra]), what
    assert not list(tmp_path.iterdir())


def test_verification_without_the_extra_checks_what_it_can_and_skips_the_rest(isolated: Isolated) -> None:
    code = """
    import dataclasses, json, zoo
    checks = {name: zoo.verify(name, device="cpu", progress=False) for name in ("dcgan-celeba", "judge-celeba")}
    print(json.dumps({name: [[c.what, c.state, c.why] for c in found] for name, found in checks.items()}))
    """
    found = isolated(BARE + dedent(code))
    states = {what: (state, why) for what, state, why in found["dcgan-celeba"]}
    assert "fail" not in {state for state, _ in states.values()}
    assert {states[what][0] for what in ("weights", "files", "README.md", "samples.png")} == {"pass"}
    assert states["reference"][0] == "skipped"
    assert install(extra="evaluate") in states["reference"][1]
    ((what, state, why),) = found["judge-celeba"]
    assert (what, state, install(extra="evaluate") in why) == ("weights", "skipped", True)


def test_a_signature_that_was_asked_for_is_never_skipped(monkeypatch: pytest.MonkeyPatch, tiny_card: Path) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(MissingExtraError) as caught:
        zoo.verify(tiny_card, key="public.pem", device="cpu")
    assert caught.value.hint == install(extra="sign")


@pytest.mark.parametrize("module", OPTIONAL)
def test_what_an_extra_names_can_be_found_here(module: str) -> None:
    """The tests have every extra; so a name that is not that of the package would show."""
    assert find_spec(module) is not None
