"""What goes to the package index: genzoo with a small card of each family, genzoo-cards with all of them."""

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import Isolated

from zoo.card.config import read_config
from zoo.card.names import CONFIG, FACTS, NEEDED
from zoo.hub.places import bundled

ROOT = Path(__file__).resolve().parent.parent
MB = 1 << 20
"""As the package index counts."""
MAX_WHEEL = 60 * MB
MAX_FILE = 100 * MB
"""The index takes no larger ones."""
MINE = {name: folder for name, folder in bundled().items() if folder.parent == ROOT / "cards"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files for the index, by the commands of docs/releasing.md."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheels, is not installed here")
    out = tmp_path_factory.mktemp("dist")
    page = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
    commands = "\n".join(line for line in page.split("```")[1].splitlines() if '"$hatchling" build' in line)
    commands = commands.replace('"$hatchling"', f"'{sys.executable}' -m hatchling")
    environment = os.environ | {"dist": str(out)}
    done = subprocess.run(["bash", "-euc", commands], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def unpacked(built: Path, distribution: str) -> Path:
    """The folder that a wheel of this distribution is unpacked into; as good as installed when it is on sys.path."""
    (wheel,) = built.glob(f"{distribution}-*.whl")
    folder = built / distribution
    if not folder.exists():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def genzoo(built: Path) -> Path:
    return unpacked(built, "genzoo")


@pytest.fixture(scope="module")
def installed(isolated: Isolated) -> Isolated:
    """As `isolated`, and without the working folder on sys.path: that is the clone, with all its cards."""
    return partial(isolated, PYTHONSAFEPATH="1")


@pytest.fixture(scope="module")
def both(genzoo: Path, built: Path) -> str:
    """sys.path with both wheels on it."""
    return os.pathsep.join(map(str, (genzoo, unpacked(built, "genzoo_cards"))))


def whole(cards: Path) -> set[str]:
    """The cards in a folder that can be loaded."""
    return {path.name for path in cards.iterdir() if all((path / file).is_file() for file in NEEDED)}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_file_is_as_small_as_it_must_be(built: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in built.iterdir() if path.is_file()}
    assert len(sizes) == 3, "a source archive and two wheels"
    assert max(sizes.values()) <= MAX_FILE
    assert all(size <= MAX_WHEEL for name, size in sizes.items() if name.startswith("genzoo-") and name.endswith("whl"))


def test_genzoo_carries_one_small_card_of_each_family_and_what_the_readme_samples(genzoo: Path) -> None:
    carried = whole(genzoo / "zoo" / "_cards")
    families = {name: read_config(folder).family for name, folder in MINE.items()}
    assert sorted(families[name] for name in carried) == sorted(set(families.values()))
    (command,) = re.findall(r"&& \.venv/bin/zoo sample (\S+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {command, "imagenet-lite0"} <= carried


def test_genzoo_says_of_every_other_card_what_it_is(genzoo: Path) -> None:
    cards = genzoo / "zoo" / "_cards"
    assert {path.name for path in cards.iterdir()} == set(MINE)
    for name, folder in MINE.items():
        kept = (
            contents(folder)
            if name in whole(cards)
            else {file: (folder / file).read_bytes() for file in (CONFIG, FACTS)}
        )
        assert contents(cards / name) == kept


def test_genzoo_cards_holds_every_card_and_nothing_else(built: Path) -> None:
    site = unpacked(built, "genzoo_cards")
    assert [path.name for path in site.iterdir() if path.suffix != ".dist-info"] == ["genzoo_cards"]
    assert [path.name for path in (site / "genzoo_cards").iterdir()] == ["cards"]
    held = {path.name: contents(path) for path in (site / "genzoo_cards" / "cards").iterdir()}
    assert held == {name: contents(folder) for name, folder in MINE.items()}


def test_with_genzoo_alone_each_card_that_is_not_there_is_known_with_the_line_that_brings_it(
    genzoo: Path, installed: Isolated
) -> None:
    code = """
    import json, zoo
    from typer.testing import CliRunner
    from zoo.cli.parser import app
    listed = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    told = {}
    for entry in listed:
        if entry["state"].startswith("in "):
            try:
                zoo.load(entry["name"])
            except zoo.NotFoundError as error:
                told[entry["name"]] = [error.message, error.hint]
    shown = CliRunner().invoke(app, ["info", "vae-celeba"]).stdout
    where = CliRunner().invoke(app, ["info", "vae-celeba", "--where"]).stderr
    sampled = list(zoo.load("dcgan-celeba", device="cpu").sample(1, seed=0).tensor.shape)
    print(json.dumps([{entry["name"]: entry["state"] for entry in listed}, told, shown, where, sampled]))
    """
    states, told, shown, where, sampled = installed(dedent(code), PYTHONPATH=str(genzoo), ZOO_PLUGINS="builtin")
    carried = whole(genzoo / "zoo" / "_cards")
    others = set(MINE) - carried
    assert {name for name, state in states.items() if state == "bundled"} == carried
    assert {name for name, state in states.items() if state == "in genzoo-cards"} == others == set(told)
    assert {hint for _, hint in told.values()} == {"pip install genzoo-cards"}
    assert re.search(r"weights +in genzoo-cards, not here: float", shown)
    assert "2. bundled: none here, genzoo-cards has it" in where
    assert sampled == [1, 3, 64, 64]


def test_a_card_that_is_not_here_is_looked_for_on_the_hub_where_short_names_have_an_owner(
    genzoo: Path, installed: Isolated
) -> None:
    code = "import json; from zoo.hub.places import origin; print(json.dumps(origin('vae-celeba')))"
    assert installed(code, PYTHONPATH=str(genzoo), ZOO_NAMESPACE="us") == "on the Hub: us/vae-celeba"


def test_with_both_wheels_every_card_is_there_once_and_loads(both: str, installed: Isolated) -> None:
    code = """
    import json, zoo
    from zoo.family.registry import registry
    from zoo.hub.places import bundled, elsewhere
    plugin, = [plugin for plugin in registry().plugins if plugin.distribution == "genzoo-cards"]
    places = {name: folder.parents[1].name for name, folder in bundled().items()}
    models = [zoo.load(name, device="cpu") for name in ("vae-celeba", "dcgan-celeba")]
    sampled = [list(model.sample(1, seed=0).tensor.shape) for model in models]
    print(json.dumps([places, list(elsewhere()), plugin.error, plugin.families, sampled]))
    """
    places, missing, error, families, sampled = installed(dedent(code), PYTHONPATH=both)
    assert {name: place for name, place in places.items() if name in MINE} == {
        name: "zoo" if name in whole(Path(both.split(os.pathsep)[0]) / "zoo" / "_cards") else "genzoo_cards"
        for name in MINE
    }
    assert (missing, error, families) == ([], None, [])
    assert sampled == [[1, 3, 64, 64]] * 2


def test_the_cards_of_others_are_no_business_of_a_package_of_cards(
    both: str, installed: Isolated, tmp_path: Path
) -> None:
    """Only a distribution called after the family's may hold its cards."""
    (tmp_path / "strange" / "cards").mkdir(parents=True)
    os.symlink(ROOT / "cards" / "vae-celeba", tmp_path / "strange" / "cards" / "vae-celeba")
    info = tmp_path / "strange-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[zoo]\nstrange = strange\n")
    genzoo = both.split(os.pathsep)[0]
    code = "import json, zoo; print(json.dumps(zoo.list_models('vae')))"
    assert installed(code, PYTHONPATH=f"{genzoo}{os.pathsep}{tmp_path}") == ["vae-mnist"]
    for file in info.iterdir():
        file.write_text(file.read_text().replace("Name: strange", "Name: genzoo-cards-strange"))
    assert installed(code, PYTHONPATH=f"{genzoo}{os.pathsep}{tmp_path}") == ["vae-celeba", "vae-mnist"]


@pytest.fixture(scope="module")
def shipped(genzoo: Path) -> set[str]:
    """The paths of the files in genzoo's wheel."""
    return {path.relative_to(genzoo).as_posix() for path in genzoo.rglob("*") if path.is_file()}


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
