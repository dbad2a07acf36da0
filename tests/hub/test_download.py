"""Cards come from the Hub whole, right, of one commit, and into the cache alone, whatever happens on the way."""

import errno
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from hubs import REPO, connect, contents, everything
from huggingface_hub import constants
from loopback_hub import Fault, LoopbackHub, Request, environment

import zoo
from zoo.card.names import LIMITS
from zoo.errors import ConfigError, FormatError, HubError, InputError, NotFoundError, StaleWarning, ZooError
from zoo.hub import client, download
from zoo.hub.download import fetch

pytestmark = pytest.mark.enable_socket

PICTURE = b"\x89PNG picture" * 100
README = b"---\nlicense: mit\n---\n# A card\n"
RESOLVE = f"/api/models/{REPO}/revision/main"


@pytest.fixture
def card(tiny_card: Path) -> dict[str, bytes]:
    return contents(tiny_card) | {"README.md": README, "samples.png": PICTURE}


@pytest.fixture
def other(card: dict[str, bytes]) -> dict[str, bytes]:
    """The same card after a push: every file of it differs."""
    config = json.loads(card["config.json"])
    return {name: data + b" " for name, data in card.items()} | {
        "config.json": json.dumps(config | {"name": "dcgan-later"}).encode()
    }


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, card: dict[str, bytes]) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.put(REPO, card)
        connect(monkeypatch, hub, tmp_path / "home" / "cache")
        yield hub
    huggingface_hub.close_session()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "cache"


def asked(hub: LoopbackHub) -> list[str]:
    found = [request.path.removeprefix(f"/{REPO}/resolve/") for request in hub.requests]
    hub.requests.clear()
    return found


def blobs(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file() and "blobs" in path.parts]


def plan(hub: LoopbackHub, fault: Fault, path: str, times: int = 99) -> None:
    """The fault happens to the first so many requests whose path ends so."""
    left = [times]

    def decide(request: Request) -> Fault | None:
        if not request.path.endswith(path) or not left[0]:
            return None
        left[0] -= 1
        return fault

    hub.fault = decide


# --- all well


def test_a_card_is_fetched_whole_with_one_request_for_the_commit_and_one_a_file(
    hub: LoopbackHub, card: dict[str, bytes]
) -> None:
    found = fetch(REPO)
    commit = hub.commits(REPO)[0]
    assert found.commit == commit
    assert contents(found.folder) == card
    assert asked(hub)[0] == RESOLVE
    fetch(REPO, commit, force_download=True)
    assert sorted(asked(hub)) == sorted(f"{commit}/{name}" for name in card)


def test_the_config_comes_first(hub: LoopbackHub) -> None:
    fetch(REPO)
    assert asked(hub)[1].endswith("config.json")


def test_warm_a_branch_costs_one_request_and_a_commit_none(hub: LoopbackHub) -> None:
    commit = fetch(REPO).commit
    asked(hub)
    assert fetch(REPO).commit == commit
    assert asked(hub) == [RESOLVE]
    assert fetch(REPO, commit).commit == commit
    assert asked(hub) == []


def test_a_model_of_the_hub_makes_what_the_folder_makes(hub: LoopbackHub, tiny_card: Path) -> None:
    model = zoo.load(REPO, device="cpu")
    expected = zoo.load(tiny_card, device="cpu").sample(2, seed=0)
    assert (model.sample(2, seed=0).tensor == expected.tensor).all()
    assert model.place.commit == hub.commits(REPO)[0]


def test_tags_branches_and_commits_are_what_they_were(
    hub: LoopbackHub, card: dict[str, bytes], other: dict[str, bytes]
) -> None:
    first = hub.commits(REPO)[0]
    hub.tag(REPO, "v1", first)
    second = hub.put(REPO, other)
    assert [fetch(REPO, rev).commit for rev in ("v1", "main", first, second)] == [first, second, first, second]
    assert contents(fetch(REPO, "v1").folder) == card
    assert contents(fetch(REPO).folder) == other


def test_a_push_is_seen_and_only_what_changed_is_fetched(hub: LoopbackHub, card: dict[str, bytes]) -> None:
    fetch(REPO)
    asked(hub)
    commit = hub.put(REPO, card | {"README.md": b"# Better words\n"})
    assert contents(fetch(REPO).folder)["README.md"] == b"# Better words\n"
    assert asked(hub) == [RESOLVE, f"{commit}/README.md"]


def test_other_files_of_a_repository_are_not_asked_for(hub: LoopbackHub, card: dict[str, bytes]) -> None:
    hub.put(REPO, card | {"pytorch_model.bin": b"pickle", "code.py": b"import os", "deep/config.json": b"{}"})
    assert contents(fetch(REPO).folder).keys() == card.keys()
    assert not [path for path in asked(hub) if path.endswith((".bin", ".py", "deep/config.json"))]


def test_the_cache_is_one_that_the_client_knows(hub: LoopbackHub, cache: Path) -> None:
    commit = fetch(REPO).commit
    info = huggingface_hub.scan_cache_dir(cache)
    assert [repo.repo_id for repo in info.repos] == [REPO]
    assert not info.warnings
    folder = huggingface_hub.snapshot_download(REPO, revision=commit, cache_dir=cache, local_files_only=True)
    assert Path(folder) == fetch(REPO).folder


def test_the_client_still_finds_the_files_that_a_card_has_not(
    hub: LoopbackHub, cache: Path, card: dict[str, bytes]
) -> None:
    hub.put(REPO, card | {"notes.txt": b"mine", "more/big.bin": b"x" * 1000})
    fetch(REPO)
    folder = huggingface_hub.snapshot_download(REPO, cache_dir=cache, endpoint=hub.endpoint)
    assert (Path(folder) / "notes.txt").read_bytes() == b"mine"
    assert (Path(folder) / "more" / "big.bin").stat().st_size == 1000


def test_a_warm_cache_is_not_written_to(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(REPO)
    monkeypatch.setattr(download, "write_atomically", _read_only)  # as root, tests may write anywhere
    assert fetch(REPO).commit == hub.commits(REPO)[0]


def _read_only(path: Path, write: Any) -> None:
    raise OSError(errno.EROFS, "Read-only file system", str(path))


def test_what_the_client_fetched_is_used(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub.snapshot_download(REPO, cache_dir=cache, endpoint=hub.endpoint)
    asked(hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(REPO).commit == hub.commits(REPO)[0]
    assert asked(hub) == []


def test_requests_say_who_asks(hub: LoopbackHub) -> None:
    fetch(REPO)
    agents = {request.headers["user-agent"] for request in hub.requests}
    assert all(f"genzoo/{zoo.__version__}" in agent for agent in agents)


# --- bytes that are wrong, on the way and on the disk

BAD_BYTES = {
    "a byte of the weights flipped": (Fault.flip(1000), "model.safetensors"),
    "a byte of the config flipped": (Fault.flip(5), "config.json"),
    "a portal's page of the right length": ("page", "config.json"),
    "a portal's page of its own length": (Fault.replace(b"<html>Log in</html>"), "config.json"),
    "cut short, and said so": (Fault.short(100), "model.safetensors"),
    "longer than listed": (Fault.replace(b"x" * 5_000_000), "samples.png"),
    "empty": (Fault.replace(b""), "model.safetensors"),
    "another file of the card": ("readme", "samples.png"),
}


def bad(kind: str, card: dict[str, bytes]) -> tuple[Fault, str]:
    fault, name = BAD_BYTES[kind]
    if fault == "page":
        return Fault.replace(b"<html>".ljust(len(card[name]), b" ")), name
    if fault == "readme":
        return Fault.replace(README), name
    return fault, name


@pytest.mark.parametrize("kind", BAD_BYTES)
def test_wrong_bytes_are_refused_and_nothing_of_them_stays(
    hub: LoopbackHub, cache: Path, card: dict[str, bytes], kind: str
) -> None:
    fault, name = bad(kind, card)
    plan(hub, fault, name)
    with pytest.raises(FormatError, match=rf"{hub.endpoint} serves a wrong {name}"):
        zoo.load(REPO)
    assert not [path for path in blobs(cache) if path.name.startswith(".")]
    kept = {path.read_bytes() for path in blobs(cache)}
    assert kept <= set(card.values())


@pytest.mark.parametrize("kind", BAD_BYTES)
def test_wrong_bytes_that_come_once_are_healed(
    hub: LoopbackHub, cache: Path, card: dict[str, bytes], kind: str
) -> None:
    fault, name = bad(kind, card)
    plan(hub, fault, name, times=1)
    assert contents(fetch(REPO).folder) == card


def test_a_connection_that_is_cut_is_taken_up_again(hub: LoopbackHub, card: dict[str, bytes]) -> None:
    plan(hub, Fault.cut(after=100), "model.safetensors", times=1)
    assert contents(fetch(REPO).folder) == card


@pytest.mark.parametrize("resumed", ["right", "wrong"])
def test_a_large_file_goes_on_where_it_was_cut_and_is_hashed_as_a_whole(
    hub: LoopbackHub, cache: Path, card: dict[str, bytes], resumed: str
) -> None:
    large = card | {"samples.png": bytes(range(256)) * (12 << 12)}
    hub.put(REPO, large)
    faults = [Fault.cut(after=11 << 20), Fault.flip(7) if resumed == "wrong" else None] * 2
    hub.fault = lambda request: faults.pop(0) if faults and request.path.endswith("samples.png") else None
    if resumed == "right":
        faults = faults[:2]
        assert contents(fetch(REPO).folder) == large
    else:
        with pytest.raises(FormatError, match=r"serves a wrong samples\.png"):
            fetch(REPO)
        assert large["samples.png"] not in {path.read_bytes() for path in blobs(cache)}
    assert [r.headers["range"] for r in hub.requests if "range" in r.headers][:1] == [f"bytes={10 << 20}-"]


ROT: dict[str, Callable[[Path], object]] = {
    "a bit": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b" "),
    "its blob deleted": lambda path: path.resolve().unlink(),
    "itself deleted": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "samples.png"])
@pytest.mark.parametrize("rot", ROT)
def test_rot_in_the_cache_is_healed_online_and_told_offline(
    hub: LoopbackHub, card: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, rot: str, name: str
) -> None:
    folder = fetch(REPO).folder
    ROT[rot](folder / name)
    asked(hub)
    with monkeypatch.context() as offline:
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(HubError, match=rf"is incomplete in the cache .* {name}: ") as caught:
            zoo.load(REPO)
        assert f"zoo info {REPO}" in str(caught.value)
    assert asked(hub) == []
    assert contents(fetch(REPO).folder) == card
    assert len(asked(hub)) <= 2


def test_a_file_of_the_snapshot_that_leads_elsewhere_is_put_right(
    hub: LoopbackHub, card: dict[str, bytes], tmp_path: Path
) -> None:
    path = fetch(REPO).folder / "config.json"
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(b"{}")
    path.unlink()
    path.symlink_to(elsewhere)
    assert contents(fetch(REPO).folder) == card
    assert elsewhere.read_bytes() == b"{}"


def test_a_damaged_listing_is_asked_for_again(hub: LoopbackHub, cache: Path, card: dict[str, bytes]) -> None:
    commit = fetch(REPO).commit
    listing = next(cache.rglob(f"trees/{commit}.json"))
    for damage in (b"", b"{", b"[]", b'{"files": {"config.json": {"size": -1, "blob_id": "x"}}}'):
        listing.write_bytes(damage)
        assert contents(fetch(REPO, commit).folder) == card


# --- pushes in between


def test_a_push_before_any_request_gives_the_old_card_or_the_new_one(
    hub: LoopbackHub, tmp_path: Path, card: dict[str, bytes], other: dict[str, bytes]
) -> None:
    fetch(REPO, cache_dir=tmp_path / "count")
    number = len(asked(hub))
    seen = []
    for k in range(number):
        hub.put(REPO, card)
        asked(hub)
        hub.before = lambda request, k=k: hub.put(REPO, other) if request.number == k else None
        seen.append(contents(fetch(REPO, cache_dir=tmp_path / str(k)).folder))
        hub.before = lambda request: None
    assert all(found in (card, other) for found in seen)
    assert {found == card for found in seen} == {True, False}, "pushes came before and after the commit was chosen"


# --- a server that lies

HOSTILE_HEADERS = [
    {"ETag": '"../../../pwn"'},
    {"ETag": '"/etc/pwn"'},
    {"X-Linked-Etag": '"../../../pwn"', "ETag": '"../../../pwn"'},
    {"X-Repo-Commit": "../../../pwn"},
    {"X-Repo-Commit": "0" * 40},
    {"Content-Disposition": 'attachment; filename="../../../pwn"'},
]


@pytest.mark.parametrize("headers", HOSTILE_HEADERS, ids=str)
def test_headers_do_not_say_where_files_go(
    hub: LoopbackHub, tmp_path: Path, cache: Path, card: dict[str, bytes], headers: dict[str, str]
) -> None:
    before = {name for name in everything(tmp_path) if not name.startswith("home/cache")}
    hub.fault = lambda request: Fault.headers(**headers)
    assert contents(fetch(REPO).folder) == card
    assert {name for name in everything(tmp_path) if not name.startswith("home/cache")} == before
    assert "pwn" not in str(sorted(tmp_path.rglob("*")))


def edit(change: Callable[[Any], object]) -> Fault:
    def apply(answer: Any) -> Any:
        change(answer)
        return answer

    return Fault.json(apply)


def file_of(answer: Any, name: str) -> Any:
    return next(file for file in answer["siblings"] if file["rfilename"] == name)


HOSTILE_LISTINGS: dict[str, Callable[[Any], object]] = {
    "a commit that is a path": lambda answer: answer.update(sha="../../../pwn"),
    "a commit of another form": lambda answer: answer.update(sha="v1"),
    "no commit": lambda answer: answer.pop("sha"),
    "a hash that is a path": lambda answer: file_of(answer, "model.safetensors")["lfs"].update(sha256="../../../pwn"),
    "a git hash that is a path": lambda answer: file_of(answer, "config.json").update(blobId="../../../pwn"),
    "a negative size": lambda answer: file_of(answer, "config.json").update(size=-1),
    "a size in words": lambda answer: file_of(answer, "config.json").update(size="many"),
    "weights beyond all bounds": lambda answer: file_of(answer, "model.safetensors")["lfs"].update(size=1 << 50),
    "a config beyond all bounds": lambda answer: file_of(answer, "config.json").update(size=1 << 30),
    "no weights": lambda answer: answer["siblings"].remove(file_of(answer, "model.safetensors")),
    "no files": lambda answer: answer.update(siblings=[]),
    "names that lead out": lambda answer: file_of(answer, "config.json").update(rfilename="../../config.json"),
    "another hash for the same bytes": lambda answer: file_of(answer, "config.json").update(blobId="0" * 40),
}


@pytest.mark.parametrize("lie", HOSTILE_LISTINGS)
def test_a_listing_that_lies_is_refused_and_writes_nothing_outside(hub: LoopbackHub, tmp_path: Path, lie: str) -> None:
    before = {name for name in everything(tmp_path) if not name.startswith("home/cache")}
    plan(hub, edit(HOSTILE_LISTINGS[lie]), "/revision/main")
    with pytest.raises(ZooError):
        zoo.load(REPO)
    assert {name for name in everything(tmp_path) if not name.startswith("home/cache")} == before


def test_a_mirror_that_lists_no_hashes_is_asked_for_those_of_the_commit(
    hub: LoopbackHub, card: dict[str, bytes]
) -> None:
    def plain(answer: Any) -> None:
        answer.update(siblings=[{"rfilename": file["rfilename"]} for file in answer["siblings"]])

    hub.fault = lambda request: edit(plain) if "/revision/" in request.path else None
    assert contents(fetch(REPO).folder) == card
    commit = hub.commits(REPO)[0]
    assert asked(hub)[:2] == [RESOLVE, f"/api/models/{REPO}/tree/{commit}"]
    hub.fault = lambda request: (
        edit(lambda said: said[0].update(oid="../pwn")) if "/tree/" in request.path else edit(plain)
    )
    with pytest.raises(HubError, match=r"lists .* hashes '\.\./pwn'"):
        fetch(REPO, force_download=True)


def test_another_commit_than_the_one_asked_for_is_refused(hub: LoopbackHub, other: dict[str, bytes]) -> None:
    first = hub.commits(REPO)[0]
    second = hub.put(REPO, other)
    plan(hub, edit(lambda answer: answer.update(sha=second)), f"/revision/{first}")
    with pytest.raises(HubError, match=f"says that {REPO} at {first} is commit"):
        fetch(REPO, first)


@pytest.mark.parametrize("answer", [b"", b"[]", b"null", b"{", b'{"sha": 1}', b"<html>", b'{"siblings": [{}]}'])
def test_an_answer_that_is_none_is_an_error_of_ours(hub: LoopbackHub, answer: bytes) -> None:
    plan(hub, Fault.replace(answer), "/revision/main")
    with pytest.raises(ZooError):
        fetch(REPO)


def test_a_repository_that_is_no_card_costs_its_config_alone(hub: LoopbackHub, card: dict[str, bytes]) -> None:
    hub.put("org/whisper", {"config.json": b'{"architectures": ["Whisper"]}', "model.safetensors": b"x" * 1000})
    with pytest.raises(ConfigError, match=r"config\.json"):
        fetch("org/whisper")
    assert len(hub.requests) == 2
    hub.put("org/words", {"README.md": README})
    with pytest.raises(NotFoundError, match=r"org/words at .* is no card: it has no config\.json and no model"):
        fetch("org/words")


def test_plain_http_to_another_machine_needs_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.example")
    with pytest.raises(InputError, match=r"over https\n.*ZOO_ALLOW_HTTP=1"):
        fetch(REPO)
    monkeypatch.setenv("ZOO_ALLOW_HTTP", "1")
    assert client.endpoint() == "http://hub.example"


# --- the Hub away, or closed


def stale(monkeypatch: pytest.MonkeyPatch, hub: LoopbackHub, how: Any) -> None:
    if how == "dead":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    elif how == "deleted":
        hub.repositories.clear()
    else:
        hub.fault = lambda request: how


AWAY = {
    "dead": "dead",
    "deleted": "deleted",
    "500": Fault.status(500),
    "503": Fault.status(503),
    "401": Fault.status(401),
    "403": Fault.status(403),
    "cut": Fault.cut_before(),
}


@pytest.mark.parametrize("how", AWAY)
def test_a_warm_cache_is_used_with_one_warning_that_names_commit_and_age(
    hub: LoopbackHub, cache: Path, card: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    commit = fetch(REPO).commit
    ref = next(cache.rglob("refs/main"))
    os.utime(ref, (time.time() - 3 * 86_400,) * 2)
    stale(monkeypatch, hub, AWAY[how])
    with pytest.warns(StaleWarning, match=f"{REPO}.*using commit {commit[:12]}, which it was 3 days ago") as caught:
        found = fetch(REPO)
    assert len(caught) == 1
    assert contents(found.folder) == card


@pytest.mark.parametrize("how", AWAY)
def test_a_cold_cache_is_a_clear_error_within_five_seconds(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stale(monkeypatch, hub, AWAY[how])
    started = time.perf_counter()
    with pytest.raises(HubError, match=REPO) as caught:
        zoo.load(REPO)
    assert time.perf_counter() - started < 5
    assert caught.value.hint


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        assert client.TIMEOUT < 5
        monkeypatch.setattr(client, "TIMEOUT", 0.3)
        with pytest.raises(HubError, match="cannot be reached"):
            fetch(REPO, cache_dir=tmp_path / "cache")


def test_a_hub_that_goes_away_after_the_commit_is_known_leaves_the_last_card(
    hub: LoopbackHub, card: dict[str, bytes], other: dict[str, bytes]
) -> None:
    fetch(REPO)
    hub.put(REPO, other)
    plan(hub, Fault.status(500), "samples.png")
    with pytest.warns(StaleWarning):
        assert contents(fetch(REPO).folder) == card
    hub.fault = lambda request: None
    assert contents(fetch(REPO).folder) == other


def test_offline_says_what_is_missing(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for offline in ({"local_files_only": True}, {}):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", not offline)
        with pytest.raises(HubError, match=f"{REPO} at main is not in the cache {cache}.*HF_HUB_OFFLINE"):
            zoo.load(REPO, **offline)
    assert hub.requests == []


def test_offline_half_a_card_is_none(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub.hf_hub_download(REPO, "config.json", cache_dir=cache, endpoint=hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="is not in the cache"):
        fetch(REPO)


def test_a_revision_that_is_not_there_is_no_reason_to_use_another(hub: LoopbackHub) -> None:
    fetch(REPO)
    with pytest.raises(NotFoundError, match="has no revision 'v9'"):
        fetch(REPO, "v9")


# --- who may


def test_private_and_gated_repositories_open_to_a_token_that_is_never_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, card: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with LoopbackHub(cdn=True) as hub:
        connect(monkeypatch, hub, tmp_path / "cache")
        hub.put("org/private", card, private=True)
        hub.put("org/gated", card, gated=True)
        with pytest.raises(NotFoundError, match=r"has no repository org/private that you may read\n.*hf auth login"):
            fetch("org/private")
        with pytest.raises(HubError, match=r"org/gated on .* is open only to .*\n.*Accept its terms"):
            fetch("org/gated")
        for repo in ("org/private", "org/gated"):
            assert contents(fetch(repo, token="hf_write").folder) == card
        carried = [set(request.headers) for request in hub.cdn_requests]
        assert carried, "large files came from the other origin"
        assert not any("authorization" in names for names in carried)
        with pytest.raises(ZooError) as caught:
            fetch("org/private", "v9", token="hf_secret")
        assert "hf_secret" not in str(caught.value)
    huggingface_hub.close_session()
    assert "hf_write" not in caplog.text
    assert "hf_secret" not in caplog.text


# --- the disk


def test_a_full_disk_is_told_and_leaves_nothing_half(hub: LoopbackHub, cache: Path, card: dict[str, bytes]) -> None:
    """A limit on the size of files, which the system enforces as it does the end of a disk."""
    resource = pytest.importorskip("resource", reason="this system puts no limit on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = len(card["model.safetensors"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, before[1]))
    try:
        with pytest.raises(HubError, match=r"cannot be written: File too large\n.*HF_HOME"):
            fetch(REPO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.read_bytes() for path in blobs(cache)} <= set(card.values())
    assert not list(cache.rglob(".zoo-tmp-*"))
    assert contents(fetch(REPO).folder) == card


def test_what_a_killed_download_left_is_swept(hub: LoopbackHub, cache: Path, card: dict[str, bytes]) -> None:
    fetch(REPO)
    left = next(cache.rglob("blobs")) / ".zoo-tmp-0123"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 86_400,) * 2)
    fetch(REPO)
    assert not left.exists()


def test_a_kill_during_a_download_leaves_nothing_that_could_be_taken_for_a_card(
    hub: LoopbackHub, cache: Path, card: dict[str, bytes]
) -> None:
    plan(hub, Fault.slow(20), "model.safetensors", times=1)
    code = f"from zoo.hub.download import fetch; fetch({REPO!r}, cache_dir={str(cache)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | environment(hub))
    while not any(request.path.endswith("model.safetensors") for request in hub.requests):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    with pytest.raises(HubError, match="is not in the cache"):
        fetch(REPO, local_files_only=True)
    assert contents(fetch(REPO).folder) == card


def test_sixteen_processes_at_once_fetch_each_file_once(
    hub: LoopbackHub, tmp_path: Path, card: dict[str, bytes]
) -> None:
    cache = tmp_path / "shared"
    code = f"""
from zoo.hub.download import fetch
found = fetch({REPO!r}, cache_dir={str(cache)!r})
print(sorted((path.name, path.stat().st_size) for path in found.folder.iterdir()))
"""
    command = [sys.executable, "-c", code]
    env = os.environ | environment(hub)
    processes = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(16)]
    said = {process.communicate(timeout=120)[0] for process in processes}
    assert said == {f"{sorted((name, len(data)) for name, data in card.items())}\n"}
    assert all(process.returncode == 0 for process in processes)
    paths = [path for path in asked(hub) if path != RESOLVE]
    assert sorted(path.partition("/")[2] for path in paths) == sorted(card)


def test_where_there_are_no_links_files_are_copied(
    hub: LoopbackHub, card: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = fetch(REPO).folder
    assert contents(folder) == card
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert fetch(REPO).folder == folder


def test_a_file_takes_no_more_than_its_listing_says(tmp_path: Path) -> None:
    with download._Bounded(tmp_path / "file", 10) as file:
        file.write(b"0123456789")
        with pytest.raises(download._LengthError):
            file.write(b"0")
    assert set(LIMITS) >= {"config.json", "model.safetensors"}


def test_the_command_line_shows_the_hub_as_an_error_of_one_line(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from zoo.cli.parser import app

    result = CliRunner().invoke(app, ["info", "org/nobody"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: no folder org/nobody, and {hub.endpoint} has no repository org/nobody")
    shown = CliRunner().invoke(app, ["info", REPO, "--where"])
    assert shown.stdout.strip() == str(fetch(REPO).folder)
    assert shown.stderr.splitlines()[2] == f"3. Hub: {REPO} at main"
