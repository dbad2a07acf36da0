"""The Hub that other tests lean on is one for the real client: what it stores, tells, refuses and breaks."""

import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from hubs import connect
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from loopback_hub import Fault, LoopbackHub, Request, environment

pytestmark = [
    pytest.mark.enable_socket,
    # The client's own, of how it hands a file to its transport.
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning"),
]

REPO = "org/dcgan-v1.5"
CARD = b"---\nlicense: mit\nlibrary_name: genzoo\npipeline_tag: image-to-image\ntags: [gan]\n---\n# A card\n"
FILES = {
    "README.md": CARD,
    "config.json": b'{"size": 16}',
    "history.json": b"[]".ljust(1_200_000),
    "model.safetensors": bytes(range(256)) * 20,
    "samples/0.png": b"\x89PNG picture",
}
LARGE = {"history.json", "model.safetensors", "samples/0.png"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    # Bytes that are cut come again at once; and parts of a file are small ones.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    with LoopbackHub() as hub:
        connect(monkeypatch, hub, tmp_path / "cache")
        yield hub
    huggingface_hub.close_session()


@pytest.fixture
def api(hub: LoopbackHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_write")


def send(api: HfApi, files: dict[str, bytes], **options: Any) -> Any:
    operations = [CommitOperationAdd(name, data) for name, data in files.items()]
    return api.create_commit(REPO, operations, commit_message="Send", **options)


def asked(hub: LoopbackHub) -> list[str]:
    """Methods and last parts of paths since the last look."""
    found = [f"{request.method} {request.path.replace(f'/{REPO}', '')}" for request in hub.requests]
    hub.requests.clear()
    return found


def once(fault: Fault, method: str, part: str) -> Callable[[Request], Fault | None]:
    """The fault plan of one fault, for the first request of that kind."""
    left = [fault]
    return lambda request: left.pop() if left and request.method == method and part in request.path else None


# --- writing


def test_what_is_sent_is_stored_in_one_commit(hub: LoopbackHub, api: HfApi) -> None:
    assert str(api.create_repo(REPO)) == f"{hub.endpoint}/{REPO}"
    first = hub.commits(REPO)
    done = send(api, FILES)
    assert hub.commits(REPO) == [done.oid, *first]
    assert {name: data for name, data in hub.files(REPO).items() if name != ".gitattributes"} == FILES
    kinds = [line.split("/")[-1] if "PUT" not in line else "PUT" for line in asked(hub)]
    assert kinds[:4] == ["create", "validate-yaml", "main", "batch"]
    assert (kinds[4:-1].count("PUT"), kinds[4:-1].count("verify")) == (len(LARGE), len(LARGE))
    assert hub.repositories[REPO].commits[done.oid].message == "Send"


def test_what_is_there_is_not_sent_again(hub: LoopbackHub, api: HfApi) -> None:
    head = hub.put(REPO, FILES)
    assert send(api, FILES).oid == head
    assert hub.commits(REPO) == [head]
    assert not [line for line in asked(hub) if line.startswith("PUT") or "/commit/" in line]
    send(api, {"copy.safetensors": FILES["model.safetensors"]})
    assert not [line for line in asked(hub) if line.startswith("PUT")], "its object is known by its hash"
    assert hub.files(REPO)["copy.safetensors"] == FILES["model.safetensors"]


def test_files_and_folders_are_deleted(hub: LoopbackHub, api: HfApi) -> None:
    hub.put(REPO, FILES | {"samples.png": b"beside"})
    operations = [CommitOperationDelete("samples/"), CommitOperationDelete("config.json")]
    api.create_commit(REPO, operations, commit_message="Tidy")
    assert hub.files(REPO).keys() == {"README.md", "history.json", "model.safetensors", "samples.png"}


def test_a_card_whose_head_is_no_yaml_is_refused_before_anything_is_sent(hub: LoopbackHub, api: HfApi) -> None:
    hub.put(REPO, FILES)
    with pytest.raises(ValueError, match="Invalid metadata"):
        send(api, {"README.md": b"---\na: [\n---\n"})
    assert [line.rpartition("/")[2] for line in asked(hub)] == ["validate-yaml"]


def test_a_repository_is_made_once(hub: LoopbackHub, api: HfApi) -> None:
    api.create_repo(REPO, private=True)
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo(REPO)
    assert caught.value.response.status_code == 409
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    assert api.model_info(REPO).private
    api.update_repo_settings(REPO, private=False, gated="auto")
    info = api.model_info(REPO)
    assert (info.private, info.gated) == (False, "auto")
    api.delete_repo(REPO)
    assert not hub.repositories


def test_a_stale_parent_is_refused(hub: LoopbackHub, api: HfApi) -> None:
    first = hub.put(REPO, FILES)
    theirs = hub.put(REPO, FILES | {"config.json": b"theirs"})
    with pytest.raises(HfHubHTTPError) as caught:
        send(api, {"config.json": b"ours"}, parent_commit=first)
    assert caught.value.response.status_code == 412
    assert hub.commits(REPO) == [theirs, first]


def test_of_two_commits_at_once_with_one_parent_one_wins(hub: LoopbackHub, api: HfApi) -> None:
    parent = hub.put(REPO, FILES)
    both = threading.Barrier(2, timeout=10)
    hub.before = lambda request: both.wait() if "/commit/" in request.path else None
    told: dict[bytes, object] = {}

    def work(words: bytes) -> None:
        try:
            told[words] = send(api, {"config.json": words}, parent_commit=parent).oid
        except HfHubHTTPError as error:
            told[words] = error.response.status_code

    workers = [threading.Thread(target=work, args=(words,)) for words in (b"mine", b"yours")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert told.pop(hub.files(REPO)["config.json"]) == hub.commits(REPO)[0]
    assert list(told.values()) == [412]
    assert hub.commits(REPO)[1:] == [parent]


def test_tags_stay_where_they_are(hub: LoopbackHub, api: HfApi) -> None:
    first = hub.put(REPO, FILES)
    api.create_tag(REPO, tag="v1.0")
    second = hub.put(REPO, {"config.json": b"{}"})
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_tag(REPO, tag="v1.0", revision=second)
    assert caught.value.response.status_code == 409
    api.create_tag(REPO, tag="v1.0", revision=second, exist_ok=True)
    refs = api.list_repo_refs(REPO)
    assert [(ref.name, ref.target_commit) for ref in refs.tags + refs.branches] == [("v1.0", first), ("main", second)]
    assert hub.tags(REPO) == {"v1.0": first}
    api.delete_tag(REPO, tag="v1.0")
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(REPO, tag="v1.0")


def test_branches_part_from_where_they_are_told_to(hub: LoopbackHub, api: HfApi) -> None:
    first = hub.put(REPO, FILES)
    hub.put(REPO, {})
    api.create_branch(REPO, branch="next/one", revision=first)
    done = send(api, {"config.json": b"next"}, revision="next/one")
    assert [commit.commit_id for commit in api.list_repo_commits(REPO, revision="next/one")] == [done.oid, first]
    assert hub.files(REPO) == {}


def test_a_collection_is_made_once_and_holds_a_model_once(hub: LoopbackHub, api: HfApi) -> None:
    hub.put(REPO, FILES)
    slug = api.create_collection("zoo 1.0", namespace="org").slug
    assert api.create_collection("zoo 1.0", namespace="org", exists_ok=True).slug == slug
    for _ in range(2):
        api.add_collection_item(slug, REPO, "model", exists_ok=True)
    (found,) = api.list_collections(owner="org")
    assert (found.slug, found.title, [item.item_id for item in found.items]) == (slug, "zoo 1.0", [REPO])
    assert [item["id"] for item in hub.collections[slug]["items"]] == [REPO]
    assert not list(api.list_collections(owner="another"))
    with pytest.raises(HfHubHTTPError, match="409"):
        api.add_collection_item(slug, REPO, "model")
    with pytest.raises(HfHubHTTPError, match="404"):
        api.add_collection_item(slug, "org/nothing", "model")


# --- reading


def test_the_listing_of_a_commit_tells_sizes_and_hashes(hub: LoopbackHub, api: HfApi) -> None:
    commit = hub.put(REPO, FILES)
    info = api.model_info(REPO, revision=commit, files_metadata=True)
    assert (info.id, info.sha, info.private, info.gated) == (REPO, commit, False, False)
    assert (info.library_name, info.pipeline_tag, info.card_data.license) == ("genzoo", "image-to-image", "mit")
    assert {"gan", "genzoo", "license:mit"} <= set(info.tags)
    said = {file.rfilename: file for file in info.siblings}
    assert {name: file.size for name, file in said.items()} == {name: len(data) for name, data in FILES.items()}
    assert {name: file.lfs.sha256 for name, file in said.items() if file.lfs} == {
        name: hashlib.sha256(FILES[name]).hexdigest() for name in LARGE
    }
    # What `git hash-object` says of the twelve bytes of config.json.
    assert said["config.json"].blob_id == hashlib.sha1(b"blob 12\0" + FILES["config.json"]).hexdigest()
    (entry,) = api.get_paths_info(REPO, ["samples/0.png"])
    assert (entry.blob_id, entry.lfs) == (said["samples/0.png"].blob_id, said["samples/0.png"].lfs)


def test_what_was_fetched_holds_against_the_tree(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    hub.put(REPO, FILES)
    hub.page = 2
    folder = snapshot_download(REPO, local_dir=tmp_path / "here")
    found = api.verify_repo_checksums(REPO, local_dir=folder)
    assert (found.checked_count, found.mismatches, found.missing_paths) == (len(FILES), [], [])
    assert sum("/tree/" in line for line in asked(hub)) == 6, "three pages, each time"
    (tmp_path / "here" / "config.json").write_bytes(b'{"size": 61}')
    assert [wrong["path"] for wrong in api.verify_repo_checksums(REPO, local_dir=folder).mismatches] == ["config.json"]


def test_a_snapshot_costs_what_it_costs_on_the_hub(hub: LoopbackHub) -> None:
    commit = hub.put(REPO, FILES)
    snapshot_download(REPO)
    cold = asked(hub)
    assert cold[:2] == ["GET /api/models/revision/main", f"GET /api/models/tree/{commit}"]
    assert sorted(cold[2:]) == sorted(f"{how} /resolve/{commit}/{name}" for name in FILES for how in ("GET", "HEAD"))
    snapshot_download(REPO)
    assert asked(hub) == ["GET /api/models/revision/main"]
    snapshot_download(REPO, revision=commit)
    assert asked(hub) == []
    hf_hub_download(REPO, "config.json")
    assert asked(hub) == ["HEAD /resolve/main/config.json"]


def test_large_files_come_from_another_origin_that_sees_no_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with LoopbackHub(cdn=True) as hub:
        connect(monkeypatch, hub, tmp_path / "cache")
        hub.put(REPO, FILES, private=True)
        folder = Path(snapshot_download(REPO, token="hf_write"))
        huggingface_hub.close_session()
    assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == FILES
    assert all(request.token == "hf_write" for request in hub.requests)
    assert [request.method for request in hub.cdn_requests] == ["GET"] * len(LARGE)
    assert not any("authorization" in request.headers for request in hub.cdn_requests)


def test_a_part_of_a_file_can_be_asked_for(hub: LoopbackHub, api: HfApi) -> None:
    head = json.dumps({"w": {"dtype": "F32", "shape": [50_000], "data_offsets": [0, 200_000]}}).encode()
    hub.put(REPO, {"model.safetensors": struct.pack("<Q", len(head)) + head + bytes(200_000)})
    assert api.get_safetensors_metadata(REPO).parameter_count == {"F32": 50_000}
    assert [request.headers["range"] for request in hub.requests if request.headers.get("range")] == ["bytes=0-100000"]


def test_a_client_in_a_process_of_its_own(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.put(REPO, FILES)
    code = f"from huggingface_hub import HfApi; print(HfApi().whoami()['name'], HfApi().model_info({REPO!r}).sha)"
    env = os.environ | environment(hub) | {"HF_TOKEN": "hf_write"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["org", hub.commits(REPO)[0]]


# --- refusals


REFUSED: dict[str, tuple[Callable[[HfApi], object], str | None, type[Exception], int]] = {
    "no repository": (lambda api: api.model_info("org/none"), "hf_write", RepositoryNotFoundError, 404),
    "no repository, no token": (lambda api: api.model_info("org/none"), None, RepositoryNotFoundError, 401),
    "private": (lambda api: api.model_info("org/private"), None, RepositoryNotFoundError, 401),
    "private, of others": (lambda api: api.model_info("org/private"), "hf_eve", RepositoryNotFoundError, 404),
    "gated": (lambda api: api.model_info("org/gated"), None, GatedRepoError, 401),
    "gated, of others": (lambda api: api.hf_hub_download("org/gated", "README.md"), "hf_eve", GatedRepoError, 403),
    "no revision": (lambda api: api.model_info(REPO, revision="v9"), None, RevisionNotFoundError, 404),
    "no file": (lambda api: api.hf_hub_download(REPO, "none.json"), None, RemoteEntryNotFoundError, 404),
    "a bad token": (lambda api: api.model_info(REPO), "hf_bad", HfHubHTTPError, 401),
    "writing with no token": (lambda api: send(api, {"x": b"x"}), None, HfHubHTTPError, 401),
    "writing to others": (lambda api: send(api, {"x": b"x"}), "hf_eve", HfHubHTTPError, 403),
    "making for others": (lambda api: api.create_repo("org/new"), "hf_eve", HfHubHTTPError, 403),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_are_of_the_class_that_the_client_makes_of_them(hub: LoopbackHub, what: str) -> None:
    ask, token, kind, status = REFUSED[what]
    hub.tokens["hf_eve"] = "eve"
    hub.put(REPO, FILES)
    hub.put("org/private", FILES, private=True)
    hub.put("org/gated", FILES, gated=True)
    with pytest.raises(HfHubHTTPError) as caught:
        ask(HfApi(endpoint=hub.endpoint, token=token or False))
    assert (type(caught.value), caught.value.response.status_code) == (kind, status)
    assert hub.repositories.keys() == {REPO, "org/private", "org/gated"}
    assert len(hub.commits(REPO)) == 1


def test_without_tokens_everybody_may(hub: LoopbackHub) -> None:
    hub.tokens.clear()
    hub.put(REPO, FILES, private=True)
    done = send(HfApi(endpoint=hub.endpoint, token=False), {"config.json": b"anybody's"})
    assert hub.commits(REPO)[0] == done.oid


# --- faults


def test_a_download_that_is_cut_goes_on_where_it_was(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.put(REPO, FILES)
    hub.fault = once(Fault.cut(after=2500), "GET", "model.safetensors")
    assert Path(hf_hub_download(REPO, "model.safetensors")).read_bytes() == FILES["model.safetensors"]
    assert [request.headers.get("range") for request in hub.requests] == [None, None, "bytes=2000-"]


def test_a_server_that_knows_no_parts_sends_it_all(hub: LoopbackHub) -> None:
    hub.put(REPO, FILES)
    plan = {1: Fault.cut(after=2500), 2: Fault.ignore_range()}
    hub.fault = lambda request: plan.get(request.number)
    assert Path(hf_hub_download(REPO, "model.safetensors")).read_bytes() == FILES["model.safetensors"]
    assert len(hub.requests) == 3


@pytest.mark.parametrize("fault", [Fault.short(100), Fault.replace(b"<html>")], ids=["short", "another"])
def test_the_client_sees_another_length(hub: LoopbackHub, tmp_path: Path, fault: Fault) -> None:
    hub.put(REPO, FILES)
    hub.fault = lambda request: fault if request.method == "GET" else None
    with pytest.raises(OSError, match="Consistency check failed"):
        hf_hub_download(REPO, "model.safetensors")


PAGE = b"<html>Log in</html>"
UNSEEN = {
    "a bit": (Fault.flip(3), FILES["model.safetensors"][:3] + b"\x02" + FILES["model.safetensors"][4:]),
    "a page that pretends": (Fault.replace(PAGE, pretend=len(PAGE)), PAGE),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_the_client_does_not_see_other_bytes_of_the_length_it_was_told(hub: LoopbackHub, name: str) -> None:
    hub.put(REPO, FILES)
    fault, body = UNSEEN[name]
    hub.fault = lambda request: fault
    assert Path(hf_hub_download(REPO, "model.safetensors")).read_bytes() == body


@pytest.mark.parametrize(("fault", "done"), [(Fault.cut_before(), False), (Fault.cut_after(), True)])
def test_a_commit_without_an_answer_was_made_or_not(hub: LoopbackHub, api: HfApi, fault: Fault, done: bool) -> None:
    head = hub.put(REPO, FILES)
    hub.fault = once(fault, "POST", "/commit/")
    with pytest.raises(httpx2.RemoteProtocolError):
        send(api, {"config.json": b"new"})
    assert (hub.commits(REPO)[0] != head) is done
    again = send(api, {"config.json": b"new"})
    assert hub.commits(REPO) == [again.oid, head]


def test_a_status_is_an_answer_and_nothing_is_done(hub: LoopbackHub, api: HfApi) -> None:
    head = hub.put(REPO, FILES)
    hub.fault = once(Fault.status(503), "POST", "/commit/")
    with pytest.raises(HfHubHTTPError, match="503"):
        send(api, {"config.json": b"new"})
    assert hub.commits(REPO) == [head]
    hub.fault = once(Fault.status(404, "EntryNotFound", {"X-Repo-Commit": head}), "HEAD", "config.json")
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(REPO, "config.json")


def test_headers_and_listings_lie_as_told(hub: LoopbackHub, api: HfApi) -> None:
    hub.put(REPO, FILES)
    hub.fault = lambda request: Fault.headers(ETag='"../../../pwn"', **{"X-Repo-Commit": "../x"})
    found = huggingface_hub.get_hf_file_metadata(f"{hub.endpoint}/{REPO}/resolve/main/config.json")
    assert (found.etag, found.commit_hash) == ("../../../pwn", "../x")
    hub.fault = lambda request: Fault.json(lambda said: said | {"sha": "../../pwn"})
    assert api.model_info(REPO).sha == "../../pwn"


def test_a_push_comes_in_between(hub: LoopbackHub) -> None:
    first = hub.put(REPO, FILES)
    pushed: list[str] = []

    def push(request: Request) -> None:
        if request.number == 1:
            pushed.append(hub.put(REPO, {"config.json": b"later"}))

    hub.before = push
    assert snapshot_download(REPO).endswith(first)
    assert hub.commits(REPO) == [*pushed, first]


# --- the hub itself


def test_the_same_pushes_make_the_same_commits() -> None:
    hubs = LoopbackHub(), LoopbackHub()
    histories = []
    for hub in hubs:
        for files in (FILES, {"config.json": b"{}"}, FILES):
            hub.put(REPO, files)
        histories.append(hub.commits(REPO))
    assert histories[0] == histories[1]
    assert len(set(histories[0])) == 3, "the same files again are another commit"
    assert hubs[0].files(REPO, histories[0][1]) == {"config.json": b"{}"}


def test_leaving_waits_for_nobody_and_leaves_nothing() -> None:
    """Not for an answer that takes its time, nor for a connection that is kept."""
    before = set(threading.enumerate())
    with httpx2.Client(trust_env=False) as client:
        with LoopbackHub(cdn=True) as hub:
            hub.fault = lambda request: Fault.slow(60) if request.path == "/slow" else None
            assert client.get(f"{hub.endpoint}/api/whoami-v2").status_code == 401
            with pytest.raises(httpx2.TimeoutException):
                client.get(f"{hub.endpoint}/slow", timeout=0.1)
            started = time.perf_counter()
        assert time.perf_counter() - started < 10
        assert set(threading.enumerate()) <= before
        with pytest.raises(httpx2.ConnectError):
            client.get(hub.endpoint)


def test_what_breaks_in_a_plan_is_the_tests_failure() -> None:
    hub = LoopbackHub()
    hub.fault = lambda request: {}["no such key"]
    with pytest.raises(KeyError, match="no such key"), hub, httpx2.Client(trust_env=False) as client:
        assert client.get(hub.endpoint).status_code == 500
