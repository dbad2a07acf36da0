"""torch.hub users get the same models, from a clone that nobody installed."""

import shutil
from pathlib import Path

import pytest
from conftest import Isolated

from zoo.hub.places import bundled

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What torch.hub unpacks, with two of its cards."""
    for part in ("zoo", "plugins"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("hubconf.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for card in ("dcgan-celeba", "vae-mnist"):
        shutil.copytree(bundled()[card], tmp_path / "cards" / card)
    return tmp_path


def test_torch_hub_lists_and_loads_the_cards_of_a_clone(clone: Path, isolated: Isolated) -> None:
    code = """
import json, sys
import torch
clone = sys.argv[1]
model = torch.hub.load(clone, "dcgan_celeba", source="local", device="cpu")
sys.path.insert(0, clone)
import hubconf
names = [name for name in dir(hubconf) if callable(getattr(hubconf, name)) and not name.startswith("_")]
words = hubconf.vae_mnist.__doc__
import zoo, zoo_dcgan
from zoo.family.registry import registry
print(json.dumps({
    "names": names, "words": words, "repr": repr(model), "zoo": zoo.__file__, "plugin": zoo_dcgan.__file__,
    "version": registry().provider("dcgan").version, "mean": float(model.sample(2, seed=0).tensor.mean()),
    "aside": [plugin.name for plugin in registry().plugins if plugin.error],
}))
"""
    found = isolated(code, str(clone), ZOO_PLUGINS="builtin")
    assert {"dcgan_celeba", "vae_mnist", "load"} == set(found["names"])
    assert "vae-mnist" in found["words"]
    assert found["repr"].startswith("<zoo.Model dcgan-celeba")
    assert found["zoo"].startswith(str(clone))
    assert found["plugin"].startswith(str(clone))
    assert (found["version"], found["aside"]) == ("0", [])

    import zoo

    assert found["mean"] == pytest.approx(float(zoo.load("dcgan-celeba", device="cpu").sample(2, seed=0).tensor.mean()))
