"""The Hub's client. It is called under the name of zoo, its answers are checked, and its errors become ours."""

import hashlib
import ipaddress
import os
import re
import ssl
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
"""Seconds to wait for an answer of the Hub. Downloads have the client's own limit (HF_HUB_DOWNLOAD_TIMEOUT)."""

REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)
DISTRUST = "Try again, without a proxy or mirror (HF_ENDPOINT) if there is one."
"""What to do about an answer that the Hub itself would not give."""
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class UnansweredError(HubError):
    """The Hub did not answer for a revision. An earlier copy of it may be used."""


class AbsentError(UnansweredError, NotFoundError):
    """The repository is not there, has been removed, or is private: the Hub does not tell these apart."""


def check_names(repo: str, revision: str | None = None) -> None:
    """InputError for a wrong name of a repository or a revision, because names become paths and addresses."""
    if not REPOSITORY.fullmatch(repo) or ".." in repo or "--" in repo:
        raise InputError(f"{repo!r} is no repository of the Hub", "Give its owner and its name, like org/name.")
    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision or "//" in revision):
        raise InputError(f"{revision!r} is no revision", "Give a branch, a tag, or the 40 hex digits of a commit.")


def endpoint() -> str:
    """The address of the Hub. InputError for one without https, which anybody on the network could answer for."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    if parts.scheme == "https" or _loopback(parts.hostname or "") or os.environ.get("ZOO_ALLOW_HTTP") == "1":
        return constants.ENDPOINT
    raise InputError(
        f"HF_ENDPOINT={constants.ENDPOINT}: the Hub must be asked over https",
        "If you trust this network, set ZOO_ALLOW_HTTP=1.",
    )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def client(token: str | bool | None) -> Any:
    """The Hub's client, which tells the Hub that zoo is calling."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint(), token=token, library_name=DISTRIBUTION, library_version=__version__)


@contextmanager
def asking(repo: str, revision: str) -> Iterator[None]:
    """For calls of the client: turns their errors into ours."""
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
        hint = f"Accept its terms at {hub}/{repo}. Then log in with 'hf auth login', or set HF_TOKEN."
        return UnansweredError(f"{repo} on {hub} is open only to those who accept its terms", hint)
    if isinstance(error, RevisionNotFoundError | RemoteEntryNotFoundError):
        return NotFoundError(
            f"{repo} on {hub} has no revision {revision!r}", f"Its commits are listed at {hub}/{repo}/commits/main."
        )
    if isinstance(error, RepositoryNotFoundError):
        hint = "Check the name, or type 'zoo list'. For a private one log in with 'hf auth login', or set HF_TOKEN."
        return AbsentError(f"{hub} has no repository {repo} that you may read", hint)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 412:
            return HubError(
                f"somebody else has changed {repo} in the meantime", "Look at it, then type the same command again."
            )
        if status in (401, 403):
            hint = "Log in with 'hf auth login' and a token that may do this, or set HF_TOKEN."
            return UnansweredError(f"{hub} refuses this token for {repo} (status {status})", hint)
        return UnansweredError(f"{hub} answers with status {status} for {repo}", "Type the same command again later.")
    return UnansweredError(f"{hub} cannot be reached for {repo} at {revision}: {_cause(error)}", _way_out(error))


def _cause(error: Exception) -> str:
    """The kind of an error and the first line of its text."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _way_out(error: Exception) -> str:
    if isinstance(error, ImportError):  # the transport does without what a proxy needs, until there is one
        return "Install it: pip install 'httpx[socks]'. Or unset ALL_PROXY and HTTPS_PROXY."
    if isinstance(error, FileNotFoundError | ssl.SSLError):
        return "Certificates are read from $SSL_CERT_FILE and $SSL_CERT_DIR. Correct these variables, or unset them."
    return "Check the network. HF_HUB_OFFLINE=1 uses what is in the cache; 'zoo list' shows the cards that are here."


@dataclass(frozen=True)
class Entry:
    """What a commit says of one file."""

    size: int
    blob: str
    """git's own hash of a file that git holds: sha1 of its size and bytes."""
    sha256: str | None = None
    """The hash of a large file, which git does not hold itself."""

    @property
    def digest(self) -> str:
        """The hash that its bytes must have; it is also the file's name among the blobs of the cache."""
        return self.sha256 or self.blob

    def hash(self, path: Path) -> str:
        """The hash of a file on the disk, of the same kind as `digest`."""
        with path.open("rb") as file:
            if self.sha256:
                return hashlib.file_digest(file, "sha256").hexdigest()
            state = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
            return hashlib.file_digest(file, lambda: state).hexdigest()


@dataclass(frozen=True)
class Seen:
    """A revision of a repository, as the Hub describes it."""

    commit: str
    files: dict[str, Entry]
    """All files of the commit, whatever their names."""

    @property
    def card(self) -> dict[str, Entry]:
        """The files that a card may have."""
        return {name: entry for name, entry in self.files.items() if name in LIMITS}


def look(repo: str, revision: str, token: str | bool | None) -> Seen:
    """The commit of a revision and its files, by one request, so that no push can come between the two.

    A mirror may leave the hashes out; then a second request asks for them. Raises what `translate` returns, and
    HubError for an answer that makes no sense.
    """
    api = client(token)
    with asking(repo, revision):
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
    commit, files = info.sha or "", info.siblings or []
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision) and commit != revision):
        raise HubError(f"{endpoint()} says that {repo} at {revision} is commit {commit[:60]!r}", DISTRUST)
    if any(None in (file.size, file.blob_id) for file in files):
        with asking(repo, commit):
            tree = api.list_repo_tree(repo, recursive=True, revision=commit)
            files = [part for part in tree if hasattr(part, "blob_id")]
    return Seen(commit, {file.rfilename: _described(file) for file in files})


def _described(file: Any) -> Entry:
    large = (file.lfs.sha256, file.lfs.size) if file.lfs else ()
    return entry_of(file.rfilename, file.size, file.blob_id, *large)


def entry_of(name: str, size: Any, blob: Any, sha256: Any = None, lfs_size: Any = None) -> Entry:
    """An entry of a listing. lfs_size: the real size of a large file. HubError for a part that makes no sense."""
    size = size if lfs_size is None else lfs_size
    good = isinstance(size, int) and size >= 0 and isinstance(blob, str) and COMMIT.fullmatch(blob)
    if not good or not (sha256 is None or (isinstance(sha256, str) and SHA256.fullmatch(sha256))):
        said = f"size {size!r:.60} and hashes {blob!r:.60}, {sha256!r:.80}"
        raise HubError(f"the Hub lists {name[:60]!r} with {said}", DISTRUST)
    return Entry(size, blob, sha256)
