"""Plugins are loaded one by one under guard. Here real ones, good and bad, are installed by pip into a folder."""

import json
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Isolated

import zoo
from zoo.family.registry import Registry
from zoo.family.spec import check_spec

BUILTIN = ("dcgan",)

HOOK = """
import zoo

def spec(name, card=None, **changes):
    values = dict(
        name=name, title=name, summary="a test", paper="https://example.org", task="unconditional-image-generation",
        module="{package}.model:Net", train="{package}.model:train", capabilities=("sample",), batch="images",
        tiny={{}},
    )
    if card:
        values["recipes"] = (zoo.Recipe(card, "a test", "nobody/nothing", zoo.Preparation(size=16)),)
    return zoo.ModelSpec(**values | changes)

@zoo.hookimpl
def zoo_models():
    return {returned}
"""

MODEL = """
import torch
import zoo

class Net(torch.nn.Module):
    class Config(zoo.Config):
        size: int = 16

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.shade = torch.nn.Parameter(torch.rand(3, 1, 1))

    def sample(self, noise):
        return self.shade.expand(len(noise), 3, self.config.size, self.config.size)

def train(model, batches, run, *, steps=1):
    pass
"""


def hook(package: str, returned: str) -> str:
    return HOOK.format(package=package, returned=returned)


ODD = """
class Odd(zoo.ModelSpec):
    def __getattribute__(self, name):
        return {fault} if name == "tiny" else super().__getattribute__(name)
"""


def odd(package: str, fault: str) -> str:
    """A plugin whose spec has a field that cannot be read."""
    return hook(package, "[Odd(**vars(spec('odd')))]") + ODD.format(fault=fault)


# Entry point, which is also the distribution's name -> source of its package's __init__.py, reason it must be given.
BAD: dict[str, tuple[str, str]] = {
    "raises": ("raise RuntimeError('no luck today')", "RuntimeError: no luck today"),
    "exits": ("import sys\nsys.exit('leaving')", "SystemExit: leaving"),
    "lacks": ("import a_package_nobody_has", "ModuleNotFoundError: No module named 'a_package_nobody_has'"),
    "broken-syntax": ("def (", "SyntaxError: "),
    "recursive": ("def f(): return f()\nf()", "RecursionError: "),
    "unspeakable": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "Odd: (its message cannot be shown)",
    ),
    "misspelt": ("import zoo\n@zoo.hookimpl\ndef zoo_modles(): return []", "unknown hook 'zoo_modles'"),
    # Pluggy sees the unknown hook, then refuses the known one half-way through registering.
    "half-registered": (
        "import zoo\n@zoo.hookimpl\ndef a_hook(): return []\n@zoo.hookimpl\ndef zoo_models(extra): return []",
        "PluginValidationError: ",
    ),
    "hookless": ("def zoo_models(): return []", "implements no hook; mark zoo_models() with @zoo.hookimpl"),
    "wrong-api": (hook("wrong_api", "[spec('wrong-api', card='wrong-api-x', api=2)]"), "was written for API version 2"),
    "family-thief": (hook("family_thief", "[spec('loot'), spec('dcgan')]"), "family 'dcgan' is taken by genzoo"),
    "card-thief": (
        hook("card_thief", "[spec('card-thief', 'dcgan-celeba')]"),
        "card 'dcgan-celeba' is taken by genzoo",
    ),
    "twins": (hook("twins", "[spec('twin'), spec('twin')]"), "family 'twin' is taken by the same plugin"),
    "card-twins": (
        hook("card_twins", "[spec('one', 'same'), spec('two', 'same')]"),
        "card 'same' is taken by the same",
    ),
    "rubbish": (hook("rubbish", "['dcgan', 5]"), "must return ModelSpec objects, found str"),
    "bare": (hook("bare", "spec('bare')"), "must return a list of ModelSpec objects, found ModelSpec"),
    "number": (hook("number", "[spec('number', recipes=5)]"), "recipes must be a tuple of Recipe, found 5"),
    "empty": (hook("empty", "[]"), "returned no ModelSpec"),
    "nothing": (hook("nothing", "None"), "returned no ModelSpec"),
    "hook-raises": (hook("hook_raises", "1 / 0"), "ZeroDivisionError: division by zero"),
    "no-interrupt": ("raise KeyboardInterrupt", "it raised KeyboardInterrupt, though nobody pressed Ctrl-C"),
    "mute": (
        "class Odd(BaseException):\n    def __str__(self): raise SystemExit(4)\nraise Odd",
        "Odd: (its message cannot be shown)",
    ),
    "field-raises": (odd("field_raises", "1 / 0"), "its field tiny cannot be read: ZeroDivisionError"),
    "field-exits": (odd("field_exits", "exit(3)"), "SystemExit: 3"),
    "odd-value": (hook("odd_value", "[spec('x', tiny={'a': object()})]"), "made of plain values, and object is none"),
    "pathless": (hook("pathless", "[spec('pathless')]") + "import sys\nsys.path.clear()", "folders out of sys.path"),
    "new-path": ("import sys\nsys.path = None\nimport a_package_nobody_has", "TypeError: "),
    "closes-stdout": (
        hook("closes_stdout", "[spec('closes-stdout')]") + "import sys\nsys.stdout.close()",
        "it closed stdout or stderr",
    ),
    "closes-both": (
        hook("closes_both", "[spec('closes-both')]") + "import sys\nsys.__stdout__.close()\nsys.stderr.close()",
        "it closed stdout or stderr",
    ),
    "closes-files": (
        hook("closes_files", "[spec('closes-files')]") + "import os\nos.close(1)\nos.close(2)",
        "it closed stdout or stderr",
    ),
}
GOOD = hook("good", "[spec('good', card='good-shade')]")
# Two honest plugins that chose one name: who wins must not depend on what the disk lists first.
RIVAL = "[spec('rival')]"
# Imports that fail come to light only when the family is used.
DANGLING = "[spec('dangling', card='dangling-x', module='dangling.nowhere:Net', train='dangling.model:absent')]"


def wheel(folder: Path, name: str, files: Mapping[str, str]) -> Path:
    """A distribution `name` 1.0 with one package and one entry point, both called like it."""
    package = name.replace("-", "_")
    info = f"{package}-1.0.dist-info"
    contents = {f"{package}/{file}": text for file, text in files.items()} | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[zoo]\n{name} = {package}\n",
    }
    record = "".join(f"{file},,\n" for file in [*contents, f"{info}/RECORD"])
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in (contents | {f"{info}/RECORD": record}).items():
            archive.writestr(file, text)
    return path


def path_with(site: Path) -> str:
    """A PYTHONPATH of this process with one more folder."""
    return os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])


def install(wheels: list[Path], target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", "--root-user-action", "ignore", "--target", target, *wheels],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every bad plugin, the good one, and the rivals, installed by pip."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    made = [wheel(wheels, name, {"__init__.py": source}) for name, (source, _) in BAD.items()]
    made.append(wheel(wheels, "good", {"__init__.py": GOOD, "model.py": MODEL}))
    made.append(wheel(wheels, "dangling", {"__init__.py": hook("dangling", DANGLING), "model.py": MODEL}))
    made += [wheel(wheels, name, {"__init__.py": hook(name, RIVAL)}) for name in ("aardvark", "zebra")]
    install(made, target)
    return target


REPORT = """
import json, os, sys
import zoo
from zoo.hub.places import locate
from zoo.family.registry import registry

def complaint(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

found = registry()
names = sys.argv[1].split()
print(json.dumps({
    "families": sorted(found.specs),
    "models": zoo.list_models(),
    "plugins": {p.name: vars(p) | {"cause": type(p.cause).__name__} for p in found.plugins},
    "spec": {name: complaint(found.spec, name) for name in names},
    "recipe": {name: complaint(found.recipe, name) for name in names},
    "load": {name: complaint(locate, name) for name in names},
    "list": {name: complaint(zoo.list_models, name) for name in names},
    "rival": found.provider("rival").distribution if "rival" in found.specs else None,
    "torch": "torch" in sys.modules,
}))
"""
WORDS = [
    *BAD,
    "dcgan",
    "good",
    "good-shade",
    "dangling",
    "loot",
    "wrong-api-x",
    "same",
    "goood-shade",
    "dgcan",
    "xyzzy",
]


@pytest.fixture(scope="module")
def report(site: Path, isolated: Isolated) -> Any:
    return isolated(REPORT, " ".join(WORDS), path=site)


def test_every_good_family_lists_beside_all_bad_plugins(report: Any) -> None:
    assert {"good", "dangling", "rival", *BUILTIN} <= set(report["families"])
    assert not {"loot", "twin", "one", "two", "card-thief", "wrong-api", "bare", "number"} & set(report["families"])
    assert not report["torch"]
    for family in BUILTIN:
        assert report["plugins"][family]["error"] is None
        assert report["plugins"][family]["distribution"] == "genzoo"


def test_bad_plugins_take_no_model_off_the_list(report: Any) -> None:
    assert set(report["models"]) == set(zoo.list_models())


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plugin_is_recorded_with_its_reason(report: Any, name: str) -> None:
    plugin = report["plugins"][name]
    assert BAD[name][1] in plugin["error"]
    assert plugin["families"] == []
    assert (plugin["distribution"], plugin["version"], plugin["module"]) == (name, "1.0", name.replace("-", "_"))
    assert plugin["seconds"] > 0


@pytest.mark.parametrize("name", BAD)
def test_using_a_bad_plugin_raises_what_whose_why_and_the_next_command(report: Any, name: str) -> None:
    for way in ("spec", "recipe", "load", "list"):
        complaint = report[way][name]
        assert complaint.startswith("PluginError: ")
        for part in (name, f"of {name} 1.0 ", BAD[name][1], f"pip uninstall {name}", "'zoo plugins'"):
            assert part in complaint, way


def test_what_a_plugin_claimed_before_it_was_set_aside_leads_to_its_reason(report: Any) -> None:
    assert "family 'dcgan' is taken by genzoo" in report["spec"]["loot"]
    assert "was written for API version 2" in report["recipe"]["wrong-api-x"]
    assert "was written for API version 2" in report["load"]["wrong-api-x"]
    assert "card 'same' is taken" in report["load"]["same"]


def test_a_taken_name_stays_with_the_one_who_has_it(report: Any) -> None:
    assert report["spec"]["dcgan"] is None
    assert report["plugins"]["dcgan"]["families"] == ["dcgan"]


def test_a_good_third_party_plugin_has_what_a_built_in_one_has(report: Any) -> None:
    assert report["plugins"]["good"]["families"] == ["good"]
    assert report["spec"]["good"] is report["recipe"]["good-shade"] is report["list"]["good"] is None


def test_a_card_without_weights_tells_how_to_make_them(report: Any) -> None:
    assert report["load"]["good-shade"].startswith("NotFoundError: ")
    assert "zoo train good-shade --out" in report["load"]["good-shade"]


def test_unknown_names_get_suggestions_and_hear_of_plugins_set_aside(report: Any) -> None:
    assert "Did you mean 'good-shade'" in report["recipe"]["goood-shade"]
    assert "Did you mean 'dcgan'" in report["spec"]["dgcan"]
    for way in ("spec", "recipe", "load", "list"):
        assert report[way]["xyzzy"].startswith("NotFoundError: ")
    assert "raises" in report["spec"]["xyzzy"]
    assert "'zoo plugins' tells why" in report["spec"]["xyzzy"]


def test_good_families_build_and_sample_beside_all_bad_plugins(site: Path, isolated: Isolated) -> None:
    shapes, complaint = isolated(
        """
import json
import zoo
from zoo.noise import Noise
from zoo.family.registry import registry
from zoo.card.weights import build
shapes = {}
for name in ("dcgan", "good"):
    spec = registry().spec(name)
    shapes[name] = list(build(spec, dict(spec.tiny)).eval().sample(Noise(0, 0, 2)).shape)
try:
    build(registry().spec("dangling"), {})
except zoo.PluginError as error:
    complaint = str(error)
print(json.dumps([shapes, complaint]))
""",
        path=site,
    )
    assert shapes == {"dcgan": [2, 3, 16, 16], "good": [2, 3, 16, 16]}
    for part in ("'dangling.nowhere:Net'", "of dangling 1.0", "No module named 'dangling.nowhere'", "pip uninstall"):
        assert part in complaint


@pytest.mark.parametrize(
    ("words", "let_in", "left_out"),
    [
        ("builtin", "genzoo", "good dangling raises"),
        ("genzoo", "genzoo", "good dangling raises"),
        ("good", "good", "genzoo dangling raises"),
        ("builtin, good", "genzoo good", "dangling raises"),
        ("-good,-raises", "genzoo dangling", "good raises"),
        ("all,-genzoo", "good dangling", "genzoo"),
        ("good,-good", "", "good genzoo"),
        ("", "", "good genzoo raises"),
    ],
)
def test_plugins_can_be_let_in_or_left_out(
    site: Path, isolated: Isolated, words: str, let_in: str, left_out: str
) -> None:
    """By distribution or entry point, without importing what is left out."""
    report = isolated(REPORT, "good raises dcgan", path=site, ZOO_PLUGINS=words)
    plugins = report["plugins"].values()
    assert {*let_in.split()} <= {plugin["distribution"] for plugin in plugins if not plugin["error"]}
    said = {plugin["error"] for plugin in plugins if plugin["distribution"] in left_out.split()}
    assert said == {f"left out by ZOO_PLUGINS={words.replace(' ', '')}"}
    if "good" in left_out:
        assert "left out by ZOO_PLUGINS" in report["spec"]["good"]
        assert "Unset ZOO_PLUGINS" in report["spec"]["good"]


def test_letting_in_what_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.family.registry import registry

    monkeypatch.setenv("ZOO_PLUGINS", "buitin")
    with pytest.raises(zoo.InputError, match="no plugin 'buitin' is installed\n  Did you mean 'builtin'"):
        registry.__wrapped__()
    monkeypatch.setenv("ZOO_PLUGINS", "-nowhere")
    assert "dcgan" in registry.__wrapped__().specs


def test_order_on_disk_does_not_decide_who_wins(tmp_path: Path, isolated: Isolated) -> None:
    folders = {}
    for name in ("aardvark", "zebra"):
        folders[name] = tmp_path / name
        install(
            [wheel(tmp_path, name, {"__init__.py": hook(name, "[spec('rival'), spec('own-' + __name__)]")})],
            folders[name],
        )
    for order in (("aardvark", "zebra"), ("zebra", "aardvark")):
        path = Path(os.pathsep.join(str(folders[name]) for name in order))
        report = isolated(REPORT, "own-zebra", path=path)
        assert report["rival"] == "aardvark"
        assert "family 'rival' is taken by aardvark" in report["spec"]["own-zebra"]


def test_metadata_that_cannot_be_read_hides_nobody(tmp_path: Path, isolated: Isolated) -> None:
    """Half-removed and half-written distributions, as a crash or a full disk leaves them."""
    install([wheel(tmp_path, "good", {"__init__.py": GOOD})], tmp_path / "site")
    garbled = tmp_path / "site" / "garbled-1.0.dist-info"
    garbled.mkdir()
    (garbled / "entry_points.txt").write_text("[zoo]\nno equals sign here\n")
    for name, metadata in (("nameless", b""), ("unreadable", b"Name: \xff\xfe")):
        folder = tmp_path / "site" / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_bytes(metadata)
        (folder / "entry_points.txt").write_text(f"[zoo]\n{name} = a_package_nobody_has\n")
    report = isolated(REPORT, "good nameless unreadable", path=tmp_path / "site")
    assert {"good", *BUILTIN} <= set(report["families"])
    for name in ("nameless", "unreadable"):
        assert "of unknown 0 was set aside: ModuleNotFoundError" in report["spec"][name]


def test_an_interrupt_is_not_taken_for_a_bad_plugin(tmp_path: Path) -> None:
    pressed = "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    while True: pass\n"
    source = pressed + "except BaseException: exit(3)"
    install([wheel(tmp_path, "slow", {"__init__.py": source})], tmp_path / "site")
    code = textwrap.dedent("""
        import sys
        from zoo.family.registry import registry
        try:
            registry()
        except KeyboardInterrupt as error:
            assert "plugin slow of slow 1.0 was loading" in str(error)
            sys.exit(registry.cache_info().currsize + 42)
    """)
    environment = os.environ | {"PYTHONPATH": path_with(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], check=False, env=environment, timeout=120)
    assert done.returncode == 42, "it reaches the caller, and no half-filled registry is kept"


NOISY = """
import os, sys
print("print")
sys.stdout.write("write")
os.write(1, b"file")
os.system("echo program")
kept = sys.stdout
"""


def test_a_plugin_that_prints_spoils_no_json(tmp_path: Path) -> None:
    """What it says goes to stderr, later too; the plugin loads."""
    later = NOISY + hook("noisy", "[spec('noisy')]").replace("    return", "    print('hook')\n    return")
    install([wheel(tmp_path, "noisy", {"__init__.py": later})], tmp_path / "site")
    code = """
import json, sys
from zoo.cli.parser import app
from zoo.family.registry import registry
app(["plugins", "--json"], standalone_mode=False)
import noisy
noisy.kept.write("afterwards\\n")
"""
    environment = os.environ | {"PYTHONPATH": path_with(tmp_path / "site")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, env=environment, timeout=120, capture_output=True, text=True)
    assert {entry["state"] for entry in json.loads(done.stdout) if entry["plugin"] == "noisy"} == {"loaded"}
    for word in ("print", "write", "file", "program", "hook", "afterwards"):
        assert word in done.stderr


def test_built_in_families_come_through_the_same_door() -> None:
    from importlib.metadata import entry_points

    names = {point.name for point in entry_points(group="zoo")}
    assert set(BUILTIN) <= names
    assert Registry([]).specs == {}, "without entry points the core knows no family"


def test_every_installed_spec_keeps_the_contract() -> None:
    from zoo.family.registry import registry

    for name, spec in registry().specs.items():
        check_spec(spec)
        assert registry().spec(name) is spec
        for recipe in spec.recipes:
            assert registry().recipe(recipe.name) == (spec, recipe)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "Two Words"}, "name must be lower-case"),
        ({"name": None}, "name must be a text"),
        ({"title": ""}, "title must be a text that is not empty"),
        ({"task": "poetry"}, "task 'poetry' is none of"),
        ({"batch": "sacks"}, "batch 'sacks' is none of"),
        ({"capabilities": ()}, "declares no capability"),
        ({"capabilities": "sample"}, "capabilities must be a tuple of str"),
        ({"capabilities": ("fly",)}, "capability 'fly' is none of"),
        ({"module": "zoo_dcgan.model.DCGAN"}, "is no import string"),
        ({"module": "os:system('true')"}, "is no import string"),
        ({"tiny": 5}, "tiny must be a mapping"),
        ({"filters": {"edges": "no colon"}}, "is no import string"),
        ({"recipes": (zoo.Recipe("BAD", "", "", zoo.Preparation(size=8)),)}, "recipe name 'BAD'"),
        ({"recipes": (zoo.Recipe("a", "", "", zoo.Preparation(size=8)),) * 2}, "two recipes share a name"),
        ({"recipes": (zoo.Recipe("a", "", "", zoo.Preparation(size=8, filter="x")),)}, "unknown filter 'x'"),
    ],
)
def test_a_spec_that_breaks_the_contract_is_refused_with_the_field(changes: dict[str, Any], reason: str) -> None:
    import dataclasses

    from zoo.family.registry import registry

    with pytest.raises(zoo.PluginError, match=reason):
        check_spec(dataclasses.replace(registry().spec("dcgan"), **changes))
