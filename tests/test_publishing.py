"""A card is published whole or not at all, wherever it is cut, and never what it is not."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from hubs import connect, contents
from huggingface_hub import ModelCard
from loopback_hub import Fault, LoopbackHub, Request
from stand_ins import TRAINING
from typer.testing import CliRunner

import zoo
from zoo import publishing
from zoo.card import facts as cards
from zoo.card.names import FACTS, PICTURE
from zoo.cli.parser import app
from zoo.errors import FormatError, HubError, InputError, NotFoundError, ZooError
from zoo.evaluation import verification
from zoo.hub import places as hub
from zoo.publishing import publish
from zoo.training import pictures

pytestmark = [
    pytest.mark.enable_socket,
    # The client's own, of how it hands a file to its transport.
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning"),
]

REPO = "org/dcgan-tiny"


@pytest.fixture(scope="module")
def _whole_card(tmp_path_factory: pytest.TempPathFactory, _tiny_card: Path) -> Path:
    """The tiny card with everything that `zoo verify` asks for."""
    folder = Path(shutil.copytree(_tiny_card, tmp_path_factory.mktemp("whole") / "dcgan-tiny"))
    model = zoo.load(folder, device="cpu")
    shown = pictures.picture(model, None)
    assert shown is not None
    shown.save(folder / PICTURE)
    facts = cards.Facts(
        summary="Tiny faces.", license="mit", data_terms="Made up.", limits=["All of them."], training=TRAINING
    )
    cards.write_facts(folder, facts)
    return folder


@pytest.fixture
def card(_whole_card: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_whole_card, tmp_path / "runs" / "dcgan-tiny"))


@pytest.fixture
def later(card: Path, tmp_path: Path) -> Path:
    """The card after its facts have changed."""
    folder = Path(shutil.copytree(card, tmp_path / "later" / "dcgan-tiny"))
    cards.write_facts(folder, cards.read_facts(folder).model_copy(update={"summary": "Better words."}))
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        connect(monkeypatch, server, tmp_path / "cache", token="hf_write")
        yield server
    huggingface_hub.close_session()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client does not wait before it tries again; and what a cut leaves does not depend on comparing pictures."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(publishing, "verify", lambda *_, **__: [])


def writes(server: LoopbackHub) -> list[str]:
    """What was asked that could change something; questions put as POST are none of it."""
    questions = ("validate-yaml", "preupload", "objects/batch", "paths-info")
    return [r.path for r in server.requests if r.method not in ("GET", "HEAD") and not r.path.endswith(questions)]


def test_a_published_card_is_loaded_by_its_name_with_its_repository_in_it(server: LoopbackHub, card: Path) -> None:
    done = publish(card, REPO, tag="v1")
    assert done.changed
    assert server.tags(REPO) == {"v1": done.commit}
    assert server.commits(REPO)[0] == done.commit
    model = zoo.load(f"{REPO}@v1", device="cpu")
    assert (model.sample(2, seed=0).tensor == zoo.load(card, device="cpu").sample(2, seed=0).tensor).all()
    data = ModelCard(server.files(REPO)["README.md"].decode()).data
    assert data.library_name == "genzoo"
    assert data.thumbnail == f"https://huggingface.co/{REPO}/resolve/main/{PICTURE}"
    assert data.widget[0]["output"]["url"] == PICTURE
    assert f'zoo.load("{REPO}")' in server.files(REPO)["README.md"].decode()
    assert all(check.state != "fail" for check in verification.verify(f"{REPO}@v1", progress=False))


def test_the_card_that_is_published_is_not_touched(server: LoopbackHub, card: Path) -> None:
    before = contents(card)
    publish(card, REPO)
    assert contents(card) == before


def test_a_run_gives_its_card_alone(server: LoopbackHub, card: Path) -> None:
    before = contents(card).keys()
    (card / "run.json").write_text("{}")
    (card / "checkpoints").mkdir()
    (card / "checkpoints" / "state").write_bytes(b"moments")
    publish(card, REPO)
    assert server.files(REPO).keys() - {".gitattributes"} == before


def test_again_there_is_nothing_to_do(server: LoopbackHub, card: Path) -> None:
    first = publish(card, REPO, tag="v1")
    server.requests.clear()
    again = publish(card, REPO, tag="v1")
    assert (again.commit, again.changed) == (first.commit, False)
    assert not [path for path in writes(server) if "/commit/" in path]
    assert server.tags(REPO) == {"v1": first.commit}


def test_only_what_changed_is_sent_and_what_is_gone_is_removed(server: LoopbackHub, card: Path, later: Path) -> None:
    publish(card, REPO)
    server.put(REPO, server.files(REPO) | {"statistics.safetensors": b"old", "notes.txt": b"mine"})
    with publishing.draft(later, REPO) as ready:
        actions = {change.name: change.action for change in ready.plan.changes}
        assert actions == {
            "config.json": "same",
            "model.safetensors": "same",
            "samples.png": "same",
            "evaluation.json": "replace",
            "README.md": "replace",
            "statistics.safetensors": "remove",
        }
        assert ready.plan.kept == ("notes.txt",)
        ready.send()
    assert "statistics.safetensors" not in server.files(REPO)
    assert server.files(REPO)["notes.txt"] == b"mine"


BREAKS: dict[str, Callable[[Path], object]] = {
    "a picture of other weights": lambda card: shutil.copy(hub.bundled()["dcgan-celeba"] / PICTURE, card / PICTURE),
    "a README of its own": lambda card: (card / "evaluation.json").write_text("{}"),
    "weights that rotted": lambda card: (card / "model.safetensors").write_bytes(b"x"),
    "no facts": lambda card: (card / FACTS).unlink(),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_card_that_does_not_hold_what_it_says_is_not_sent(server: LoopbackHub, card: Path, how: str) -> None:
    BREAKS[how](card)
    with pytest.raises(ZooError):
        publish(card, REPO)
    assert server.requests == []


def test_a_tag_does_not_move(server: LoopbackHub, card: Path, later: Path) -> None:
    first = publish(card, REPO, tag="v1")
    with pytest.raises(HubError, match=f"has a tag 'v1' already, at commit {first.commit[:12]}\n.*another --tag"):
        publish(later, REPO, tag="v1")
    assert server.commits(REPO)[0] == first.commit
    second = publish(later, REPO, tag="v2")
    assert server.tags(REPO) == {"v1": first.commit, "v2": second.commit}


def test_somebody_elses_push_in_between_is_not_undone(server: LoopbackHub, card: Path, later: Path) -> None:
    publish(card, REPO)
    with publishing.draft(later, REPO, tag="v2") as ready:
        theirs = server.put(REPO, server.files(REPO) | {"README.md": b"# Mended\n"})
        with pytest.raises(HubError, match="somebody else has changed"):
            ready.send()
    assert server.commits(REPO)[0] == theirs
    assert server.tags(REPO) == {}


def test_a_commit_that_is_not_what_was_sent_is_not_tagged(server: LoopbackHub, card: Path) -> None:
    """A server that changes a file on its way in: here by a push after the commit, which the tag would have got."""

    def meddle(request: Request) -> None:
        if request.method == "POST" and "/commit/" in request.path:
            meddled.append(request)

    meddled: list[Request] = []
    server.before = meddle
    server.fault = lambda request: (
        Fault.replace(b"{}") if "/resolve/" in request.path and request.path.endswith("evaluation.json") else None
    )
    with pytest.raises(FormatError, match=r"serves a wrong evaluation\.json"):
        publish(card, REPO, tag="v1")
    assert meddled
    assert server.tags(REPO) == {}


def test_a_push_right_after_the_commit_is_not_tagged_as_ours(server: LoopbackHub, card: Path) -> None:
    pushed: list[str] = []

    def push(request: Request) -> None:
        if not pushed and "/revision/" in request.path and REPO in server.repositories and server.commits(REPO)[1:]:
            pushed.append(server.put(REPO, server.files(REPO) | {"README.md": b"# Theirs\n"}))

    server.before = push
    done = publish(card, REPO, tag="v1")
    assert pushed
    assert server.tags(REPO)["v1"] == done.commit != pushed[0]


@pytest.mark.parametrize("kind", ["before", "after"])
def test_cut_at_any_request_who_loads_a_tag_sees_the_old_card_or_the_new(
    quick: None, server: LoopbackHub, card: Path, later: Path, kind: str
) -> None:
    """Every request in turn is cut, before the server has heard it or after it has done it; then all is run again."""
    fault = Fault.cut_before() if kind == "before" else Fault.cut_after()
    old = publish(card, "org/count", tag="v1").commit
    server.requests.clear()
    publish(later, "org/count", tag="v2")
    number = len(server.requests)
    assert number > 10
    survived = 0
    for k in range(number):
        repo = f"org/cut-{k}"
        publish(card, repo, tag="v1")
        before, old = server.files(repo), server.commits(repo)[0]
        server.requests.clear()
        server.fault = lambda request, k=k: fault if request.number == k else None
        with suppress(HubError, NotFoundError):
            publish(later, repo, tag="v2")
            survived += 1
        server.fault = lambda request: None
        new = before | contents_of(later, repo)
        for tag, commit in server.tags(repo).items():
            assert server.files(repo, commit) == {"v1": before, "v2": new}[tag], f"request {k}"
        assert server.files(repo) in (before, new), "the branch is one of them too"
        done = publish(later, repo, tag="v2")
        assert server.tags(repo) == {"v1": old, "v2": done.commit}
        assert server.files(repo, "v2") == new
        assert len(server.commits(repo)) == 3, "the first one, the old card, the new one: nothing twice"
    assert survived < number, "some cuts were felt"


def contents_of(folder: Path, repo: str) -> dict[str, bytes]:
    """What a card's files become in a repository."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(shutil.copytree(folder, Path(temporary) / "card"))
        cards.address(copy, repo)
        return contents(copy)


def test_a_first_publication_cut_anywhere_can_be_run_again(quick: None, server: LoopbackHub, card: Path) -> None:
    publish(card, "org/count", tag="v1")
    for k in range(len(server.requests)):
        repo = f"org/first-{k}"
        server.requests.clear()
        server.fault = lambda request, k=k: Fault.cut_after() if request.number == k else None
        with suppress(HubError, NotFoundError):
            publish(card, repo, tag="v1")
        server.fault = lambda request: None
        done = publish(card, repo, tag="v1")
        assert server.tags(repo) == {"v1": done.commit}
        assert len(server.commits(repo)) == 2


def test_a_reader_may_not_publish(server: LoopbackHub, card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(card, REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    with pytest.raises(HubError) as caught:
        publish(card, "org/another")
    assert "hf auth login" in str(caught.value.hint)
    assert "hf_unknown" not in str(caught.value)


# --- on the handle


def test_push_to_hub_and_from_pretrained_are_inverse(server: LoopbackHub, card: Path, tmp_path: Path) -> None:
    model = zoo.Model.from_pretrained(card, device="cpu")
    model.push_to_hub("org/pushed", commit_message="Here", private=True)
    back = zoo.Model.from_pretrained("org/pushed", token="hf_write", device="cpu")
    assert (back.sample(2, seed=0).tensor == model.sample(2, seed=0).tensor).all()
    saved = back.save_pretrained(tmp_path / "saved")
    assert contents(saved) == contents(back.place.folder)
    assert all(check.state != "fail" for check in verification.verify(saved, progress=False))


def test_a_push_may_go_to_a_branch_or_a_pull_request(server: LoopbackHub, card: Path) -> None:
    model = zoo.load(card, device="cpu")
    model.push_to_hub(REPO)
    main = server.files(REPO)
    commit = model.push_to_hub(REPO, branch="next")
    assert server.commits(REPO, "next")[0] == commit
    (card / "evaluation.json").write_bytes((card / "evaluation.json").read_bytes().replace(b"Tiny", b"Small"))
    address = zoo.load(card, device="cpu").push_to_hub(REPO, create_pr=True)
    assert address == f"{server.endpoint}/{REPO}/discussions/1"
    assert b"Small faces." in server.files(REPO, "refs/pr/1")["README.md"]
    assert server.files(REPO) == main


def test_figures_are_not_written_into_the_cache_of_the_hub(server: LoopbackHub, card: Path) -> None:
    """The next load would find the file changed, and fetch the commit's own again."""
    publish(card, REPO)
    before = contents(hub.locate(REPO))
    with pytest.raises(InputError, match=r"copy of a Hub repository in the cache.*\n.*save_pretrained"):
        zoo.evaluate(REPO, data="nowhere", write=True)
    assert contents(hub.locate(REPO)) == before


def test_changed_weights_are_saved_without_the_facts_of_the_old_ones(server: LoopbackHub, card: Path) -> None:
    model = zoo.load(card, device="cpu")
    next(iter(model.module.parameters())).data += 1
    saved = model.save_pretrained(card.parent / "changed")
    assert set(contents(saved)) == {"config.json", "model.safetensors"}
    again = zoo.load(saved, device="cpu")
    assert (again.sample(1, seed=0).tensor == model.sample(1, seed=0).tensor).all()
    with pytest.raises(InputError, match=r"has no evaluation\.json"):
        model.push_to_hub("org/changed")
    assert server.requests == []


def test_nobodys_other_files_are_replaced(card: Path, tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "README.md").write_text("my notes")
    with pytest.raises(ZooError, match=r"config\.json"):
        zoo.load(card, device="cpu").save_pretrained(desk)
    assert contents(desk) == {"README.md": b"my notes"}


# --- the command


@pytest.fixture
def run(server: LoopbackHub) -> Callable[..., Any]:
    return lambda *words, **given: CliRunner().invoke(app, ["publish", *map(str, words)], **given)


def test_a_dry_run_shows_all_and_changes_nothing(run: Callable[..., Any], server: LoopbackHub, card: Path) -> None:
    shown = run(card, "--to", REPO, "--tag", "v1", "--dry-run")
    assert shown.exit_code == 0, shown.output
    for name in contents(card):
        assert any(line.split()[:2] == ["add", name] for line in shown.stdout.splitlines())
    assert "which will be made" in shown.stdout
    assert writes(server) == []


def test_where_there_is_nobody_to_ask_yes_is_required(run: Callable[..., Any], server: LoopbackHub, card: Path) -> None:
    assert run(card, "--to", REPO).exit_code == 2
    assert server.requests == []
    done = run(card, "--to", REPO, "--yes")
    assert done.exit_code == 0, done.output
    assert "read back, verified" in done.stdout
    assert REPO in server.repositories


@pytest.mark.parametrize(("answer", "sent"), [("y\n", True), ("n\n", False)])
def test_on_a_terminal_one_is_asked(
    run: Callable[..., Any], server: LoopbackHub, card: Path, monkeypatch: pytest.MonkeyPatch, answer: str, sent: bool
) -> None:
    # The runner replaces stdin with a stream that is no terminal.
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    done = run(card, "--to", REPO, input=answer)
    assert done.exit_code == 0, done.output
    assert (REPO in server.repositories) == sent


def test_all_cards_go_to_their_repositories_and_into_a_collection(
    run: Callable[..., Any], server: LoopbackHub, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "bundled", lambda: {"dcgan-tiny": card})
    for to in ("org", "https://huggingface.co/org/"):
        done = run("--all", "--to", to, "--tag", "v1", "--yes")
        assert done.exit_code == 0, done.output
    assert list(server.repositories) == [REPO]
    (collection,) = server.collections.values()
    assert (collection["title"], collection["namespace"]) == (f"zoo {zoo.__version__}", "org")
    assert [item["id"] for item in collection["items"]] == [REPO]


def test_the_address_of_a_page_is_its_repository(run: Callable[..., Any], server: LoopbackHub, card: Path) -> None:
    done = run(card, "--to", f"https://huggingface.co/{REPO}", "--yes")
    assert done.exit_code == 0, done.output
    assert list(server.repositories) == [REPO]


@pytest.mark.parametrize("words", [["--to", REPO, "--yes"], ["x", "--all", "--to", "org", "--yes"]])
def test_the_command_wants_one_card_or_all(run: Callable[..., Any], words: list[str]) -> None:
    assert run(*words).exit_code == 2


@pytest.mark.parametrize("to", ["faces", "org/na me", "../x", "org/x/y"])
def test_a_repository_has_an_owner_and_a_name(
    run: Callable[..., Any], server: LoopbackHub, card: Path, to: str
) -> None:
    done = run(card, "--to", to, "--yes")
    assert (done.exit_code, server.requests) == (1, [])
    assert "is no repository of the Hub" in done.stderr


def test_a_signed_publication_verifies_with_the_key_alone(
    run: Callable[..., Any], server: LoopbackHub, card: Path, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing")
    pytest.importorskip("OpenSSL")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    for name in ("ours", "theirs"):
        key = ec.generate_private_key(ec.SECP256R1())
        pem, pkcs8, none = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (tmp_path / f"{name}.pem").write_bytes(key.private_bytes(pem, pkcs8, none))
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub").write_bytes(public)
    assert run(card, "--to", REPO, "--sign", tmp_path / "ours.pem", "--yes").exit_code == 0
    assert "model.sig" in server.files(REPO)
    model = zoo.load(REPO, verify="signed", key=tmp_path / "ours.pub", device="cpu")
    assert model.name == "dcgan-tiny"
    with pytest.raises(FormatError):
        zoo.load(REPO, verify="signed", key=tmp_path / "theirs.pub")
    checks = {check.what: check.state for check in verification.verify(REPO, key=tmp_path / "ours.pub", progress=False)}
    assert checks["signature"] == "pass"
    checks = {
        check.what: check.state for check in verification.verify(REPO, key=tmp_path / "theirs.pub", progress=False)
    }
    assert checks["signature"] == "fail"
    server.put(REPO, server.files(REPO) | {"README.md": server.files(REPO)["README.md"] + b"\nMended on the web.\n"})
    assert zoo.load(REPO, verify="signed", key=tmp_path / "ours.pub", device="cpu").name == "dcgan-tiny"
    server.put(REPO, server.files(REPO) | {"samples.png": b"another"})
    with pytest.raises(FormatError, match=r"samples\.png"):
        zoo.load(REPO, verify="signed", key=tmp_path / "ours.pub")


def test_signing_needs_a_key_that_is_one(run: Callable[..., Any], server: LoopbackHub, card: Path) -> None:
    with pytest.raises(InputError, match="ZOO_PUBLIC_KEY"):
        zoo.load(card, verify="signed")
    with pytest.raises(InputError, match=r"unknown way to verify.*\n.*verify='hashes' or verify='signed'"):
        zoo.load(card, verify="sight")
