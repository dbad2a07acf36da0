"""Shared fixtures. No test reaches for the network, or for a data set that is not made on the spot."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before any library reads them: the Hub stays out, and caches go where they are swept away, not into the user's.
HOME = tempfile.mkdtemp(prefix="zoo-tests-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(HF_HOME=HOME, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
os.environ["ZOO_CACHE"] = str(Path(HOME) / "zoo")

import pytest  # noqa: E402  (the environment comes first)

Isolated = Callable[..., Any]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tiny models are faster on one thread, and parallel workers do not fight for cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _same_precision_everywhere() -> Iterator[None]:
    """What a test sees must not hang on how fast this machine's processor is in bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.devices.slowdown", lambda device, precision: 1.0)
        yield


@pytest.fixture(scope="session")
def isolated() -> Isolated:
    """Run code in a fresh process of a Python and return the JSON it prints last; `path` is its PYTHONPATH."""

    def run(
        code: str, *arguments: str, path: Path | None = None, python: str = sys.executable, **environment: str
    ) -> Any:
        env = os.environ | {"PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"} | environment
        if path is not None:
            env["PYTHONPATH"] = str(path)
        command = [python, "-c", code, *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A command of `zoo` in this process, in an empty folder; returns typer's result."""
    from typer.testing import CliRunner

    from zoo.cli.parser import app

    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="session")
def _tiny_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from zoo.card import facts as cards
    from zoo.card import weights
    from zoo.card.config import CardConfig
    from zoo.family.conditions import declared
    from zoo.family.registry import registry
    from zoo.family.spec import Preparation

    folder = tmp_path_factory.mktemp("cards") / "dcgan-tiny"
    folder.mkdir()
    spec = registry().spec("dcgan")
    module = weights.build(spec, dict(spec.tiny))
    cards.write_config(
        folder,
        CardConfig(
            name="dcgan-tiny",
            family="dcgan",
            config=module.config.model_dump(mode="json"),
            preparation=Preparation(size=16),
            conditions=declared(module),
            weights=weights.save_weights(module, folder),
        ),
    )
    return folder


@pytest.fixture
def tiny_card(_tiny_card: Path, tmp_path: Path) -> Path:
    """A card with an untrained 16x16 DCGAN: config.json and model.safetensors. A fresh copy, free to break."""
    return Path(shutil.copytree(_tiny_card, tmp_path / "dcgan-tiny"))


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 48 PNG images, 72x88: a drawn face each, other colours and places. Copy it before changing it."""
    import numpy as np
    from PIL import Image, ImageDraw

    folder = tmp_path_factory.mktemp("faces")
    draws = np.random.default_rng(0)
    for i in range(48):
        wall, skin, hair = (tuple(int(value) for value in draws.integers(40, 240, 3)) for _ in range(3))
        x, y, r = draws.integers(30, 42), draws.integers(40, 50), draws.integers(16, 22)
        picture = Image.new("RGB", (72, 88), wall)
        pen = ImageDraw.Draw(picture)
        pen.ellipse((x - r - 3, y - 1.5 * r, x + r + 3, y + r), fill=hair)
        pen.ellipse((x - r, y - r, x + r, y + 1.3 * r), fill=skin)
        for side in (-1, 1):
            pen.ellipse((x + side * r / 2 - 3, y - 4, x + side * r / 2 + 3, y + 2), fill=(20, 20, 20))
        pen.arc((x - r / 2, y + r / 4, x + r / 2, y + r), 20, 160, fill=(120, 20, 30), width=2)
        picture.save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder of real data sets, which a developer may have and the suite does not need."""
    if "ZOO_DATA" not in os.environ:
        pytest.skip("ZOO_DATA names no folder of data sets")
    return Path(os.environ["ZOO_DATA"])
