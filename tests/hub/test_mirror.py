"""Cards through a mirror of the Hub that none of us wrote: olah, between the client and our own server.

Optional: run where `olah-cli` is in PATH (pip install olah, best in an environment of its own) or named by ZOO_OLAH.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hubs import REPO, connect, contents
from huggingface_hub import constants
from loopback_hub import LoopbackHub

import zoo
from zoo.hub.download import fetch

OLAH = os.environ.get("ZOO_OLAH") or shutil.which("olah-cli")
pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.skipif(OLAH is None, reason="olah-cli is not installed"),
]


@pytest.fixture
def mirrored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_card: Path) -> Iterator[LoopbackHub]:
    """Our server, which the client sees through the mirror alone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with LoopbackHub() as hub:
        hub.put(REPO, contents(tiny_card) | {"samples.png": b"picture" * 1000, "README.md": b"# Tiny\n"})
        place = hub.endpoint.removeprefix("http://")
        command = [str(OLAH), "--host", "127.0.0.1", "--port", str(port), "--metadata-cache-ttl", "0"]
        command += ["--hf-scheme", "http", "--hf-netloc", place, "--hf-lfs-netloc", place]
        command += ["--mirror-scheme", "http", "--mirror-netloc", f"127.0.0.1:{port}"]
        command += ["--mirror-lfs-netloc", f"127.0.0.1:{port}"]
        command += ["--repos-path", str(tmp_path / "mirror"), "--log-path", str(tmp_path / "logs")]
        with (tmp_path / "olah.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
        try:
            _wait(port, process)
            connect(monkeypatch, hub, tmp_path / "cache")
            monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
            yield hub
        finally:
            process.kill()
            process.wait()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        assert process.poll() is None, "the mirror did not start"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the mirror does not listen")


def test_a_card_comes_whole_through_a_mirror(mirrored: LoopbackHub, tiny_card: Path) -> None:
    model = zoo.load(REPO, device="cpu")
    assert model.place is not None
    assert model.place.commit == mirrored.commits(REPO)[0]
    assert contents(model.place.folder) == mirrored.files(REPO)
    assert (model.sample(2, seed=0).tensor == zoo.load(tiny_card, device="cpu").sample(2, seed=0).tensor).all()


def test_a_push_is_seen_through_a_mirror(mirrored: LoopbackHub) -> None:
    fetch(REPO)
    commit = mirrored.put(REPO, mirrored.files(REPO) | {"README.md": b"# Later\n"})
    found = fetch(REPO)
    assert found.commit == commit
    assert contents(found.folder)["README.md"] == b"# Later\n"
