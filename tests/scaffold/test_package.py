"""`zoo new`: the package it writes is complete and keeps every promise; what it cannot write, it refuses whole."""

import ast
import builtins
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from zoo import files
from zoo.errors import InputError, PluginError, ZooError
from zoo.scaffold import package as scaffold
from zoo.scaffold.package import Answers, answers, new, questions

PLAIN = answers("my-model", {})
AWKWARD = Answers(
    name="tensor",  # whose class would be torch's
    title="L'été {{ name }} #1: 'a' & <b> %s",
    summary="what's new: {braces}, 'quotes', a #, a |, a $HOME",
    author="Zoë O'Neil, 李明",
    data="faces.v2",
    image_size=16,
    license="apache-2.0",
)
LONGEST = Answers(
    name="m" * 40,
    title="T" * 40,
    summary="s" * 64,
    author="a" * 60,
    data="your-name/" + "d" * 20,
    image_size=128,
    license="bsd-3-clause",
)
PACKAGES = {"plain": PLAIN, "awkward": AWKWARD, "longest": LONGEST}

USE = """
import json, shlex, sys
import pytest
from pathlib import Path
from typer.testing import CliRunner
from zoo.cli.parser import app

package, lines = Path(sys.argv[1]), json.loads(sys.argv[2])
assert pytest.main(["-q", "-p", "no:cacheprovider", str(package / "tests")]) == 0
for line in lines:
    done = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
    print(line, done.output, sep="\\n")
    assert done.exit_code == 0, line
"""


def fences(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


def commands(package: Path) -> list[str]:
    """What the README of a written package tells to type, in its order."""
    readme = (package / "README.md").read_text(encoding="utf-8")
    return [line for block in fences(readme, "sh") for line in block.splitlines()]


def install(package: Path, site: Path) -> dict[str, str]:
    """Put a package on the path as an installer would, by what its pyproject.toml says; the environment that has it."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))
    facts, (module,) = project["project"], project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    info = site / f"{module}-{facts['version']}.dist-info"
    info.mkdir(parents=True)
    (site / module).symlink_to(package / module)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {facts['name']}\nVersion: {facts['version']}\n")
    points = "".join(f"{name} = {target}\n" for name, target in facts["entry-points"]["zoo"].items())
    (info / "entry_points.txt").write_text(f"[zoo]\n{points}")
    return os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}


def run(words: list[str], cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("given", PACKAGES.values(), ids=PACKAGES)
def test_a_package_is_complete_and_says_what_was_answered(given: Answers, tmp_path: Path) -> None:
    package = tmp_path / "deep" / "package"
    written = new(package, given)
    names = {str(path.relative_to(package)) for path in written}
    module, test = given.module, f"tests/test_{given.words}.py"
    code = {f"{module}/{name}.py" for name in ("__init__", "model", "train")}
    words = {"README.md", "LICENSE", "pyproject.toml", ".gitignore", ".github/workflows/test.yml"}
    assert names == {*code, *words, test}
    for name in {*code, test}:
        compile((package / name).read_text(encoding="utf-8"), name, "exec")

    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == f"zoo-{given.name}"
    assert project["authors"] == [{"name": given.author}]
    assert project["entry-points"] == {"zoo": {given.name: given.module}}
    assert project["dependencies"] == ["genzoo"]
    assert given.title in (package / "README.md").read_text(encoding="utf-8")
    licence = (package / "LICENSE").read_text(encoding="utf-8")
    head = {"mit": "MIT License", "apache-2.0": "Apache License", "bsd-3-clause": "BSD 3-Clause License"}
    assert licence.strip().startswith(head[given.license])
    assert given.license == "apache-2.0" or given.author in licence


def test_every_template_is_used_by_some_package() -> None:
    folder = Path(scaffold.__file__).parent / "new_family"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == {*scaffold.TEMPLATES.values(), *(f"licenses/{name}.txt" for name in scaffold.LICENSES)}


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is not installed")
@pytest.mark.parametrize("given", PACKAGES.values(), ids=PACKAGES)
def test_a_package_is_as_tidy_as_ruff_wants_it(given: Answers, tmp_path: Path) -> None:
    new(tmp_path / "package", given)
    ruff, env = [sys.executable, "-m", "ruff"], os.environ | {"RUFF_NO_CACHE": "true"}
    run([*ruff, "check", "--extend-select", "E,W", "."], tmp_path / "package", env)
    run([*ruff, "format", "--check", "."], tmp_path / "package", env)


def test_the_workflow_does_what_the_readme_says(tmp_path: Path) -> None:
    new(tmp_path / "package", PLAIN)
    workflow = yaml.safe_load((tmp_path / "package" / ".github" / "workflows" / "test.yml").read_text())
    job = workflow["jobs"]["test"]
    steps = [step["run"] for step in job["steps"] if "run" in step]
    told = "\n".join(commands(tmp_path / "package"))
    assert {"pytest", 'pip install -e ".[test]"', "ruff check .", "ruff format --check ."} == set(steps)
    assert all(step in told for step in steps)
    pythons = [step["with"]["python-version"] for step in job["steps"] if "with" in step]
    assert pythons == ["${{ matrix.python }}"]
    assert "3.11" in job["strategy"]["matrix"]["python"]  # the oldest that the package says it runs on


@pytest.mark.parametrize(("given", "ships"), [(PLAIN, True), (AWKWARD, False)], ids=["plain", "awkward"])
def test_a_package_works_as_its_readme_says(given: Answers, ships: bool, tmp_path: Path, faces: Path) -> None:
    """Its own tests, with all laws, then every command of zoo, in a process that finds it as an installed package."""
    package = tmp_path / "package"
    new(package, given)
    env = install(package, tmp_path / "site")
    (package / given.data.rpartition("/")[2]).symlink_to(faces)
    told = [line for line in commands(package) if "zoo publish" not in line]
    split = next(i for i, line in enumerate(told) if line.startswith("mkdir"))
    lines = [line + " --steps 20" * line.startswith("zoo train") for line in told[:split] if line.startswith("zoo")]
    assert [line.split()[1] for line in lines] == ["list", "train", "sample", "info", "verify"]
    out = run([sys.executable, "-c", USE, str(package), json.dumps(lines)], package, env)
    assert given.recipe in out
    assert (package / "samples.png").is_file()

    card = (package / "runs" / given.name / "README.md").read_text(encoding="utf-8")
    for words in (
        f"# {given.recipe}",
        f"license: {given.license}",
        f"43 images of {given.data}",
        "## Limits\n\n- A toy",
        f"Trained on {given.data}; its own terms apply.",
        f"Licence of the weights: {given.license}.",
        given.summary,
        given.title,
    ):
        assert words in card
    assert card.count("\n- ") >= 2

    if ships:  # with the package, as the README goes on: it loads by its name
        for line in told[split:-1]:
            run(["bash", "-c", line], package, env)
        run([sys.executable, "-m", *shlex.split(told[-1])], package, env)
        assert (package / "bundled.png").read_bytes() == (package / "samples.png").read_bytes()


def test_the_python_of_the_readme_speaks_of_the_trained_card(tmp_path: Path) -> None:
    new(tmp_path / "package", PLAIN)
    (code,) = fences((tmp_path / "package" / "README.md").read_text(), "python")
    compile(code, "README.md", "exec")
    trained = next(line for line in commands(tmp_path / "package") if line.startswith("zoo train"))
    assert f'zoo.load("./{shlex.split(trained)[-1]}")' in code


@pytest.mark.parametrize(
    ("name", "kind", "what", "hint"),
    [
        ("My Model", InputError, "lower-case words", "zoo new my-model"),
        ("MyModel", InputError, "lower-case words", "zoo new my-model"),
        ("", InputError, "lower-case words", "zoo new"),
        ("7up", InputError, "lower-case words", "zoo new up"),
        ("../up", InputError, "lower-case words", "zoo new up"),
        ("a\nb", InputError, "lower-case words", "zoo new a-b"),
        ("é", InputError, "lower-case words", "zoo new my-model"),
        ("m" * 41, InputError, "at most 40", "zoo new " + "m" * 40),
        ("lambda", InputError, "reserved word", "zoo new lambda-model"),
        ("all", InputError, "ZOO_PLUGINS", "zoo new"),
        ("json", InputError, "standard library", "zoo new json-model"),
        ("vae", PluginError, "taken by genzoo", "zoo plugins"),
        ("vae-mnist", PluginError, "taken by genzoo", "zoo plugins"),
        ("here-already", InputError, "zoo_here_already", "zoo new here-already-model"),
    ],
)
def test_a_name_that_will_not_do_is_refused_before_anything_is_asked_or_written(
    name: str, kind: type[ZooError], what: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "zoo_here_already.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "site")
    attempts: list[Callable[[], Any]] = [
        lambda: questions(name),
        lambda: answers(name, {}),
        lambda: new(tmp_path / "package", replace(PLAIN, name=name)),
    ]
    for attempt in attempts:
        with pytest.raises(kind) as caught:
            attempt()
        assert what in caught.value.message
        assert repr(name) in caught.value.message
        assert hint in (caught.value.hint or "")
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("name", ["none", "exception", "field", "annotated", "multivariate-normal", "my-model", "x2-y"])
def test_the_class_hides_nothing_that_the_code_around_it_uses(name: str, tmp_path: Path) -> None:
    given = replace(PLAIN, name=name)
    new(tmp_path / "package", given)
    used = {"None", *dir(builtins)}
    for path in (tmp_path / "package").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module != f"{given.module}.model"
        ]
        used |= {alias.name for node in nodes for alias in node.names}
    assert given.kind.isidentifier()
    assert given.kind not in used


def test_every_suggested_name_is_a_name() -> None:
    for bad in ("My Model", "", "7up", "é", "--", "A" * 50, "x--y-", "a" * 39 + "-b", "GANGan2"):
        suggested = scaffold._suggestion(bad)
        assert scaffold.NAME.fullmatch(suggested), suggested
        assert len(suggested) <= 40


@pytest.mark.parametrize(
    ("change", "what", "hint"),
    [
        ({"title": ""}, "title must be", "--title"),
        ({"title": "t" * 41}, "1 to 40", "--title"),
        ({"summary": "two\nlines"}, "summary must be", "--summary"),
        ({"summary": 'a "quoted" word'}, "summary must not contain", "--summary"),
        ({"author": "back\\slash"}, "author must not contain", "--author"),
        ({"data": "/home/me/photos"}, "data must be a name", "--data"),
        ({"data": "a/b/c"}, "data must be a name", "--data"),
        ({"data": "photos; rm"}, "data must be a name", "--data"),
        ({"data": "d" * 40}, "cannot name a card", "--data"),
        ({"image_size": 3}, "4 to 128", "--image-size 4"),
        ({"image_size": 1000}, "4 to 128", "--image-size 128"),
        ({"license": "gpl-3.0"}, "none of mit", "--license mit or"),
    ],
)
def test_an_answer_that_will_not_do_is_refused(change: dict[str, Any], what: str, hint: str, tmp_path: Path) -> None:
    given = replace(PLAIN, name="m" * 30, **change)
    with pytest.raises(InputError) as caught:
        new(tmp_path / "package", given)
    assert what in caught.value.message
    assert hint in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_a_card_that_somebody_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scaffold.registry()
    monkeypatch.setitem(found.recipes, "my-model-photos", found.recipes["vae-mnist"])
    with pytest.raises(PluginError, match="card 'my-model-photos' is taken by genzoo"):
        new(tmp_path / "package", PLAIN)


def test_a_folder_that_holds_anything_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name, what in (("file", "is there already"), ("full", "is there already"), ("link", "is there already")):
        with pytest.raises(InputError, match=what) as caught:
            new(tmp_path / name, PLAIN)
        assert "--out FOLDER" in (caught.value.hint or "")
    with pytest.raises(InputError, match="the folder you are in"):
        new(Path(), PLAIN)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "here", "link", "mine"]
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "mine").read_text() == "mine"


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    assert (tmp_path / "package" / "README.md") in new(tmp_path / "package", PLAIN)


def test_a_folder_that_fills_up_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = files.fsync

    def flush_and_fill(path: Path) -> None:
        flush(path)
        (tmp_path / "package").mkdir(exist_ok=True)
        (tmp_path / "package" / "mine").write_text("mine")

    monkeypatch.setattr(files, "fsync", flush_and_fill)
    with pytest.raises(InputError, match="is there already"):
        new(tmp_path / "package", PLAIN)
    assert [path.name for path in tmp_path.rglob("*")] == ["package", "mine"]


@pytest.mark.parametrize("error", [OSError(28, "no space left on device"), KeyboardInterrupt()], ids=["disk", "ctrl-c"])
def test_a_cut_while_writing_leaves_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, left = files.fsync, iter(range(9))

    def fail_late(path: Path) -> None:
        if next(left) == 8:
            raise error
        flush(path)

    monkeypatch.setattr(files, "fsync", fail_late)
    with pytest.raises(type(error)):
        new(tmp_path / "package", PLAIN)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_while_writing_leaves_no_half_package(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from zoo import files; from zoo.scaffold import package as scaffold\n"
        "files.fsync = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        "scaffold.new(Path(sys.argv[1]), scaffold.answers('my-model', {}))"
    )
    package = tmp_path / "package"
    done = subprocess.run([sys.executable, "-c", code, str(package)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not package.exists()
    assert len(new(package, PLAIN)) == 9


def test_the_questions_cover_the_answers_and_their_defaults_will_do(tmp_path: Path) -> None:
    asked = {question.field: question for question in questions("my-model")}
    assert {"name", *asked} == set(Answers.__dataclass_fields__)
    assert all(question.default in question.choices for question in asked.values() if question.choices)
    given = answers("my-model", {"title": None, "license": "apache-2.0"})
    assert (given.title, given.license) == (asked["title"].default, "apache-2.0")
    assert new(tmp_path / "package", given)


def test_asking_and_writing_import_no_torch(isolated: Callable[..., Any], tmp_path: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path; from zoo.scaffold import package as scaffold\n"
        "scaffold.new(Path(sys.argv[1]), scaffold.answers('my-model', {}))\n"
        "print(json.dumps([name for name in ('torch', 'pydantic') if name in sys.modules]))"
    )
    assert isolated(code, str(tmp_path / "package")) == []
