"""A name becomes a folder, a bundled card or a repository, in an order that can be read."""

import os
import re
import shutil
import ssl
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import HubError, InputError, NotFoundError
from zoo.family.registry import Registry
from zoo.hub import download
from zoo.hub import places as hub
from zoo.hub.client import translate
from zoo.hub.download import Snapshot

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tiny_card: Path) -> list[tuple[Any, ...]]:
    """What was asked of the Hub; everything that is asked for is there."""
    calls: list[tuple[Any, ...]] = []

    def fetch(repo: str, revision: str | None, **options: Any) -> Snapshot:
        calls.append((repo, revision))
        return Snapshot(repo, COMMIT, tiny_card)

    monkeypatch.setattr(download, "fetch", fetch)
    monkeypatch.delenv("ZOO_NAMESPACE", raising=False)
    return calls


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_card: Path) -> Path:
    """A working folder with two cards in it, one of them under a name that a bundled card has too."""
    for name in ("runs/mine", "dcgan-celeba"):
        shutil.copytree(tiny_card, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("runs/mine", "runs/mine"),
        ("./runs/mine", "runs/mine"),
        ("./dcgan-celeba", "dcgan-celeba"),
        (Path("dcgan-celeba"), "dcgan-celeba"),
    ],
)
def test_a_folder_that_is_there_goes_first(desk: Path, asked: list[Any], name: Any, folder: str) -> None:
    assert hub.locate(name).resolve() == desk / folder
    assert next(iter(hub.order(name))) == "1. folder: this one"
    assert not asked


def test_a_short_name_is_the_bundled_card_even_beside_a_folder_of_that_name(desk: Path, asked: list[Any]) -> None:
    assert hub.find("dcgan-celeba") == hub.Place(hub.bundled()["dcgan-celeba"])
    assert [*hub.order("dcgan-celeba")] == [
        "1. folder: none of that name",
        "2. bundled: this one",
        "3. Hub: not asked",
    ]
    assert not asked


@pytest.mark.parametrize(
    ("name", "options", "namespace", "question"),
    [
        ("org/faces", {}, "", ("org/faces", None)),
        ("org/faces@v1", {}, "", ("org/faces", "v1")),
        ("org/faces", {"revision": "v1"}, "", ("org/faces", "v1")),
        ("org/faces@v1", {"revision": "v1"}, "", ("org/faces", "v1")),
        ("org/faces@refs/pr/1", {}, "", ("org/faces", "refs/pr/1")),
        ("https://huggingface.co/org/faces", {}, "", ("org/faces", None)),
        ("https://huggingface.co/org/faces/tree/main", {}, "", ("org/faces", "main")),
        ("https://huggingface.co/org/faces/blob/v1/config.json?download=true", {}, "", ("org/faces", "v1")),
        ("https://huggingface.co/org/faces/tree/refs%2Fpr%2F1", {}, "", ("org/faces", "refs/pr/1")),
        ("https://huggingface.co/org/faces/@v1", {}, "", ("org/faces", "v1")),
        ("http://hf.co/org/faces", {}, "", ("org/faces", None)),
        ("huggingface.co/org/faces", {}, "", ("org/faces", None)),
        ("faces", {}, "us", ("us/faces", None)),
        ("dcgan-celeba@v2", {}, "us", ("us/dcgan-celeba", "v2")),
        ("dcgan-celeba", {"revision": "v2"}, "us", ("us/dcgan-celeba", "v2")),
    ],
)
def test_the_rest_is_asked_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, asked: list[Any], name: str, options: Any, namespace: str, question: Any
) -> None:
    monkeypatch.setenv("ZOO_NAMESPACE", namespace)
    place = hub.find(name, **options)
    assert asked == [question]
    assert (place.repo, place.commit) == (question[0], COMMIT)
    if not options:
        repo, revision = question
        assert [*hub.order(name)][2] == f"3. Hub: {repo} at {revision or 'main'}"


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("dcgan-celba", NotFoundError, "Did you mean 'dcgan-celeba'"),
        ("dcgan-celeba@v1", NotFoundError, "ZOO_NAMESPACE"),
        ("./nowhere", NotFoundError, "no folder nowhere"),
        ("a/b/c", NotFoundError, "no folder a/b/c"),
        ("", NotFoundError, "no card ''"),
        ("https://huggingface.co/datasets/org/faces", InputError, "is not the page of a model on the Hub"),
        ("https://huggingface.co/org", InputError, "is not the page of a model on the Hub"),
        ("https://example.org/org/faces", InputError, "is not the page of a model on the Hub"),
        ("https://huggingface.co/org/faces/tree/v1@v2", InputError, "two revisions, 'v1' and 'v2'"),
    ],
)
def test_what_nobody_could_know_is_said_without_asking(
    asked: list[Any], name: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        hub.find(name)
    assert not asked


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            ImportError("Using SOCKS proxy, but the 'socksio' package is not installed."),
            "(?s)ImportError: Using SOCKS proxy, but the 'socksio'.*pip install 'httpx.socks.'",
        ),
        (FileNotFoundError(2, "No such file or directory"), "(?s)No such file or directory.*SSL_CERT_FILE"),
        (ssl.SSLCertVerificationError("certificate verify failed"), "(?s)certificate verify failed.*SSL_CERT_FILE"),
        (
            ConnectionError("Name or service not known\nmore"),
            "ConnectionError: Name or service not known\n  Check the n",
        ),
    ],
)
def test_a_hub_that_cannot_be_reached_is_reported_with_the_cause(error: Exception, says: str) -> None:
    assert re.search(says, str(translate(error, "org/faces", "main")))


def test_a_program_in_an_archive_says_where_cards_can_be_read(tmp_path: Path) -> None:
    """zoo imported from a zip file: nothing is listed as bundled, and both the list and the error say why."""
    package = Path(hub.__file__).parents[2]
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        for file in (package / "zoo").rglob("*.py"):
            archive.write(file, file.relative_to(package))
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "app.zip"), "ZOO_PLUGINS": "builtin"}
    for words in (["list"], ["info", "dcgan-celba"]):
        command = [sys.executable, "-m", "zoo", *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert "zoo is in an archive here, and cards are read from folders only" in done.stderr


def test_a_program_without_metadata_says_how_to_put_them_in() -> None:
    with pytest.raises(NotFoundError, match=r"lacks the metadata of genzoo.*--copy-metadata genzoo"):
        Registry([]).spec("dcgan")


def test_two_revisions_are_one_too_many(asked: list[Any]) -> None:
    with pytest.raises(InputError, match="two revisions, 'v1' and 'v2'"):
        hub.find("org/faces@v1", revision="v2")


@pytest.mark.parametrize(
    "name",
    ["org/..", "../org/x@", "org/na me", "org/x--y", "-org/x", "org/x@../main", "org/x@a//b", "org/x@", "org/x@-f"],
)
def test_names_that_could_lead_out_of_the_cache_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the client is so much as imported; a bare @ is no revision and asks for the default one."""
    monkeypatch.setattr(download, "_kept", lambda *_: pytest.fail("got through"))
    monkeypatch.setattr(download, "_fetched", lambda *_: pytest.fail("got through"))
    if name == "org/x@":
        with pytest.raises(pytest.fail.Exception):
            hub.find(name)
        return
    with pytest.raises((InputError, NotFoundError)):
        hub.find(name)


def test_a_repository_that_cannot_be_had_may_have_been_meant_as_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any, **__: Any) -> Snapshot:
        raise HubError("the Hub is away", "Wait.")

    monkeypatch.setattr(download, "fetch", fetch)
    with pytest.raises(HubError, match="no folder runs/mine, and the Hub is away\n  Wait"):
        hub.find("runs/mine")


def test_the_commit_goes_along_with_the_model_and_its_samples(asked: list[Any]) -> None:
    import zoo

    model = zoo.load("org/faces", device="cpu")
    assert model.place == hub.Place(model.place.folder, "org/faces", COMMIT)
    info = model.sample(1, seed=0).info
    assert (info["repository"], info["commit"]) == ("org/faces", COMMIT)
