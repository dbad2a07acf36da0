"""A package of strangers, installed from its wheel into a fresh environment: `examples/zoo-classics`."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import Isolated

SOURCE = Path(__file__).resolve().parent.parent / "examples" / "zoo-classics"
# The same package, built when zoo was at 0.1.0, without its cards: nobody builds their package again for our sake.
BEFORE = Path(__file__).resolve().parent / "built" / "zoo_classics-1.0-py3-none-any.whl"
CARDS = ["cgan-mnist", "gan-mnist", "lsgan-mnist", "wgan-mnist"]
FAMILIES = ["cgan", "gan", "lsgan", "wgan"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of an environment with the wheel of this tree, which is built from a copy: the tree stays clean."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheel, is not installed here")
    desk = tmp_path_factory.mktemp("classics")
    tree = shutil.copytree(SOURCE, desk / "tree", ignore=shutil.ignore_patterns("__pycache__"))
    _pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", desk, tree)
    (wheel,) = desk.glob("*.whl")
    return _installed(wheel, desk)


def _installed(wheel: Path, desk: Path) -> Path:
    """The packages of a fresh environment, into which pip installs the wheel; it borrows zoo and torch from ours."""
    venv.create(desk / "env", with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(desk / "env")}))
    (site / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    _pip("--python", python_of(site), "install", "--no-deps", "--no-index", wheel)
    return site


def _pip(*words: object) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def python_of(site: Path) -> str:
    """The interpreter of the environment with these packages."""
    return str(site.parents[2] / "bin" / "python")


@pytest.fixture(scope="session")
def site_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _installed(BEFORE, tmp_path_factory.mktemp("before"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_package_built_for_the_version_before_is_still_a_good_one(family: str, site_before: Path) -> None:
    command = [python_of(site_before), "-m", "zoo", "check", family]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_the_package_and_its_cards_alone(site: Path) -> None:
    assert {path.name for path in site.iterdir()} == {"zoo_classics", "zoo_classics-1.0.dist-info", "ours.pth"}
    kinds = {"README.md", "config.json", "evaluation.json", "model.safetensors", "samples.png"}
    for card in CARDS:
        assert {path.name for path in (site / "zoo_classics" / "cards" / card).iterdir()} == kinds


def test_its_families_and_cards_are_listed_as_of_their_distribution(site: Path, isolated: Isolated) -> None:
    code = """
    import json, sys, zoo
    from zoo.family.registry import registry
    plugin, = [plugin for plugin in registry().plugins if plugin.distribution == "zoo-classics"]
    cards = sorted(card for family in plugin.families for card in zoo.list_models(family))
    print(json.dumps([sorted(plugin.families), cards, "torch" in sys.modules]))
    """
    assert isolated(dedent(code), python=python_of(site)) == [FAMILIES, CARDS, False]


def test_its_cards_load_by_name_and_sample(site: Path, isolated: Isolated) -> None:
    code = f"""
    import json, zoo
    made = [zoo.load(card).sample(4, seed=0).tensor for card in {CARDS}]
    sevens = zoo.load("cgan-mnist").sample(4, seed=0, label="7").tensor
    print(json.dumps([list(x.shape) for x in made] + [bool((sevens != made[0]).any())]))
    """
    assert isolated(dedent(code), python=python_of(site)) == [[4, 1, 28, 28]] * 4 + [True]


def test_its_cards_pass_verification(site: Path, isolated: Isolated) -> None:
    code = f"""
    import json, zoo
    checks = [(card, check.what, check.state, check.why) for card in {CARDS} for check in zoo.verify(card)]
    print(json.dumps(checks))
    """
    checks = isolated(dedent(code), python=python_of(site))
    assert not [check for check in checks if check[2] == "fail"]
    assert {(card, "pass") for card in CARDS} <= {(card, state) for card, what, state, _ in checks if what == "weights"}


def test_its_own_tests_and_the_laws_hold(site: Path, tmp_path: Path) -> None:
    """In a process of their own, on the installed package: not on the source tree."""
    tests = shutil.copytree(SOURCE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(SOURCE / "pyproject.toml", tmp_path)
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [python_of(site), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(tmp_path / "pyproject.toml")]
    done = subprocess.run([*words, str(tests)], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_uses_the_public_names_of_zoo_alone() -> None:
    """`import zoo`, and in its tests `zoo.testing`, which is made for them."""
    reached = {
        (path.name, line.strip())
        for path in SOURCE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith(("from zoo.", "import zoo.", "from zoo import"))
    }
    assert reached == {("test_laws.py", "from zoo.testing import check_family")}


def test_what_a_card_says_follows_from_its_recipe(site: Path, isolated: Isolated) -> None:
    """Its words, its package and its training are those of the recipe that ships with it."""
    code = """
    import json, zoo_classics
    recipes = [recipe for spec in zoo_classics.zoo_models() for recipe in spec.recipes]
    print(json.dumps([[r.name, r.summary, r.limits, r.data, r.train["steps"], r.train["batch_size"]] for r in recipes]))
    """
    for name, summary, limits, data, steps, batch_size in isolated(dedent(code), python=python_of(site)):
        folder = site / "zoo_classics" / "cards" / name
        facts, config = (json.loads((folder / file).read_text()) for file in ("evaluation.json", "config.json"))
        training = facts["training"]
        assert (facts["summary"], facts["limits"], config["package"]) == (summary, limits, "zoo-classics")
        assert (training["data"], training["steps"], training["batch_size"]) == (data, steps, batch_size)
        assert any(metric["name"] == "fd-judge-mnist" for metric in facts["metrics"])


def test_its_readme_says_what_was_measured() -> None:
    """The row of each card, from the card's own record."""
    text = (SOURCE / "README.md").read_text(encoding="utf-8")
    for card in CARDS:
        facts = json.loads((SOURCE / "zoo_classics" / "cards" / card / "evaluation.json").read_text(encoding="utf-8"))
        values = {metric["name"]: f"{metric['value']:.4g}" for metric in facts["metrics"]}
        training = facts["training"]
        cells = [f"{training['steps']:,}", f"{training['seconds'] / 60:.0f}", values["fd-judge-mnist"]]
        cells += [values["precision"], values["recall"], values.get("class_accuracy", "")]
        assert f"| [{card}](zoo_classics/cards/{card}) | {' | '.join(cells)} |" in text, card
