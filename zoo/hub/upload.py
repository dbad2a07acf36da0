"""Send the folder of a card to the Hub as one commit: plan it, then carry it out. It can be interrupted at any time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoo._version import __version__
from zoo.card.names import LIMITS
from zoo.errors import HubError, NotFoundError
from zoo.hub.client import DEFAULT_REVISION, TIMEOUT, Entry, asking, check_names, client, look


@dataclass(frozen=True)
class Change:
    """One file of a card, and what a commit does to it."""

    name: str
    action: Literal["add", "replace", "remove", "same"]
    size: int


@dataclass(frozen=True)
class Plan:
    """What would change if a folder were sent to a repository."""

    repo: str
    folder: Path
    branch: str
    private: bool | None
    exists: bool
    """Whether the repository exists."""
    parent: str | None
    """The newest commit of the branch; None if there is no such branch yet."""
    changes: tuple[Change, ...]
    kept: tuple[str, ...]
    """Other files of the repository, which are left alone."""

    @property
    def needed(self) -> tuple[Change, ...]:
        """The changes without those that are none."""
        return tuple(change for change in self.changes if change.action != "same")


def plan(
    folder: Path, repo: str, *, private: bool | None = None, token: str | bool | None = None, branch: str | None = None
) -> Plan:
    """Plan what would change if the card in a folder were sent to a repository. Nothing is changed yet.

    private: whether a new repository is private. Raises HubError, or InputError for a wrong name.
    """
    check_names(repo, branch)
    branch = branch or DEFAULT_REVISION
    try:
        seen = look(repo, branch, token)
    except NotFoundError:
        changes = tuple(_changes(folder, {}))
        return Plan(repo, folder, branch, private, _exists(repo, token), None, changes, ())
    kept = tuple(name for name in seen.files if name not in LIMITS and name != ".gitattributes")
    return Plan(repo, folder, branch, private, True, seen.commit, tuple(_changes(folder, seen.card)), kept)


def _exists(repo: str, token: str | bool | None) -> bool:
    """Whether a repository exists, although it lacks a branch."""
    try:
        look(repo, DEFAULT_REVISION, token)
    except NotFoundError:
        return False
    return True


def _changes(folder: Path, there: dict[str, Entry]) -> list[Change]:
    found = []
    for name in LIMITS:
        path, entry = folder / name, there.get(name)
        if path.is_file():
            same = entry is not None and entry.size == path.stat().st_size and entry.hash(path) == entry.digest
            found.append(Change(name, "same" if same else "replace" if entry else "add", path.stat().st_size))
        elif entry is not None:
            found.append(Change(name, "remove", entry.size))
    return found


def carry_out(
    plan: Plan, *, token: str | bool | None = None, message: str | None = None, create_pr: bool = False
) -> str:
    """Make the repository if it is missing, and the commit. Returns the commit, or the address of the pull request.

    The commit names its parent. If somebody else pushes in between, the Hub refuses it, and their push is kept. After
    an interruption it can be called again: files that are there already are not sent again.
    """
    api, repo, parent = client(token), plan.repo, plan.parent
    with asking(repo, plan.branch):
        if not plan.exists:
            api.create_repo(repo, private=plan.private, exist_ok=True)
        if parent is None:
            if plan.branch != DEFAULT_REVISION:
                api.create_branch(repo, branch=plan.branch, exist_ok=True)
            parent = api.model_info(repo, revision=plan.branch, timeout=TIMEOUT).sha
        if not plan.needed:
            return str(parent)
        done = api.create_commit(
            repo,
            _operations(plan),
            commit_message=message or f"Publish with zoo {__version__}",
            revision=plan.branch,
            parent_commit=parent,
            create_pr=create_pr,
        )
    return str(done.pr_url if create_pr else done.oid)


def _operations(plan: Plan) -> list[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    return [
        CommitOperationDelete(change.name)
        if change.action == "remove"
        else CommitOperationAdd(change.name, plan.folder / change.name)
        for change in plan.needed
    ]


def tagged(repo: str, name: str, token: str | bool | None = None) -> str | None:
    """The commit of a tag; None if there is no such tag or no such repository."""
    try:
        with asking(repo, name):
            refs = client(token).list_repo_refs(repo)
    except NotFoundError:
        return None
    return next((str(tag.target_commit) for tag in refs.tags if tag.name == name), None)


def tag(repo: str, name: str, commit: str, token: str | bool | None = None) -> None:
    """Tag a commit. HubError if another commit has the tag already: it is not moved."""
    with asking(repo, name):
        client(token).create_tag(repo, tag=name, revision=commit, exist_ok=True)
    at = tagged(repo, name, token)
    if at != commit:
        raise HubError(
            f"{repo} has a tag {name!r} at commit {str(at)[:12]}", "A tag cannot be moved. Give another --tag."
        )
