"""Every snippet of the README and of the docs runs; every command and hook has its place in them."""

import ast
import inspect
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hubs import connect, contents
from loopback_hub import LoopbackHub
from PIL import Image
from typer.testing import CliRunner

from zoo.cli.parser import app
from zoo.family.registry import registry
from zoo.family.spec import ModelSpec
from zoo.hub.places import bundled

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]*)\")?\n(?P<code>.*?)^```$", re.M | re.S)
SHORT = " --steps 2 --batch-size 4 --image-size 16 --set width=4 --set precision=float32"
"""A training command in the docs runs its whole recipe; a test runs two steps of a small one."""


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    code: str


def blocks(page: Path) -> list[Block]:
    return [Block(m["language"], m["title"] or "", m["code"]) for m in BLOCK.finditer(page.read_text(encoding="utf-8"))]


@pytest.fixture
def desk(tmp_path: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the snippets take for granted: photos, a photo, a drawing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(faces)
    Image.radial_gradient("L").convert("RGB").save("photo.jpg")
    Image.linear_gradient("L").convert("RGB").save("drawing.png")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path, desk: Path) -> None:
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if block.language == "python" and not block.title:
            exec(compile(block.code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_zoo_commands_of_a_page_run(page: Path, desk: Path) -> None:
    for line in commands(page, title=""):
        words = line + SHORT if line.startswith("zoo train ") else line
        done = CliRunner().invoke(app, shlex.split(words, comments=True)[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}"


@pytest.mark.enable_socket
@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")  # the Hub's client's own
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_does_on_the_hub_works_on_one_of_our_own(
    page: Path, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a card that was trained before, one that somebody published, and the keys that openssl would have made."""
    wanted = [block for block in blocks(page) if block.title in ("with the network", "with a key")]
    if not wanted:
        return
    card = bundled()["dcgan-celeba"]
    for run in ("mine", "ppca"):
        shutil.copytree(card, desk / "runs" / run)
    _make_keys(desk)
    with LoopbackHub() as hub:
        connect(monkeypatch, hub, desk / "cache", token="hf_write")
        hub.tokens["hf_write"] = "YOUR-NAME"
        hub.tag("YOUR-NAME/dcgan-celeba", "v1", hub.put("YOUR-NAME/dcgan-celeba", contents(card)))
        namespace: dict[str, object] = {"__name__": "page"}
        for block in wanted:
            if block.language == "python":
                exec(compile(block.code, str(page), "exec"), namespace)
            for line in block.code.splitlines() if block.language == "sh" else []:
                if line.startswith("zoo "):
                    words = shlex.split(line, comments=True)[1:] + (["--yes"] if "publish" in line else [])
                    done = CliRunner().invoke(app, words)
                    assert done.exit_code == 0, f"{line}\n{done.output}"


def _make_keys(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem, pkcs8, none = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "private.pem").write_bytes(key.private_bytes(pem, pkcs8, none))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)


def commands(page: Path, title: str) -> list[str]:
    code = "".join(block.code for block in blocks(page) if block.language == "sh" and block.title == title)
    return [line for line in code.splitlines() if line.startswith("zoo ")]


def test_the_family_of_the_tutorial_obeys_the_laws(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written as the page says, installed as an installer would, then used."""
    page, site = ROOT / "docs" / "add-a-family.md", desk / "site"
    files = {block.title: block.code for block in blocks(page)}
    for name in [title for title in files if title.startswith("zoo_ppca/")]:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(files[name])
    info = site / "zoo_ppca-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-ppca\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[zoo]\nppca = zoo_ppca\n")
    monkeypatch.setenv("PYTHONPATH", str(site))

    # In processes of their own, which find the new package as any other.
    laws = ["-c", files["tests/test_ppca.py"] + "\ntest_ppca_obeys_the_laws()"]
    lines = [["-m", "zoo", *shlex.split(line)[1:]] for line in commands(page, title="after installing")]
    for words in [laws, *lines]:
        done = subprocess.run([sys.executable, *words], cwd=desk, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    assert (desk / "ppca.png").is_file()


def test_every_command_stands_in_the_reference() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    for command in app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        assert f"`zoo {name}" in text, name


def test_every_family_and_card_stands_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for family in our_families():
        assert f"docs/families/{family.name}.md" in text
    for card in bundled():
        assert f"(cards/{card})" in text


SECTIONS = [
    "What it is",
    "Use it",
    "How it learns",
    "What the log shows",
    "Departures from the paper",
    "Figures",
    "What did not help",
    "Read more",
]
"""Of each family's page, in this order: who has read one knows where to look in the next."""


def our_families() -> list[ModelSpec]:
    """Those whose plugins are in this repository."""
    plugins = [plugin for plugin in registry().plugins if plugin.distribution == "genzoo"]
    return [registry().spec(family) for plugin in plugins for family in plugin.families]


@pytest.mark.parametrize("family", our_families(), ids=lambda spec: spec.name)
def test_the_page_of_a_family_has_the_sections_of_all(family: ModelSpec) -> None:
    assert re.findall(r"^## (.+)$", family_page(family), re.M) == SECTIONS


@pytest.mark.parametrize("family", our_families(), ids=lambda spec: spec.name)
def test_the_page_of_a_family_explains_every_number_that_its_loop_logs(family: ModelSpec) -> None:
    _, _, section = family_page(family).partition("## What the log shows\n")
    section, _, _ = section.partition("\n## ")
    explained = [name for row in re.findall(r"^\| (`[^|]*`) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(explained) == sorted(logged(family))


def family_page(family: ModelSpec) -> str:
    return (ROOT / "docs" / "families" / f"{family.name}.md").read_text(encoding="utf-8")


def logged(family: ModelSpec) -> set[str]:
    """Names that stand in calls of `run.log` in the family's loop, also in branches that a short run never takes."""
    module, _, function = family.train.partition(":")
    loop = ast.parse(dedent(inspect.getsource(getattr(import_module(module), function))))
    calls = [node for node in ast.walk(loop) if isinstance(node, ast.Call) and ast.unparse(node.func) == "run.log"]
    names = {keyword.arg for call in calls for keyword in call.keywords}
    assert names, f"{family.train} logs nothing that can be read here"
    assert None not in names, f"{family.train} logs names that cannot be read here: write them out"
    return {str(name) for name in names}


def test_programs_find_every_page_of_the_site_as_markdown(tmp_path: Path) -> None:
    """The site is built without its looks: what is tested is the hook that writes for programs."""
    pytest.importorskip("mkdocs", reason="comes with the extra docs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    plain = {"plugins": [], "hooks": [str(ROOT / "docs" / "hooks" / "machines.py")], "theme": {"name": "mkdocs"}}
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), **plain)
    build(config)
    lines = (tmp_path / "llms.txt").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == [f"# {config.site_name}", "", f"> {config.site_description}"]
    listed = dict(re.findall(r"^- \[.+?\]\((.+?)\): (\S.*)$", "\n".join(lines), re.M))
    assert sorted(listed) == sorted(nav_pages(config.nav))
    for place in listed:
        text = (tmp_path / place).read_text(encoding="utf-8")
        assert re.search(r"^# ", text, re.M), place
        assert "\n::: " not in text, place


def nav_pages(items: list[Any]) -> list[str]:
    """The sources of the menu's pages."""
    values = [value for item in items for value in item.values()]
    return [page for value in values for page in (nav_pages(value) if isinstance(value, list) else [value])]


def test_links_to_files_lead_somewhere() -> None:
    for page in {*PAGES, *ROOT.glob("*.md")}:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            # The gallery's pages and pictures are made of the cards while the site is built.
            made = ROOT / "cards" / target.removeprefix("gallery/") if target.startswith("gallery/") else None
            assert (page.parent / target).exists() or (made and made.exists()), f"{page.name}: {target}"


def test_every_public_name_is_documented() -> None:
    import zoo

    text = (ROOT / "docs" / "api.md").read_text() + (ROOT / "docs" / "add-a-family.md").read_text()
    errors = {name for name in zoo.__all__ if name.endswith("Error")}
    for name in set(zoo.__all__) - errors - {"__version__"}:
        assert re.search(rf"\b{name}\b", text), name


def test_the_citation_and_the_changelog_know_this_version() -> None:
    import zoo

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == zoo.__version__
    assert citation["license"] == project()["license"]
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert headings[:2] == ["Unreleased", zoo.__version__]


def test_the_workflow_runs_the_check_and_the_tests_on_the_oldest_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    whole, tests = workflow["jobs"]["all"], workflow["jobs"]["tests"]
    assert "bash .ci/run" in runs(whole)
    assert runs(tests) == ['pip install -e ".[test]"', "pytest"]
    oldest = project()["requires-python"].removeprefix(">=")
    assert tests["strategy"]["matrix"]["python"][0] == oldest
    assert oldest in [step.get("with", {}).get("python-version") for step in whole["steps"]]


def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def runs(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]
