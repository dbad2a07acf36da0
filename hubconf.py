"""zoo by way of torch.hub: torch.hub.load("YOUR-NAME/zoo", "dcgan_celeba").sample(16, seed=0).

torch.hub gives a clone, not an installation. What an installer would have written down, the families' entry points, is
written here into a temporary folder, from pyproject.toml. Every public callable of this file is an entry point.
"""

import atexit
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable as _Callable
from pathlib import Path as _Path
from typing import Any as _Any

dependencies = ["jinja2", "numpy", "PIL", "pluggy", "pydantic", "safetensors", "torch"]

_CLONE = _Path(__file__).resolve().parent


def _install() -> None:
    """Make the clone look installed to this process."""
    project = tomllib.loads((_CLONE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    site = _Path(tempfile.mkdtemp(prefix="zoo-hub-"))
    atexit.register(shutil.rmtree, site, ignore_errors=True)
    info = site / f"{project['name']}-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n")
    lines = [f"{name} = {module}" for name, module in project["entry-points"]["zoo"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[zoo]", *lines, ""]))
    sys.path[:0] = [str(_CLONE), str(_CLONE / "plugins"), str(site)]


def _card(name: str) -> _Callable[..., _Any]:
    def entry(**options: _Any) -> _Any:
        return load(name, **options)

    entry.__doc__ = f"The card {name}, as `zoo.load({name!r}, **options)` gives it."
    return entry


_install()

from zoo import load  # noqa: E402  (found in the clone)
from zoo.hub.places import bundled as _bundled  # noqa: E402

globals().update({name.replace("-", "_"): _card(name) for name in _bundled()})
