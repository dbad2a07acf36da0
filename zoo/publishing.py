"""Publish a card on the Hub: verify it, plan the commit, send it, read it back, tag it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from zoo._version import __version__
from zoo.card import facts as cards
from zoo.card.config import read_config
from zoo.card.names import LIMITS
from zoo.errors import FormatError, HubError
from zoo.evaluation.verification import verify
from zoo.extras import require
from zoo.files import sha256
from zoo.hub import places as hub
from zoo.hub import upload
from zoo.hub.client import asking, check_names, client, endpoint
from zoo.hub.download import fetch
from zoo.hub.upload import Plan


@dataclass(frozen=True)
class Published:
    """A card on the Hub."""

    repo: str
    commit: str
    tag: str | None
    changed: bool
    """False if the repository held exactly this card already."""

    @property
    def url(self) -> str:
        return f"{endpoint()}/{self.repo}/tree/{self.tag or self.commit}"


@dataclass(frozen=True)
class Draft:
    """A verified card in a folder of its own, ready to be sent, and the plan of what that would change."""

    plan: Plan
    tag: str | None
    token: str | bool | None

    def send(self) -> Published:
        """Send one commit, read it back, verify it and then tag it, so that a tag always leads to a whole card.

        After an interruption it can be called again. It does not repeat what is done already.
        """
        plan = self.plan
        commit = upload.carry_out(plan, token=self.token)
        _read_back(plan, commit, self.token)
        if self.tag:
            upload.tag(plan.repo, self.tag, commit, self.token)
        return Published(plan.repo, commit, self.tag, bool(plan.needed))


@contextmanager
def draft(
    name: hub.Name,
    to: str,
    *,
    tag: str | None = None,
    private: bool = False,
    key: str | Path | None = None,
    token: str | bool | None = None,
    device: str = "auto",
) -> Iterator[Draft]:
    """A card on its way to the repository `to`. Nothing is changed on the Hub before `send`.

    to: `org/name`, or the address of its page. tag: a tag for the commit; no other commit may have it. private: whether
    a new repository is private. key: a private key (PEM) to sign the card with.
    Raises FormatError for a card that fails its checks, MissingExtraError, NotFoundError, InputError and HubError.
    """
    to, _ = hub.page(to)
    check_names(to, tag)
    require("evaluate", "verifying what is published")
    source = hub.locate(name)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / read_config(source).name
        folder.mkdir()
        for file in LIMITS:
            if (source / file).is_file():
                shutil.copyfile(source / file, folder / file)
        cards.address(folder, to)
        if key is not None:
            from zoo.hub.signing import sign

            sign(folder, Path(key))
        _hold(folder, str(name), device)
        plan = upload.plan(folder, to, private=private or None, token=token)
        _check_tag(plan, tag, token)
        yield Draft(plan, tag, token)


def publish(
    name: hub.Name,
    to: str,
    *,
    tag: str | None = None,
    private: bool = False,
    key: str | Path | None = None,
    token: str | bool | None = None,
    device: str = "auto",
) -> Published:
    """Publish a card to the repository `to` on the Hub, without asking. Takes and raises what `draft` does.

    The card is verified and sent as one commit. Then it is read back from the Hub, verified again and tagged.
    """
    with draft(name, to, tag=tag, private=private, key=key, token=token, device=device) as ready:
        return ready.send()


def collect(owner: str, repositories: list[str], token: str | bool | None = None) -> str:
    """Put repositories into the collection of this release of zoo, a new one if need be. Returns its address."""
    api = client(token)
    with asking(owner, __version__):
        made = api.create_collection(
            title=f"zoo {__version__}",
            namespace=owner,
            description=f"The cards of zoo {__version__}: zoo.load('{repositories[0]}') and the like.",
            exists_ok=True,
        )
        for repo in repositories:
            api.add_collection_item(made.slug, item_id=repo, item_type="model", exists_ok=True)
    return f"{endpoint()}/collections/{made.slug}"


def _hold(folder: Path, name: str, device: str) -> None:
    """FormatError unless the card passes all its checks."""
    failed = [check for check in verify(folder, device=device, progress=False) if check.state == "fail"]
    if failed:
        faults = "; ".join(
            f"{check.what}: {check.why or f'{check.found}, expected {check.expected}'}" for check in failed
        )
        raise FormatError(f"{name} is not what it says it is: {faults}", f"To see all checks: zoo verify {name}")


def _check_tag(plan: Plan, tag: str | None, token: str | bool | None) -> None:
    """HubError if another commit has the tag already."""
    if tag is None or not plan.exists:
        return
    at = upload.tagged(plan.repo, tag, token)
    if at is not None and (plan.needed or at != plan.parent):
        raise HubError(
            f"{plan.repo} has a tag {tag!r} already, at commit {at[:12]}", "A tag cannot be moved. Give another --tag."
        )


def _read_back(plan: Plan, commit: str, token: str | bool | None) -> None:
    """HubError if the Hub serves other bytes at the new commit than were sent; FormatError if they fail a check."""
    with TemporaryDirectory() as cache:
        back = fetch(plan.repo, commit, token=token, cache_dir=cache)
        for file in LIMITS:
            ours, theirs = plan.folder / file, back.folder / file
            if ours.is_file() != theirs.is_file() or (ours.is_file() and sha256(ours) != sha256(theirs)):
                hint = "The commit was not tagged. Type the same command again."
                raise HubError(f"{plan.repo} at {commit[:12]}: {file} is not what was sent", hint)
        _hold(back.folder, f"{plan.repo}@{commit}", "cpu")
