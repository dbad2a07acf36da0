"""The Hub's client: asked under our name, its answers checked, its errors turned into ours."""

import hashlib
import ipaddress
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from zoo._version import DISTRIBUTION, __version__
from zoo.card.names import LIMITS, REPOSITORY
from zoo.errors import HubError, InputError, NotFoundError, ZooError

DEFAULT_REVISION = "main"
TIMEOUT = 4.0
"""Seconds to wait for the Hub's answer; downloads have the client's own limit (HF_HUB_DOWNLOAD_TIMEOUT)."""

REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class UnansweredError(HubError):
    """The Hub did not say what a revision is, or did not serve it: an earlier copy will do."""


class AbsentError(UnansweredError, NotFoundError):
    """There is no such repository, or no longer, or not for you: the Hub does not tell these apart."""


def check_names(repo: str, revision: str | None = None) -> None:
    """InputError for what cannot be a repository or a revision: names become paths and addresses."""
    if not REPOSITORY.fullmatch(repo) or ".." in repo or "--" in repo:
        raise InputError(f"{repo!r} is no repository of the Hub", "They are called like 'org/name'.")
    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision or "//" in revision):
        raise InputError(f"{revision!r} is no revision", "Give a branch, a tag, or the 40 hex digits of a commit.")


def endpoint() -> str:
    """Where the Hub is. InputError for one that anybody on the way could speak for."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    if parts.scheme == "https" or _loopback(parts.hostname or "") or os.environ.get("ZOO_ALLOW_HTTP") == "1":
        return constants.ENDPOINT
    raise InputError(
        f"HF_ENDPOINT={constants.ENDPOINT}: the Hub is asked over https alone",
        "Set ZOO_ALLOW_HTTP=1 to trust this network.",
    )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def client(token: str | bool | None) -> Any:
    """The Hub's client, with our name on it."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint(), token=token, library_name=DISTRIBUTION, library_version=__version__)


@contextmanager
def asking(repo: str, revision: str) -> Iterator[None]:
    """Around calls of the client: their errors become ours."""
    try:
        yield
    except Exception as error:  # the transport's errors belong to whichever library the client uses
        raise translate(error, repo, revision) from error


def translate(error: Exception, repo: str, revision: str) -> ZooError:
    """An error of the client or of its transport as one of ours."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    if type(error) is RuntimeError and isinstance(error.__cause__, Exception):  # how the client wraps a failed upload
        return translate(error.__cause__, repo, revision)
    if isinstance(error, GatedRepoError):
        hint = f"Accept its terms at {hub}/{repo}, then 'hf auth login' or HF_TOKEN."
        return UnansweredError(f"{repo} on {hub} is gated", hint)
    if isinstance(error, RevisionNotFoundError | RemoteEntryNotFoundError):
        return NotFoundError(f"{repo} on {hub} has no revision {revision!r}", f"See {hub}/{repo}/commits/main.")
    if isinstance(error, RepositoryNotFoundError):
        hint = "If it is private, 'hf auth login' or HF_TOKEN lets you in; 'zoo list' shows the cards that are here."
        return AbsentError(f"{hub} has no repository {repo} that you may read", hint)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 412:
            return HubError(f"{repo} has been changed by somebody else meanwhile", "Look at it, then run this again.")
        if status in (401, 403):
            hint = "Get a token that may with 'hf auth login', or set HF_TOKEN."
            return UnansweredError(f"{hub} does not let this token do that to {repo} (status {status})", hint)
        return UnansweredError(f"{hub} answers with status {status} for {repo}", "Try again later.")
    return UnansweredError(
        f"{hub} cannot be reached for {repo} at {revision}: {type(error).__name__}",
        "Check the network; HF_HUB_OFFLINE=1 uses what is in the cache, 'zoo list' shows the cards that need none.",
    )


@dataclass(frozen=True)
class Entry:
    """What a commit says of one file."""

    size: int
    blob: str
    """git's own hash of a file that git holds: sha1 of its size and bytes."""
    sha256: str | None = None
    """Of a large file, which git does not hold itself."""

    @property
    def digest(self) -> str:
        """What its bytes must hash to, also its name among the cache's blobs."""
        return self.sha256 or self.blob

    def hash(self, path: Path) -> str:
        """The same of a file on the disk."""
        with path.open("rb") as file:
            if self.sha256:
                return hashlib.file_digest(file, "sha256").hexdigest()
            state = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
            return hashlib.file_digest(file, lambda: state).hexdigest()


@dataclass(frozen=True)
class Seen:
    """A revision of a repository, as the Hub tells it."""

    commit: str
    files: dict[str, Entry]
    """All of them, whatever their names."""

    @property
    def card(self) -> dict[str, Entry]:
        """Those that a card may have."""
        return {name: entry for name, entry in self.files.items() if name in LIMITS}


def look(repo: str, revision: str, token: str | bool | None) -> Seen:
    """What a revision is now: one request, so that no push can come between the commit and its listing.

    A mirror may leave the hashes out; then the commit is asked for them. Raises as `translate` says, and HubError for
    an answer that cannot be.
    """
    api = client(token)
    with asking(repo, revision):
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
    commit, files = info.sha or "", info.siblings or []
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision) and commit != revision):
        raise HubError(f"{endpoint()} says that {repo} at {revision} is commit {commit[:60]!r}")
    if any(None in (file.size, file.blob_id) for file in files):
        with asking(repo, commit):
            tree = api.list_repo_tree(repo, recursive=True, revision=commit)
            files = [part for part in tree if hasattr(part, "blob_id")]
    return Seen(commit, {file.rfilename: _described(file) for file in files})


def _described(file: Any) -> Entry:
    large = (file.lfs.sha256, file.lfs.size) if file.lfs else ()
    return entry_of(file.rfilename, file.size, file.blob_id, *large)


def entry_of(name: str, size: Any, blob: Any, sha256: Any = None, lfs_size: Any = None) -> Entry:
    """An entry of a listing, once its parts are what they should be. Sizes of large files are of the file itself."""
    size = size if lfs_size is None else lfs_size
    good = isinstance(size, int) and size >= 0 and isinstance(blob, str) and COMMIT.fullmatch(blob)
    if not good or not (sha256 is None or (isinstance(sha256, str) and SHA256.fullmatch(sha256))):
        raise HubError(f"the Hub lists {name[:60]!r} with size {size!r:.60} and hashes {blob!r:.60}, {sha256!r:.80}")
    return Entry(size, blob, sha256)
