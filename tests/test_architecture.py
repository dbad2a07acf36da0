"""The house's directions, read from the import statements of every file; and what the repository holds.

`python tests/test_architecture.py` prints how many rooms, floors and arrows there are.
"""

import ast
import builtins
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import zoo

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "zoo").rglob("*.py"))
FAMILIES = sorted((ROOT / "plugins").glob("zoo_*/*.py"))

# A room, which is a folder or a file of zoo/, imports only from floors below its own, in its functions too.
FLOORS = (
    {"_version", "errors"},
    {"values", "telling"},
    {"files", "devices", "extras", "latents", "noise", "schedules", "losses", "init", "distances"},
    {"family"},
    {"images", "card"},
    {"data", "hub", "scaffold"},
    {"export"},
    {"loading"},
    {"calling"},
    {"model"},
    {"training"},
    {"evaluation", "testing"},
    {"importing", "publishing", "pytest_plugin", "demo"},
    {"zoo"},  # the public surface; only the command line stands on it
    {"cli"},
    {"__main__"},
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
# In a folder a file imports only from those that stand before it.
INSIDE = {
    "family": ("conditions", "config", "fields", "converter", "spec", "hookspecs", "guard", "registry"),
    "card": ("names", "config", "made", "weights", "facts"),
    "data": (
        "cache",
        "tree",
        "tables",
        "decode",
        "labels",
        "described",
        "pairs",
        "layout",
        "opening",
        "columns",
        "source",
        "batches",
        "held",
    ),
    "images": ("structure", "tiff", "boxes", "write", "batch", "stream", "read", "prepare"),
    "hub": ("client", "signing", "download", "upload", "places"),
    "scaffold": ("package",),
    "export": ("draws", "graph", "engine", "examples", "folder"),
    "training": (
        "pictures",
        "average",
        "checkpoints",
        "best",
        "log",
        "processes",
        "progress",
        "stopping",
        "threads",
        "run",
        "rounding",
        "plan",
        "claims",
        "finetune",
        "fitting",
        "result",
        "measuring",
        "recipes",
        "budget",
    ),
    "evaluation": (
        "cost",
        "features",
        "bench",
        "measures",
        "neighbours",
        "splits",
        "figures",
        "report",
        "checks",
        "verification",
    ),
    "testing": ("case", "waits", "law", "declarations", "inference", "learning", "probability", "__init__"),
    "cli": (
        "terminal",
        "given",
        "inputs",
        "outputs",
        "cards",
        "sample",
        "jobs",
        "pictures",
        "families",
        "train",
        "figures",
        "export",
        "publish",
        "importing",
        "demo",
        "parser",
    ),
}
# What `zoo.list_models()` and a misspelt name must not wait for: neither torch nor pydantic is imported there.
LIGHT = {
    ROOT / "zoo" / name
    for name in (
        "__init__.py",
        "_version.py",
        "errors.py",
        "extras.py",
        "values.py",
        "card/names.py",
        "family/conditions.py",
        "family/converter.py",
        "family/spec.py",
        "family/hookspecs.py",
        "family/guard.py",
        "family/registry.py",
        "hub/places.py",
    )
}

LONGEST = 350
"""Lines that a file may have, so that it is read in one sitting."""
LOADERS_OF_CODE = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
RUNNERS_OF_CODE = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "torch.jit.load",
    "torch.hub",
    "torch.package",
    "importlib.import_module",
}
OPTIONS = {"trust_remote_code", "allow_pickle", "weights_only"}
# What only these files do: turn a name into a module, for installed plugins and for the lazy public names; and read a
# checkpoint of others, as tensors alone.
ALLOWED = {
    ROOT / "zoo" / "family" / "registry.py": {"importlib.import_module"},
    ROOT / "zoo" / "__init__.py": {"importlib.import_module"},
    ROOT / "zoo" / "importing.py": {"torch.load", "weights_only"},
}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room(path: Path) -> str:
    """The folder in zoo/ that a file stands in, or the file itself."""
    first = path.relative_to(ROOT / "zoo").parts[0].removesuffix(".py")
    return "zoo" if first == "__init__" else first


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def walk(node: ast.AST, functions: bool = True, types: bool = True) -> Iterator[ast.AST]:
    """All nodes, without what stands in functions or under TYPE_CHECKING where that is not asked for."""
    yield node
    for child in ast.iter_child_nodes(node):
        skipped = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not functions
        if not skipped and (types or not for_types_only(child)):
            yield from walk(child, functions, types)


def imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Dotted names of what is imported: `from a.b import c` gives a.b.c."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(nodes: Iterator[ast.AST]) -> set[str]:
    """The rooms of the core that are imported; `zoo` itself for a name of the public surface."""
    return {room(path) for path in files(nodes)}


def files(nodes: Iterator[ast.AST]) -> set[Path]:
    """The files of the core that are imported; `zoo/__init__.py` for a name of the public surface."""
    return {path for name in imports(nodes) for path in [file_of(name)] if path is not None}


def file_of(name: str) -> Path | None:
    """The deepest file that a dotted name leads to: zoo.card.facts.Metric is in zoo/card/facts.py."""
    parts = name.split(".")
    if parts[0] != "zoo":
        return None
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def packages(nodes: Iterator[ast.AST]) -> set[str]:
    return {name.partition(".")[0] for name in imports(nodes)}


def faults(module: ast.Module) -> list[str]:
    """Every way in this file to turn data into running code."""
    known = {name: name for name in dir(builtins)}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            known |= {
                alias.asname or root(alias.name): alias.name if alias.asname else root(alias.name)
                for alias in node.names
            }
        if isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    found = [name for name in imports(ast.walk(module)) if forbidden(name)]
    for node in ast.walk(module):
        if isinstance(node, ast.Name | ast.Attribute) and forbidden(dotted(node, known)):
            found.append(dotted(node, known))
        if isinstance(node, ast.keyword) and node.arg in OPTIONS:
            found.append(str(node.arg))
        if isinstance(node, ast.Constant) and node.value in OPTIONS:
            found.append(str(node.value))
    return found


def root(name: str) -> str:
    return name.partition(".")[0]


def dotted(node: ast.AST, known: dict[str, str]) -> str:
    """`np.load` as numpy.load, given what np was imported as; empty for anything but names joined by dots."""
    if isinstance(node, ast.Name):
        return known.get(node.id, "")
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, known)
        return f"{before}.{node.attr}" if before else ""
    return ""


def forbidden(name: str) -> bool:
    name = name.removeprefix("builtins.")
    return root(name) in LOADERS_OF_CODE or any(name == bad or name.startswith(bad + ".") for bad in RUNNERS_OF_CODE)


def test_every_room_has_one_floor() -> None:
    listed = [name for names in FLOORS for name in names]
    assert len(listed) == len(set(listed))
    assert {room(path) for path in CORE} == set(listed)


def test_the_page_on_design_draws_these_floors() -> None:
    """From the roof down, as the page shows it."""
    drawn = "\n".join("  ".join(sorted(names)) for names in reversed(FLOORS))
    assert f"<!-- floors -->\n```\n{drawn}\n```" in (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def test_every_file_of_a_folder_has_its_place() -> None:
    folders = {path.parent for path in CORE if path.parent != ROOT / "zoo" and "new_family" not in path.parts}
    assert {folder.name for folder in folders} == set(INSIDE)
    for folder in folders:
        assert {path.stem for path in folder.glob("*.py")} | {"__init__"} == {*INSIDE[folder.name], "__init__"}


@pytest.mark.parametrize("path", [path for path in CORE if room(path) != "zoo"], ids=label)
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    imported = rooms(ast.walk(tree(path))) - {room(path)}
    assert not {name for name in imported if FLOOR[name] >= FLOOR[room(path)]}


@pytest.mark.parametrize("path", [path for path in CORE if path.parent != ROOT / "zoo"], ids=label)
def test_a_file_imports_only_from_those_before_it_in_its_folder(path: Path) -> None:
    order = [*INSIDE.get(path.parent.name, ()), path.stem]
    before = order[: order.index(path.stem)]
    imported = {file.stem for file in files(ast.walk(tree(path))) if file.parent == path.parent}
    assert imported <= set(before)


def test_no_file_is_longer_than_one_sitting() -> None:
    lengths = {label(path): len(path.read_text(encoding="utf-8").splitlines()) for path in CORE + FAMILIES}
    assert not {name for name, length in lengths.items() if length > LONGEST}


def test_the_tests_of_a_room_are_where_its_name_says() -> None:
    """tests/card/ for zoo/card/, tests/test_noise.py for zoo/noise.py, plugins/test_vae.py for plugins/zoo_vae/."""
    tests = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    stems = {folder: {path.stem for path in tests if path.parts[0] == folder} for folder in (*INSIDE, "plugins")}
    assert all(stems.values()), "each folder of zoo/ has its folder of tests"
    assert {path.parts[0] for path in tests if len(path.parts) > 1} == {*stems, "browser"}
    assert {path.stem.removeprefix("test_") for path in tests if len(path.parts) == 1} <= {*FLOOR, *WHOLE_HOUSE}
    assert stems["plugins"] == {f"test_{path.parent.name.removeprefix('zoo_')}" for path in FAMILIES}


# Tests that look at more than one room.
WHOLE_HOUSE = {"architecture", "classics", "docs", "hubconf", "light", "wheels"}
FACES = {ROOT / "zoo" / "__init__.py", ROOT / "zoo" / "testing" / "__init__.py"}


@pytest.mark.parametrize("path", [p for p in CORE if p.name == "__init__.py" and p not in FACES], ids=label)
def test_a_folder_says_what_it_is_for_and_no_more(path: Path) -> None:
    module = tree(path)
    assert ast.get_docstring(module)
    assert len(module.body) == 1


@pytest.mark.parametrize("path", CORE, ids=label)
def test_the_core_knows_no_family(path: Path) -> None:
    assert not {name for name in packages(ast.walk(tree(path))) if name.startswith("zoo_")}


@pytest.mark.parametrize("path", sorted(LIGHT), ids=label)
def test_the_light_rooms_import_only_the_standard_library_and_pluggy(path: Path) -> None:
    nodes = list(walk(tree(path), functions=False, types=False))
    assert packages(iter(nodes)) <= sys.stdlib_module_names | {"pluggy", "zoo"}
    assert {path for path in files(iter(nodes)) if path.name != "__init__.py"} <= LIGHT


def test_the_lazy_public_names_are_those_the_type_checker_sees() -> None:
    seen = [node for node in ast.walk(tree(ROOT / "zoo" / "__init__.py")) if for_types_only(node)]
    promised = {name.rpartition(".")[::2] for node in seen for name in imports(ast.walk(node))}
    assert promised == {(module, name) for name, module in zoo.LAZY.items()}


@pytest.mark.parametrize("name", zoo.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(zoo, name) is not None
    assert name in dir(zoo)


def test_every_lazy_name_is_public_and_an_unknown_one_is_an_attribute_error() -> None:
    assert set(zoo.LAZY) <= set(zoo.__all__)
    with pytest.raises(AttributeError, match="lod"):
        zoo.lod  # noqa: B018


@pytest.mark.parametrize("path", FAMILIES, ids=label)
def test_a_family_imports_no_other_family(path: Path) -> None:
    others = {name for name in packages(ast.walk(tree(path))) if name.startswith("zoo_")} - {path.parent.name}
    assert not others


@pytest.mark.parametrize("package", sorted({path.parent for path in FAMILIES}), ids=lambda package: package.name)
def test_the_modules_of_a_family_import_each_other_in_no_circle(package: Path) -> None:
    """Imports that are for types alone count: who needs another's types knows the other."""
    assert not circle({path.stem: own_imports(path) for path in package.glob("*.py")})


def own_imports(path: Path) -> set[str]:
    """The modules beside it, by name, that a module of a family imports."""
    names = [name.split(".") for name in imports(ast.walk(tree(path)))]
    return {parts[1] for parts in names if parts[0] == path.parent.name and len(parts) > 1}


def circle(leads: Mapping[str, set[str]]) -> list[str]:
    """Those that lead to each other in a circle, or to such; `leads` names those that each one leads to."""
    left = dict(leads)
    while ends := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in ends:
            del left[name]
    return sorted(left)


def test_a_circle_is_seen() -> None:
    assert circle({"train": {"model"}, "model": {"sampler"}, "sampler": set()}) == []
    assert circle({"train": {"model"}, "model": {"sampler"}, "sampler": {"model"}}) == ["model", "sampler", "train"]


@pytest.mark.parametrize("path", FAMILIES, ids=label)
def test_a_family_uses_only_public_names_of_the_core(path: Path) -> None:
    module = tree(path)
    assert rooms(ast.walk(module)) <= {"zoo"}
    assert "zoo" not in {root(name) for name in imports(ast.walk(module)) if name != "zoo"}, "use `import zoo`"
    attributes = [node for node in ast.walk(module) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "zoo"}
    assert used <= set(zoo.__all__)


@pytest.mark.parametrize("path", [path for path in FAMILIES if path.name == "__init__.py"], ids=label)
def test_what_a_family_declares_needs_only_zoo_and_the_standard_library(path: Path) -> None:
    assert packages(ast.walk(tree(path))) <= sys.stdlib_module_names | {"zoo"}


@pytest.mark.parametrize("path", CORE + FAMILIES, ids=label)
def test_nothing_turns_data_into_code(path: Path) -> None:
    assert set(faults(tree(path))) <= ALLOWED.get(path, set())


@pytest.mark.parametrize("path", CORE + FAMILIES, ids=label)
def test_a_checkpoint_is_read_as_tensors_alone(path: Path) -> None:
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    for call in [call for call in calls if ast.unparse(call.func) == "torch.load"]:
        assert {word.arg: ast.unparse(word.value) for word in call.keywords}["weights_only"] == "True"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import dill as d",
        "import yaml; yaml.load(text)",
        "eval(text)",
        "exec(text)",
        "run = eval",
        "compile(text, '', 'exec')",
        "import builtins; builtins.exec(text)",
        "__import__(name)",
        "import torch; torch.load(path)",
        "import torch as t; t.load(path)",
        "from torch import load as safe; safe(path)",
        "import torch; torch.hub.load(name)",
        "import importlib; importlib.import_module(name)",
        "from importlib import import_module",
        "import numpy as np; np.load(path, allow_pickle=True)",
        "load(name, trust_remote_code=True)",
        "load(name, **{'trust_remote_code': True})",
    ],
)
def test_the_gate_sees(source: str) -> None:
    assert faults(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import safetensors.torch; safetensors.torch.load(data)",
        "import safetensors.torch, torch; safetensors.torch.load(data)",
        "import torch; torch.compile(module); module.eval()",
        "import re; re.compile('x')",
        "import zoo; zoo.load('x')",
        "import json; json.load(file)",
    ],
)
def test_the_gate_lets_pass(source: str) -> None:
    assert not faults(ast.parse(source))


COMPILED = {".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib"}


def compiled(names: list[str]) -> list[str]:
    """Those of the paths that a compiler or an interpreter made, and that can differ from the source beside them."""
    return [name for name in names if Path(name).suffix in COMPILED or "__pycache__" in Path(name).parts]


def test_no_compiled_file_is_tracked() -> None:
    """`git add --force` passes over .gitignore, so the ignore rule alone does not keep such files out."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone: there is no .git beside the source")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    names = listed.stdout.split("\0")
    assert "pyproject.toml" in names
    assert not compiled(names)


@pytest.mark.parametrize("name", ["zoo/a.pyc", "zoo/__pycache__/a.cpython-311.pyc", "zoo/__pycache__/note", "zoo/a.so"])
def test_a_compiled_file_is_seen(name: str) -> None:
    assert compiled(["zoo/a.py", name]) == [name]


if __name__ == "__main__":
    arrows = {(room(path), name) for path in CORE for name in rooms(ast.walk(tree(path))) if name != room(path)}
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in CORE)
    print(f"{len(FLOOR)} rooms on {len(FLOORS)} floors, {len(arrows)} arrows, {len(CORE)} files, {lines:,} lines")
