"""What tests of the Hub share: a client that talks to a hub on this machine, and a card to put there."""

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from loopback_hub import LoopbackHub

REPO = "org/dcgan-tiny"


def connect(monkeypatch: pytest.MonkeyPatch, hub: LoopbackHub, cache: Path, token: str | None = None) -> None:
    """Let this process's client see that hub, with a cache of its own, as a user's environment would."""
    for name, value in {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    huggingface_hub.close_session()


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a card's folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder, to see that nothing was written there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
