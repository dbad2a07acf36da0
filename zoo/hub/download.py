"""Download one commit of a Hub repository into the Hub's own cache, and check every file by that commit's listing.

The Hub's client transfers the bytes. This file decides where they go, from names and hashes that were checked before.
Nothing that a server says becomes a path, and no file gets to its place before its hash was found right.
"""

import contextlib
import errno
import io
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from zoo._version import DISTRIBUTION, __version__
from zoo.card.config import read_config
from zoo.card.names import CONFIG, LIMITS, NEEDED
from zoo.errors import FormatError, HubError, NotFoundError, StaleWarning, ZooError
from zoo.files import TEMPORARY, fsync, read_json, sweep, to_json, write_atomically
from zoo.hub.client import (
    COMMIT,
    DEFAULT_REVISION,
    DISTRUST,
    Entry,
    Seen,
    UnansweredError,
    check_names,
    endpoint,
    entry_of,
    look,
    translate,
)

MAX_LISTING = 1 << 24
ATTEMPTS = 2
"""How often a file is fetched that arrives with the wrong hash, before it is refused."""

LISTED = "Check the name; 'zoo list' shows the cards that load by name."

Listing = Mapping[str, Entry]


@dataclass(frozen=True)
class Snapshot:
    """A repository on the disk, with every file as it is at one commit."""

    repo: str
    commit: str
    folder: Path


@dataclass(frozen=True)
class _Store:
    """A repository's part of the Hub's cache, in the layout of the client: refs, trees, blobs, snapshots."""

    cache: Path
    repo: str

    @property
    def name(self) -> str:
        return f"models--{self.repo.replace('/', '--')}"

    @property
    def root(self) -> Path:
        return self.cache / self.name

    def snapshot(self, commit: str) -> Path:
        return self.root / "snapshots" / commit

    def lock(self, digest: str) -> Path:
        return self.cache / ".locks" / self.name / f"{digest}.lock"

    def ref(self, revision: str) -> str | None:
        """The commit that a branch or tag was last known to be."""
        try:
            found = (self.root / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        return found if COMMIT.fullmatch(found) else None

    def age(self, revision: str) -> float:
        """Seconds since the Hub last confirmed a ref."""
        return max(0.0, time.time() - (self.root / "refs" / revision).stat().st_mtime)

    def listing(self, commit: str) -> Listing | None:
        """The listing of a commit in the cache; None if it is missing or damaged."""
        try:
            kept = read_json(self._tree(commit), MAX_LISTING)
            return {name: entry_of(name, *_fields(said)) for name, said in kept["files"].items() if name in LIMITS}
        except (ZooError, OSError, KeyError, TypeError, AttributeError):
            return None

    def _tree(self, commit: str) -> Path:
        return self.root / "trees" / f"{commit}.json"

    def keep_listing(self, seen: Seen) -> None:
        """Write a listing to the cache, complete and in the client's own format, since its commands read it too."""
        text = to_json({"format_version": 1, "files": {name: _record(entry) for name, entry in seen.files.items()}})
        write_atomically(self._tree(seen.commit), lambda path: path.write_text(text, encoding="utf-8"))

    def keep_ref(self, revision: str, commit: str) -> None:
        """Note the commit that the Hub has just given for a branch or tag. A cache that is read-only stays as it is."""
        path = self.root / "refs" / revision
        with contextlib.suppress(OSError):
            write_atomically(path, lambda temporary: temporary.write_text(commit, encoding="ascii"))


def fetch(
    repo: str,
    revision: str | None = None,
    *,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Snapshot:
    """A card's repository on the Hub, at the one commit that `revision` (a branch, tag or commit; main) now is.

    The hash of every file is checked by that commit's listing, also of those that were in the cache. A damaged file is
    fetched again once. For the full hash of a commit that is complete in the cache, the Hub is not asked.
    If the Hub does not answer, or no longer has the repository, the last copy is used with a StaleWarning.
    Raises HubError, NotFoundError, or FormatError for bytes that are not those of the commit.
    """
    from huggingface_hub import constants

    check_names(repo, revision)
    revision = revision or DEFAULT_REVISION
    store = _Store(Path(cache_dir or constants.HF_HUB_CACHE).expanduser().absolute(), repo)
    if local_files_only or constants.HF_HUB_OFFLINE:
        return _kept(store, revision)
    try:
        return _fetched(store, revision, token, force_download)
    except UnansweredError as error:
        return _stale(store, revision, error)


# --- with the Hub


def _fetched(store: _Store, revision: str, token: str | bool | None, force: bool) -> Snapshot:
    source = _Source(store, token)
    kept = store.listing(revision) if COMMIT.fullmatch(revision) else None
    commit, listing = (revision, kept) if kept is not None else source.resolve(revision)
    _check_listing(store.repo, commit, listing)
    for folder in ("blobs", "trees", f"snapshots/{commit}"):
        sweep(store.root / folder)
    for name in sorted(listing, key=lambda name: name != CONFIG):
        source.obtain(commit, name, listing[name], force)
        if name == CONFIG:  # raises for a repository that is no card, before more is fetched
            read_config(store.snapshot(commit))
    if not COMMIT.fullmatch(revision):
        store.keep_ref(revision, commit)  # last, so that a ref never leads to half a card
    return Snapshot(store.repo, commit, store.snapshot(commit))


def _check_listing(repo: str, commit: str, listing: Listing) -> None:
    missing = [name for name in NEEDED if name not in listing]
    if missing:
        raise NotFoundError(f"{repo} at {commit[:12]} is no card: it has no {' and no '.join(missing)}", LISTED)
    for name, entry in listing.items():
        if entry.size > LIMITS[name]:
            raise FormatError(f"{repo}: {name} has {entry.size} bytes, at most {LIMITS[name]} expected")


@dataclass(frozen=True)
class _Source:
    """The Hub, asked for one repository with one token."""

    store: _Store
    token: str | bool | None

    def resolve(self, revision: str) -> tuple[str, Listing]:
        """The commit of a revision and its listing, which is written to the cache."""
        seen = look(self.store.repo, revision, self.token)
        if self.store.listing(seen.commit) is None:
            with _writing(self.store.root):
                self.store.keep_listing(seen)
        return seen.commit, seen.card

    def obtain(self, commit: str, name: str, entry: Entry, force: bool) -> None:
        """Make sure that a file of the snapshot is there, with the right bytes."""
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        path, lock = self.store.snapshot(commit) / name, self.store.lock(entry.digest)
        if not force and _fault(path, entry) is None:
            return
        with _writing(self.store.root):
            lock.parent.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):
                if not force and _fault(path, entry) is None:  # another process was faster
                    return
                blob = self.store.root / "blobs" / entry.digest
                if force or _fault(blob, entry) is not None:
                    write_atomically(blob, partial(self._download, commit, name, entry))
                _point(path, blob)

    def _download(self, commit: str, name: str, entry: Entry, temporary: Path) -> None:
        """Download a file. FormatError if its bytes are wrong each time."""
        for left in reversed(range(ATTEMPTS)):
            try:
                self._carry(commit, name, entry, temporary)
                fault = _fault(temporary, entry)
            except _LengthError as error:
                fault = str(error)
            if fault is None:
                return
            if not left:
                raise FormatError(
                    f"{self.store.repo} at {commit[:12]}: {endpoint()} serves a wrong {name}: {fault}",
                    f"Nothing of it was kept. {DISTRUST}",
                )

    def _carry(self, commit: str, name: str, entry: Entry, temporary: Path) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url = hf_hub_url(self.store.repo, name, revision=commit, endpoint=endpoint())
        headers = build_hf_headers(token=self.token, library_name=DISTRIBUTION, library_version=__version__)
        with _Bounded(temporary, entry.size) as file:
            try:
                http_get(url, file, headers=headers, displayed_filename=f"{self.store.repo} {name}")
            except _LengthError:
                raise
            except Exception as error:
                if type(error) is OSError and error.errno is None:  # how the client reports a body of another length
                    raise _LengthError(f"cut short, expected {entry.size} bytes") from error
                if isinstance(error, OSError) and error.errno is not None:  # an error of the disk
                    raise
                raise translate(error, self.store.repo, commit) from error


class _LengthError(Exception):
    """More or fewer bytes arrived than the listing says."""


class _Bounded(io.BufferedWriter):
    """A new file that takes at most `limit` bytes, however many a server sends."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self.limit = limit

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.limit:
            raise _LengthError(f"more than {self.limit} bytes")
        return super().write(data)


def _fault(path: Path, entry: Entry) -> str | None:
    """What is wrong with a file: None if it is there with the right bytes."""
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if size != entry.size:
        return f"{size} bytes, expected {entry.size}"
    found = entry.hash(path)
    kind = "sha256" if entry.sha256 else "git sha1"
    return None if found == entry.digest else f"{kind} is {found}, expected {entry.digest}"


def _point(path: Path, blob: Path) -> None:
    """Make a file of the snapshot a link to its blob, or a copy on a disk that has no links."""
    target = os.path.relpath(blob, path.parent)
    if path.is_symlink() and os.readlink(path) == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    link = path.parent / f"{TEMPORARY}{os.getpid()}-{blob.name[:16]}"
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    try:
        link.symlink_to(target)
    except OSError:
        shutil.copyfile(blob, link)
        fsync(link)
    os.replace(link, path)


@contextlib.contextmanager
def _writing(root: Path) -> Any:
    """Turns errors of the disk into ours."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = f"{'Free some space, or set' if full else 'Set'} HF_HOME to a folder that can be written."
        raise HubError(f"{root}: cannot be written: {error.strerror or error}", hint) from error


# --- without it


def _kept(store: _Store, revision: str) -> Snapshot:
    """The copy in the cache. HubError if something is missing of it."""
    commit = revision if COMMIT.fullmatch(revision) else store.ref(revision)
    why = "and zoo may not ask the Hub (HF_HUB_OFFLINE or local_files_only)"
    hint = f"Load it once with the network: HF_HUB_OFFLINE=0 zoo info {store.repo}@{revision}"
    listing = store.listing(commit) if commit else None
    if commit is None or listing is None:
        raise HubError(f"{store.repo} at {revision} is not in the cache {store.cache}, {why}", hint)
    _check_listing(store.repo, commit, listing)
    faults = {name: _fault(store.snapshot(commit) / name, entry) for name, entry in listing.items()}
    wrong = "; ".join(f"{name}: {fault}" for name, fault in faults.items() if fault)
    if wrong:
        raise HubError(f"{store.repo} at {commit[:12]} is incomplete in the cache {store.cache}, {why}: {wrong}", hint)
    return Snapshot(store.repo, commit, store.snapshot(commit))


def _stale(store: _Store, revision: str, error: UnansweredError) -> Snapshot:
    """The last copy, with a warning. Raises the error if there is no copy."""
    try:
        kept = _kept(store, revision)
    except ZooError:
        raise error from error.__cause__
    when = "" if COMMIT.fullmatch(revision) else f", which it was {_ago(store.age(revision))} ago"
    warnings.warn(f"{error.message}; using commit {kept.commit[:12]}{when}", StaleWarning, stacklevel=2)
    return kept


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            n = int(seconds / length)
            return f"{n} {unit}{'s' * (n != 1)}"
    return "less than a minute"


# --- listings as they are kept


def _fields(said: Mapping[str, Any]) -> tuple[Any, ...]:
    return said["size"], said["blob_id"], said.get("lfs_sha256"), said.get("lfs_size")


def _record(entry: Entry) -> dict[str, Any]:
    large = {"lfs_sha256": entry.sha256, "lfs_size": entry.size} if entry.sha256 else {}
    return {"size": entry.size, "blob_id": entry.blob} | large
