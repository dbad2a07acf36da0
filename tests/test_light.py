"""Weight follows use: listing touches no framework, loading and sampling nothing that only training needs."""

from pathlib import Path

import pytest
from conftest import Isolated

FOR_LOADING = ("torch", "numpy", "pydantic", "PIL", "safetensors")
FOR_TRAINING = (
    "torchvision",
    "timm",
    "datasets",
    "pandas",
    "pyarrow",
    "accelerate",
    "tensorboard",
    "torchmetrics",
    "typer",
    "rich",
    "jinja2",
    "huggingface_hub",
)
FRAMEWORKS = {"torch", "torchvision", "timm", "numpy", "safetensors"}
COMPILER = {"torch._dynamo", "sympy"}
"""Torch's own, which it imports when it is first needed: a cost like that of torch itself."""

LOADED = "import sys, json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


@pytest.mark.parametrize(
    "use",
    [
        "zoo.list_models()",
        "[zoo.ModelSpec, zoo.Recipe, zoo.Categorical, zoo.hookimpl, zoo.ZooError, dir(zoo)]",
        "from zoo.family.registry import registry; [registry().spec(name) for name in registry().specs]",
    ],
)
def test_listing_imports_no_framework(isolated: Isolated, use: str) -> None:
    loaded = isolated(f"import zoo; {use}; {LOADED}")
    assert not {*FOR_LOADING, *FOR_TRAINING} & set(loaded)


def test_listing_imports_plugins_but_none_of_their_models(isolated: Isolated) -> None:
    code = "import json, sys, zoo; zoo.list_models(); print(json.dumps([n for n in sys.modules if n[:4] == 'zoo_']))"
    loaded = isolated(code, ZOO_PLUGINS="builtin")
    assert "zoo_dcgan" in loaded
    assert not [name for name in loaded if "." in name]


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["list"],
        ["plugins"],
        ["sample", "--help"],
        ["info", "dcgan-celeba"],
        ["info", "infogan-mnist", "--json"],
        ["info", "stargan-celeba"],
    ],
    ids=" ".join,
)
def test_commands_that_only_tell_import_no_framework(isolated: Isolated, command: list[str]) -> None:
    """What a card takes stands in its config.json, so no network is built to say it."""
    code = f"""
import runpy, sys
sys.argv[1:] = {command!r}
try:
    runpy.run_module("zoo", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
{LOADED}"""
    assert not FRAMEWORKS & set(isolated(code))


def test_a_readme_is_rendered_without_a_framework(isolated: Isolated) -> None:
    code = "from zoo.card.facts import render; from zoo.hub.places import bundled"
    loaded = isolated(f"{code}; assert 'one of 0, 1' in render(bundled()['infogan-mnist']); {LOADED}")
    assert not FRAMEWORKS & set(loaded)


def test_loading_and_sampling_import_nothing_that_only_training_needs(isolated: Isolated, tiny_card: Path) -> None:
    code = f"""
import json, sys
import torch
at_first = set(sys.modules)
import zoo
model = zoo.load({str(tiny_card)!r}, device="cpu")
model.sample(2, seed=0).pil()
model.sample(1).grid()
print(json.dumps([sorted(at_first), sorted(sys.modules.keys() - at_first)]))
"""
    at_first, since = (set(names) for names in isolated(code))
    assert "zoo_dcgan.model" in since, "the card was really loaded"
    assert not {*FOR_TRAINING} & (at_first | since)
    assert not COMPILER & since


def test_making_a_model_does_not_wake_torchs_compiler(isolated: Isolated) -> None:
    """On the meta device, where every model is made once before memory is given to it, arithmetic in a constructor is
    enough: make masks and tables from lists, from numpy, or with `device="cpu"`. A judge and a backbone are made by
    timm, whose import wakes it."""
    code = """
import json, sys
import torch
from zoo.family.registry import registry
from zoo.card.weights import build

at_first, woken = set(sys.modules), {}
for name, spec in registry().specs.items():
    if name in ("judge", "backbone"):
        continue
    build(spec, dict(spec.tiny))
    woken[name] = sorted(sys.modules.keys() - at_first)
print(json.dumps(woken))
"""
    woken = isolated(code, ZOO_PLUGINS="builtin")
    assert "dcgan" in woken
    assert not {name: modules for name, modules in woken.items() if COMPILER & set(modules)}
