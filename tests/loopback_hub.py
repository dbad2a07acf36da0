"""A small Hub on 127.0.0.1: the protocol that the real client speaks, a store in memory, and faults on demand.

with LoopbackHub() as hub:
    commit = hub.put("org/name", {"config.json": b"{}"})
    hub.fault = lambda request: Fault.status(500) if request.path.endswith("config.json") else None

Each method below "what a client may ask" is one address; ROUTES, near the end, is the protocol at a glance.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import yaml  # of README.md: comes with the client

LARGE = re.compile(r"\.(safetensors|png|bin)$")
"""Names of the files that git does not hold itself, nor those of more than LARGE_SIZE bytes."""
LARGE_SIZE = 1 << 20
START = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
TIME = "2026-01-01T00:00:00.000Z"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Request:
    """What was asked. The path is still quoted, names of headers are in lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    number: int
    """How many were recorded before."""

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request, with its answer, or with the connection."""

    ask: Callable[[Request], Request] = lambda request: request
    change: Callable[[Request, Answer], Answer] = lambda request, answer: answer
    instead: Answer | None = None
    """An answer; what was asked is not done."""
    drop: bool = False
    """Close the connection without an answer."""
    after: int | None = None
    """Close the connection after so many bytes of the body."""
    delay: float = 0.0

    @classmethod
    def status(cls, code: int, error_code: str | None = None, headers: Mapping[str, str] | None = None) -> "Fault":
        """An answer with that status, and nothing done."""
        named = {"X-Error-Code": error_code} if error_code else {}
        return cls(instead=Answer(code, named | dict(headers or {}), b"{}"))

    @classmethod
    def cut(cls, after: int) -> "Fault":
        """The connection breaks in the middle of the body."""
        return cls(after=after)

    @classmethod
    def cut_before(cls) -> "Fault":
        """The connection breaks before the server has heard of it."""
        return cls(instead=Answer(500, {}, b""), drop=True)

    @classmethod
    def cut_after(cls) -> "Fault":
        """The connection breaks when all has been done, before the answer."""
        return cls(drop=True)

    @classmethod
    def flip(cls, at: int) -> "Fault":
        """One bit of the body is another."""

        def change(request: Request, answer: Answer) -> Answer:
            body = bytearray(answer.body)
            if body:
                body[min(at, len(body) - 1)] ^= 1
            return answer._replace(body=bytes(body))

        return cls(change=change)

    @classmethod
    def replace(cls, body: bytes, pretend: int | None = None) -> "Fault":
        """Another body, of whatever length, with a length that is right; or one that a HEAD pretends."""

        def change(request: Request, answer: Answer) -> Answer:
            claimed = {} if pretend is None else {"X-Linked-Size": str(pretend)}
            if request.method == "HEAD" and claimed:
                claimed["Content-Length"] = str(pretend)
            return answer._replace(headers=answer.headers | claimed, body=body)

        return cls(change=change)

    @classmethod
    def short(cls, n: int) -> "Fault":
        """The first bytes of the body, as if that were all of it. Of a part that was asked for, too."""
        return cls(change=lambda request, answer: answer._replace(body=answer.body[:n]))

    @classmethod
    def ignore_range(cls) -> "Fault":
        """All of a file for who asked for a part."""
        return cls(ask=lambda request: replace(request, headers={**request.headers, "range": ""}))

    @classmethod
    def headers(cls, **override: str) -> "Fault":
        """Other headers."""

        def change(request: Request, answer: Answer) -> Answer:
            lower = {name.lower() for name in override}
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in lower}
            return answer._replace(headers=kept | override)

        return cls(change=change)

    @classmethod
    def slow(cls, seconds: float) -> "Fault":
        """An answer that takes its time."""
        return cls(delay=seconds)

    @classmethod
    def json(cls, change: Callable[[Any], Any]) -> "Fault":
        """Another JSON answer."""

        def apply(request: Request, answer: Answer) -> Answer:
            if answer.status != 200:
                return answer
            return answer._replace(body=json.dumps(change(json.loads(answer.body))).encode())

        return cls(change=apply)


@dataclass(frozen=True)
class Commit:
    id: str
    parent: str | None
    files: Mapping[str, bytes]
    message: str


@dataclass
class Repository:
    """Branches and tags by name, commits by id, large files by SHA-256."""

    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    gated: bool | str = False
    """False, or who lets people in: "auto", "manual"."""

    def commit(self, branch: str, files: Mapping[str, bytes], message: str) -> str:
        """These are all files of the branch's next commit."""
        parent = self.branches.get(branch)
        facts = [parent, message, len(self.commits), sorted((name, _sha256(data)) for name, data in files.items())]
        id = hashlib.sha1(json.dumps(facts).encode()).hexdigest()
        self.large |= {_sha256(data): data for name, data in files.items() if _is_large(name, len(data))}
        self.commits[id] = Commit(id, parent, dict(files), message)
        self.branches[branch] = id
        return id

    def resolve(self, revision: str) -> Commit | None:
        """Of a branch, a tag, or a whole id."""
        return self.commits.get(self.branches.get(revision) or self.tags.get(revision) or revision)

    def at(self, revision: str) -> Commit:
        """The same for a client, who is told if there is none."""
        commit = self.resolve(revision)
        if commit is None:
            raise RefusalError(404, "RevisionNotFound")
        return commit

    def history(self, revision: str) -> list[Commit]:
        """Newest first."""
        found, commit = [], self.resolve(revision)
        while commit:
            found.append(commit)
            commit = self.commits.get(commit.parent or "")
        return found


class RefusalError(Exception):
    """What a client is told instead: a status, the Hub's word for it, which the client reads, and a sentence."""

    def __init__(self, status: int, code: str | None = None, message: str = "", **more: str) -> None:
        self.answer = _json({"error": message or code} | more, status)
        self.answer.headers.update({"X-Error-Code": code} if code else {})
        self.answer.headers.update({"X-Error-Message": message} if message else {})


class LoopbackHub:
    """A Hub that is up while its context is entered. What breaks inside it is raised when that is left."""

    endpoint: str

    def __init__(self, *, cdn: bool = False) -> None:
        self.requests: list[Request] = []
        self.cdn_requests: list[Request] = []
        self.tokens = {"hf_write": "org"}
        """Whose they are. Who comes with one may write, and read what is private or gated, in that namespace alone.
        Anybody may everything if it is empty."""
        self.repositories: dict[str, Repository] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.fault: Callable[[Request], Fault | None] = lambda request: None
        self.before: Callable[[Request], object] = lambda request: None
        self.cdn: str | None = None
        """The other origin that large files are fetched from: here one that is up too, if asked for."""
        self.page = 1000
        """Most entries of a tree in one answer."""
        self.errors: list[Exception] = []
        self._with_cdn = cdn
        self._servers: list[_Server] = []
        self._lock = threading.RLock()

    def __enter__(self) -> "LoopbackHub":
        self._servers = [_Server(self, self.requests, self._answer)]
        self.endpoint = self._servers[0].address
        if self._with_cdn:
            self._servers.append(_Server(self, self.cdn_requests, self._answer_cdn))
            self.cdn = self._servers[1].address
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for server in self._servers:
            server.stop()
        if self.errors and error is None:
            raise self.errors[0]

    # --- what a test does to the store

    def put(
        self,
        repo: str,
        files: Mapping[str, bytes],
        *,
        message: str = "push",
        private: bool = False,
        gated: bool = False,
        branch: str = "main",
    ) -> str:
        """Somebody pushes: these are all the files of the new commit, whose id is returned.

        The repository is made if need be; who may read it is settled then.
        """
        with self._lock:
            found = self.repositories.setdefault(repo, Repository(private=private, gated="auto" if gated else False))
            return found.commit(branch, files, message)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        commit = self.repositories[repo].resolve(revision)
        assert commit is not None
        return dict(commit.files)

    def commits(self, repo: str, revision: str = "main") -> list[str]:
        """Newest first."""
        return [commit.id for commit in self.repositories[repo].history(revision)]

    def tag(self, repo: str, name: str, commit: str) -> None:
        self.repositories[repo].tags[name] = commit

    def tags(self, repo: str) -> dict[str, str]:
        return dict(self.repositories[repo].tags)

    # --- who may

    def _user(self, request: Request) -> str | None:
        """Whose the token is; None for nobody's."""
        if request.token is None or not self.tokens:
            return None
        if request.token not in self.tokens:
            raise RefusalError(401, None, "Invalid credentials in Authorization header")
        return self.tokens[request.token]

    def _inside(self, request: Request, namespace: str) -> bool:
        return self._user(request) == namespace or not self.tokens

    def _writable(self, request: Request, namespace: str) -> None:
        if not self._inside(request, namespace):
            stranger = request.token is None
            raise RefusalError(401 if stranger else 403, None, f"You may not write to {namespace}")

    def _repository(self, request: Request, repo: str, write: bool = False) -> Repository:
        """The repository, if this client may. Of what is private, nobody else is told that it is there."""
        found, namespace = self.repositories.get(repo), repo.partition("/")[0]
        inside, stranger = self._inside(request, namespace), bool(self.tokens) and request.token is None
        if found is None or (found.private and not inside):
            raise RefusalError(401 if stranger else 404, "RepoNotFound")
        if found.gated and not inside:
            raise RefusalError(401 if stranger else 403, "GatedRepo")
        if write:
            self._writable(request, namespace)
        return found

    # --- what a client may ask

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            for methods, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, request.path)
                if match and request.method in methods.split():
                    parts = {key: unquote(value) for key, value in match.groupdict().items()}
                    return answer(self, request, **parts)
        raise RefusalError(404, None, f"no such address: {request.method} {request.path}")

    def _answer_cdn(self, request: Request) -> Answer:
        """The other origin: the bytes for who knows their hash, whoever it is."""
        repo, _, digest = request.path.removeprefix("/cdn/").rpartition("/")
        if repo not in self.repositories or digest not in self.repositories[repo].large:
            raise RefusalError(404)
        return _ranged(request, self.repositories[repo].large[digest], {})

    def _whoami(self, request: Request) -> Answer:
        user = self._user(request)
        if user is None:
            raise RefusalError(401, None, "Invalid username or password.")
        access = {"accessToken": {"displayName": "test", "role": "write"}}
        return _json({"type": "user", "name": user, "fullname": user, "orgs": [], "auth": access})

    def _validate(self, request: Request) -> Answer:
        """Whether the head of a README can be read; a word on one that has none is left out."""
        try:
            _card(json.loads(request.body)["content"])
        except yaml.YAMLError as error:
            return _json({"errors": [{"message": str(error)}], "warnings": []}, 400)
        return _json({"errors": [], "warnings": []})

    # reading

    def _info(self, request: Request, repo: str, revision: str = "main") -> Answer:
        found = self._repository(request, repo)
        commit = found.at(revision)
        try:
            card = _card(commit.files.get("README.md", b"").decode())
        except (UnicodeDecodeError, yaml.YAMLError):
            card = {}
        siblings = [_sibling(name, data, "blobs" in request.query) for name, data in commit.files.items()]
        said = {name: card[name] for name in ("library_name", "pipeline_tag") if name in card}
        tags = [*said.values(), *card.get("tags", [])] + ([f"license:{card['license']}"] if "license" in card else [])
        access = {"private": found.private, "gated": found.gated, "disabled": False}
        counts = {"downloads": 0, "likes": 0, "lastModified": TIME, "createdAt": TIME}
        names = {"_id": _sha256(repo.encode())[:24], "id": repo, "modelId": repo, "author": repo.partition("/")[0]}
        return _json(
            names | access | counts | said | {"sha": commit.id, "siblings": siblings, "tags": tags, "cardData": card}
        )

    def _tree(self, request: Request, repo: str, revision: str) -> Answer:
        """All files, page by page."""
        found = _entries(self._repository(request, repo).at(revision).files)
        start = int(request.query.get("cursor", ["0"])[0])
        stop = start + self.page
        answer = _json(found[start:stop])
        if stop < len(found):
            query = urlencode(request.query | {"cursor": [str(stop)]}, doseq=True)
            answer.headers["Link"] = f'<{self.endpoint}{request.path}?{query}>; rel="next"'
        return answer

    def _paths(self, request: Request, repo: str, revision: str) -> Answer:
        asked = parse_qs(request.body.decode()).get("paths", [])
        files = self._repository(request, repo).at(revision).files
        return _json([entry for entry in _entries(files) if entry["path"] in asked])

    def _refs(self, request: Request, repo: str) -> Answer:
        found = self._repository(request, repo)

        def named(kind: str, refs: Mapping[str, str]) -> list[dict[str, str]]:
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": commit} for n, commit in refs.items()]

        return _json({"branches": named("heads", found.branches), "tags": named("tags", found.tags), "converts": []})

    def _history(self, request: Request, repo: str, revision: str) -> Answer:
        found = self._repository(request, repo)
        found.at(revision)
        authors = [{"user": repo.partition("/")[0]}]
        said = [(commit.id, commit.message) for commit in found.history(revision)]
        return _json([{"id": id, "title": text, "message": "", "date": TIME, "authors": authors} for id, text in said])

    def _resolve(self, request: Request, repo: str, revision: str, path: str) -> Answer:
        """A file. Its commit and its hash are in headers; a large one may be elsewhere."""
        commit = self._repository(request, repo).at(revision)
        headers = {"X-Repo-Commit": commit.id, "Accept-Ranges": "bytes"}
        data = commit.files.get(path)
        if data is None:
            answer = RefusalError(404, "EntryNotFound").answer
            return answer._replace(headers=answer.headers | headers)
        headers["ETag"] = f'"{_git_sha1(_held(path, data))}"'
        if _is_large(path, len(data)):
            headers |= {"X-Linked-Etag": f'"{_sha256(data)}"', "X-Linked-Size": str(len(data))}
            if self.cdn:
                return Answer(302, headers | {"Location": f"{self.cdn}/cdn/{repo}/{_sha256(data)}"}, b"")
        return _ranged(request, data, headers)

    # writing

    def _make(self, request: Request) -> Answer:
        asked = json.loads(request.body)
        namespace = asked.get("organization") or self._user(request) or "org"
        self._writable(request, namespace)
        repo = f"{namespace}/{asked['name']}"
        url = {"url": f"{self.endpoint}/{repo}", "name": repo}
        if repo in self.repositories:
            raise RefusalError(409, None, "You already created this model repo", **url)
        self.put(repo, START, message="initial commit", private=asked.get("visibility") == "private")
        return _json(url)

    def _delete(self, request: Request) -> Answer:
        asked = json.loads(request.body)
        repo = f"{asked.get('organization') or self._user(request)}/{asked['name']}"
        self._repository(request, repo, write=True)
        del self.repositories[repo]
        return _json({})

    def _settings(self, request: Request, repo: str) -> Answer:
        found, asked = self._repository(request, repo, write=True), json.loads(request.body)
        found.private = asked.get("visibility", "private" if found.private else "public") == "private"
        found.gated = asked.get("gated", found.gated)
        return _json({"private": found.private, "gated": found.gated})

    def _preupload(self, request: Request, repo: str, revision: str) -> Answer:
        """How each file is to be sent, and the hash of what is there under its name."""
        commit = self._repository(request, repo, write=True).at(revision)
        files = []
        for file in json.loads(request.body)["files"]:
            name, there = file["path"], commit.files.get(file["path"])
            mode = "lfs" if _is_large(name, file["size"]) else "regular"
            oid = None if there is None else _digest(name, there)
            files.append({"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return _json({"files": files})

    def _batch(self, request: Request, repo: str) -> Answer:
        """Where to send large files; nothing for what is there."""
        found = self._repository(request, repo, write=True)
        objects = json.loads(request.body)["objects"]
        for item in objects:
            if item["oid"] not in found.large:
                href = f"{self.endpoint}/lfs/{repo}/{item['oid']}"
                item["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
        return _json({"transfer": "basic", "objects": objects})

    def _store(self, request: Request, repo: str, oid: str) -> Answer:
        """The address is the permission, as in a store of objects."""
        if _sha256(request.body) != oid:
            raise RefusalError(400, None, "the bytes are not those of the hash")
        self.repositories[repo].large[oid] = request.body
        return Answer(200, {}, b"")

    def _stored(self, request: Request, repo: str, oid: str) -> Answer:
        if oid not in self._repository(request, repo, write=True).large:
            raise RefusalError(404)
        return _json({})

    def _commit(self, request: Request, repo: str, revision: str) -> Answer:
        """All of the lines or none. The branch moves if it is where the client thinks it is."""
        found = self._repository(request, repo, write=True)
        lines = [json.loads(line) for line in request.body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        head = found.commits.get(found.branches.get(revision, ""))
        if head is None:
            raise RefusalError(404, "RevisionNotFound")
        if header.get("parentCommit") not in (None, head.id):
            raise RefusalError(412, None, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in lines:
            _apply(files, line["key"], line["value"], found.large)
        url = {}
        if "create_pr" in request.query:
            number = 1 + sum(name.startswith("refs/pr/") for name in found.branches)
            revision = f"refs/pr/{number}"
            found.branches[revision] = head.id
            url["pullRequestUrl"] = f"{self.endpoint}/{repo}/discussions/{number}"
        id = found.commit(revision, files, header["summary"])
        return _json(url | {"commitUrl": f"{self.endpoint}/{repo}/commit/{id}", "commitOid": id, "success": True})

    def _tag(self, request: Request, repo: str, revision: str) -> Answer:
        """To make one, the address has what it is of; to delete one, its name."""
        found = self._repository(request, repo, write=True)
        if request.method == "DELETE":
            if found.tags.pop(revision, None) is None:
                raise RefusalError(404, "RevisionNotFound")
            return _json({})
        name, commit = json.loads(request.body)["tag"], found.at(revision)
        if name in found.tags:
            raise RefusalError(409, None, "Tag reference exists already")
        found.tags[name] = commit.id
        return _json({})

    def _branch(self, request: Request, repo: str, branch: str) -> Answer:
        found = self._repository(request, repo, write=True)
        if request.method == "DELETE":
            if found.branches.pop(branch, None) is None:
                raise RefusalError(404, "RevisionNotFound")
            return _json({})
        if branch in found.branches:
            raise RefusalError(409, None, "Reference already exists")
        found.branches[branch] = found.at(json.loads(request.body).get("startingPoint", "main")).id
        return _json({})

    # collections

    def _collect(self, request: Request) -> Answer:
        if request.method != "POST":
            owners = request.query.get("owner", [])
            found = [slug for slug, said in self.collections.items() if not owners or said["namespace"] in owners]
            return _json([self._shown(slug) for slug in found])
        asked = json.loads(request.body)
        self._writable(request, asked["namespace"])
        words = re.sub(r"[^a-z0-9]+", "-", asked["title"].lower()).strip("-")
        slug = f"{asked['namespace']}/{words}-{_sha256(asked['title'].encode())[:24]}"
        if slug in self.collections:
            raise RefusalError(409, None, "there is one with this title", slug=slug)
        self.collections[slug] = asked | {"items": []}
        return _json(self._shown(slug) | {"position": 0})

    def _collection(self, request: Request, slug: str) -> Answer:
        if slug not in self.collections:
            raise RefusalError(404)
        return _json(self._shown(slug) | {"position": 0})

    def _collect_item(self, request: Request, slug: str) -> Answer:
        self._writable(request, slug.partition("/")[0])
        item = json.loads(request.body)["item"]
        if slug not in self.collections or item["id"] not in self.repositories:
            raise RefusalError(404)
        if item in self.collections[slug]["items"]:
            raise RefusalError(409, None, "it is there")
        self.collections[slug]["items"].append(item)
        return self._collection(request, slug)

    def _shown(self, slug: str) -> dict[str, Any]:
        found = self.collections[slug]
        items = [item | {"_id": item["id"], "position": k} for k, item in enumerate(found["items"])]
        facts = {"slug": slug, "title": found["title"], "owner": {"name": found["namespace"]}, "items": items}
        return facts | {"lastUpdated": TIME, "private": bool(found.get("private")), "theme": "green", "upvotes": 0}


REPO = r"(?P<repo>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"
BRANCH = r"(?P<branch>[^/]+)"
PATH = r"(?P<path>.+)"
MODEL = f"/api/models/{REPO}"
OBJECT = rf"/lfs/{REPO}/(?P<oid>\w+)"
COLLECTION = r"/api/collections/(?P<slug>[^/]+/[^/]+)"
ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET", "/api/whoami-v2", LoopbackHub._whoami),
    ("POST", "/api/validate-yaml", LoopbackHub._validate),
    ("GET HEAD", MODEL, LoopbackHub._info),
    ("GET HEAD", f"{MODEL}/revision/{REVISION}", LoopbackHub._info),
    ("GET HEAD", f"{MODEL}/tree/{REVISION}/?", LoopbackHub._tree),
    ("POST", f"{MODEL}/paths-info/{REVISION}", LoopbackHub._paths),
    ("GET HEAD", f"{MODEL}/refs", LoopbackHub._refs),
    ("GET HEAD", f"{MODEL}/commits/{REVISION}", LoopbackHub._history),
    ("GET HEAD", f"/{REPO}/resolve/{REVISION}/{PATH}", LoopbackHub._resolve),
    ("POST", "/api/repos/create", LoopbackHub._make),
    ("DELETE", "/api/repos/delete", LoopbackHub._delete),
    ("PUT", f"{MODEL}/settings", LoopbackHub._settings),
    ("POST", f"{MODEL}/preupload/{REVISION}", LoopbackHub._preupload),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", LoopbackHub._batch),
    ("PUT", OBJECT, LoopbackHub._store),
    ("POST", f"{OBJECT}/verify", LoopbackHub._stored),
    ("POST", f"{MODEL}/commit/{REVISION}", LoopbackHub._commit),
    ("POST DELETE", f"{MODEL}/tag/{REVISION}", LoopbackHub._tag),
    ("POST DELETE", f"{MODEL}/branch/{BRANCH}", LoopbackHub._branch),
    ("GET POST", "/api/collections", LoopbackHub._collect),
    ("GET HEAD", COLLECTION, LoopbackHub._collection),
    ("POST", f"{COLLECTION}/items", LoopbackHub._collect_item),
)


def environment(hub: LoopbackHub) -> dict[str, str]:
    """What makes a client in a process of its own talk to this hub."""
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "no_proxy": "127.0.0.1",
    }


# --- files


def _is_large(name: str, size: int) -> bool:
    """Whether git holds but a pointer. An empty file is sent as a small one, whatever it is called."""
    return size > LARGE_SIZE or (size > 0 and bool(LARGE.search(name)))


def _held(name: str, data: bytes) -> bytes:
    """What git holds of a file: itself, or a pointer."""
    if not _is_large(name, len(data)):
        return data
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{_sha256(data)}\nsize {len(data)}\n".encode()


def _digest(name: str, data: bytes) -> str:
    return _sha256(data) if _is_large(name, len(data)) else _git_sha1(data)


def _lfs(name: str, data: bytes, hash_name: str) -> dict[str, Any]:
    if not _is_large(name, len(data)):
        return {}
    return {"lfs": {hash_name: _sha256(data), "size": len(data), "pointerSize": len(_held(name, data))}}


def _sibling(name: str, data: bytes, facts: bool) -> dict[str, Any]:
    """A file in what is told of a model, with size and hashes if they were asked for."""
    if not facts:
        return {"rfilename": name}
    blob = {"rfilename": name, "size": len(data), "blobId": _git_sha1(_held(name, data))}
    return blob | _lfs(name, data, "sha256")


def _entries(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Files in what is told of a tree."""
    return [
        {"type": "file", "path": name, "size": len(data), "oid": _git_sha1(_held(name, data))} | _lfs(name, data, "oid")
        for name, data in files.items()
    ]


def _apply(files: dict[str, bytes], key: str, value: Mapping[str, Any], large: Mapping[str, bytes]) -> None:
    """One line of a commit."""
    path = value.get("path", "")
    if key == "file":
        files[path] = base64.b64decode(value["content"])
    elif key == "lfsFile":
        if value["oid"] not in large:
            raise RefusalError(400, None, f"{path} points to an object that was not sent")
        files[path] = large[value["oid"]]
    elif key in ("deletedFile", "deletedFolder"):
        gone = [name for name in files if name == path or (key == "deletedFolder" and name.startswith(path))]
        if not gone:
            raise RefusalError(404, "EntryNotFound")
        for name in gone:
            del files[name]


def _card(readme: str) -> dict[str, Any]:
    """The YAML at the head of a README."""
    match = re.match(r"---\r?\n(.*?)\r?\n---", readme, re.DOTALL)
    said = yaml.safe_load(match[1]) if match else {}
    return said if isinstance(said, dict) else {}


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- answers, and how they are sent


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(value, default=str).encode())


def _ranged(request: Request, data: bytes, headers: dict[str, str]) -> Answer:
    """All of the data, or the part that was asked for."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not match:
        return Answer(200, headers, data)
    start, stop = int(match[1]), min(int(match[2] or len(data)) + 1, len(data))
    if start >= stop:
        return Answer(416, headers | {"Content-Range": f"bytes */{len(data)}"}, b"")
    return Answer(206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}, data[start:stop])


class _Handler(BaseHTTPRequestHandler):
    """A connection: one request after the other is recorded, and answered as the fault plan wants it."""

    server: "_Server"
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):  # a client that was killed, or has had enough
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        hub, request = self.server.hub, self._request()
        if request.path == "/api/agent-harnesses":  # asked by the client at most once a day
            return self._send(RefusalError(404).answer)
        with hub._lock:
            request = replace(request, number=len(self.server.requests))
            self.server.requests.append(request)
        try:
            hub.before(request)
            fault = hub.fault(request) or Fault()
            self.server.stopping.wait(fault.delay)
            answer = fault.change(request, fault.instead or self._answer(fault.ask(request)))
        except Exception as error:
            hub.errors.append(error)
            return self._send(RefusalError(500, None, f"{type(error).__name__} in the hub").answer)
        if fault.drop:
            self.close_connection = True
            return None
        return self._send(answer, fault.after)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _answer(self, request: Request) -> Answer:
        try:
            return self.server.answer(request)
        except RefusalError as refusal:
            return refusal.answer

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = self._chunks() if chunked else self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.command, parts.path, parse_qs(parts.query, keep_blank_values=True), headers, body, 0)

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, answer: Answer, after: int | None = None) -> None:
        status, headers, body = answer
        headers = {"Content-Length": str(len(body))} | headers
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:after])
            if after is not None or headers["Content-Length"] != str(len(body)):  # nobody waits for the rest
                self.close_connection = True


class _Server(ThreadingHTTPServer):
    """One origin, up until it is stopped, with a thread for each connection."""

    daemon_threads = False  # they are waited for
    request_queue_size = 64

    def __init__(self, hub: LoopbackHub, requests: list[Request], answer: Callable[[Request], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.requests, self.answer = hub, requests, answer
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.stopping = threading.Event()
        self.connections: set[socket.socket] = set()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What is left to go wrong here is a client that went away."""

    def stop(self) -> None:
        """Leave no thread and no socket."""
        self.stopping.set()
        self.shutdown()
        self.thread.join()
        for connection in tuple(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
