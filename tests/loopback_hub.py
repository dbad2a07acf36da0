"""A small Hub on 127.0.0.1: the protocol that the real client speaks, a store in memory, and faults on demand.

with LoopbackHub() as hub:
    commit = hub.put("org/name", {"config.json": b"{}"})
    hub.fault = lambda request: Fault.status(500) if request.path.endswith("config.json") else None
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, dict[str, str], bytes]

LARGE = re.compile(r"\.(safetensors|png|bin)$")
"""Names of the files that git does not hold itself."""
START = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}


@dataclass(frozen=True)
class Request:
    """What was asked."""

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
    """What goes wrong with an answer. `change` works on (status, headers, body); the rest on the connection."""

    change: Callable[[Request, Answer], Answer] | None = None
    instead: Answer | None = None
    drop: bool = False
    """Close the connection without an answer."""
    serve: bool = True
    """Do what was asked."""
    after: int | None = None
    """Close the connection after so many bytes of the body."""
    delay: float = 0.0

    @classmethod
    def status(cls, code: int, error: str | None = None, headers: Mapping[str, str] | None = None) -> "Fault":
        """An answer with that status, and nothing done."""
        return cls(instead=(code, ({"X-Error-Code": error} if error else {}) | dict(headers or {}), b"{}"), serve=False)

    @classmethod
    def cut(cls, after: int) -> "Fault":
        """The connection breaks in the middle of the body."""
        return cls(after=after)

    @classmethod
    def cut_before(cls) -> "Fault":
        """The connection breaks before the server has heard of it."""
        return cls(drop=True, serve=False)

    @classmethod
    def cut_after(cls) -> "Fault":
        """The connection breaks when all has been done, before the answer."""
        return cls(drop=True)

    @classmethod
    def flip(cls, at: int) -> "Fault":
        """One bit of the body is another."""

        def change(request: Request, answer: Answer) -> Answer:
            status, headers, body = answer
            k = min(at, len(body) - 1)
            return status, headers, body[:k] + bytes([body[k] ^ 1]) + body[k + 1 :]

        return cls(change)

    @classmethod
    def replace(cls, body: bytes) -> "Fault":
        """Another body, of whatever length, with a length that is right."""
        return cls(lambda request, answer: (answer[0], _without_length(answer[1]), body))

    @classmethod
    def short(cls, n: int) -> "Fault":
        """The first bytes of the body, as if that were all of it."""
        return cls(lambda request, answer: (answer[0], _without_length(answer[1]), answer[2][:n]))

    @classmethod
    def headers(cls, **override: str) -> "Fault":
        """Other headers."""

        def change(request: Request, answer: Answer) -> Answer:
            lower = {name.lower() for name in override}
            kept = {name: value for name, value in answer[1].items() if name.lower() not in lower}
            return answer[0], kept | override, answer[2]

        return cls(change)

    @classmethod
    def slow(cls, seconds: float) -> "Fault":
        """An answer that takes its time."""
        return cls(delay=seconds)

    @classmethod
    def json(cls, change: Callable[[Any], Any]) -> "Fault":
        """Another JSON answer."""

        def apply(request: Request, answer: Answer) -> Answer:
            if answer[0] != 200:
                return answer
            return answer[0], _without_length(answer[1]), json.dumps(change(json.loads(answer[2]))).encode()

        return cls(apply)


def _without_length(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "Content-Length"}


@dataclass(frozen=True)
class Commit:
    id: str
    parent: str | None
    files: Mapping[str, bytes]
    message: str


@dataclass
class Repository:
    """Branches and tags by name, commits by id."""

    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def commit(self, branch: str, files: Mapping[str, bytes], message: str) -> str:
        parent = self.branches.get(branch)
        facts = [parent, message, len(self.commits), sorted((name, _sha256(data)) for name, data in files.items())]
        id = hashlib.sha1(json.dumps(facts).encode()).hexdigest()
        self.commits[id] = Commit(id, parent, dict(files), message)
        self.branches[branch] = id
        return id

    def resolve(self, revision: str) -> Commit | None:
        return self.commits.get(self.branches.get(revision) or self.tags.get(revision) or revision)


class LoopbackHub:
    """A Hub that is up while its context is entered."""

    def __init__(self, *, cdn: bool = False) -> None:
        self.requests: list[Request] = []
        self.cdn_requests: list[Request] = []
        self.tokens = {"hf_write": "org"}
        """Who may write, and read what is private or gated. Anybody may if it is empty."""
        self.repositories: dict[str, Repository] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.fault: Callable[[Request], Fault | None] = lambda request: None
        self.before: Callable[[Request], object] = lambda request: None
        self._large: dict[str, bytes] = {}
        self._lock = threading.RLock()
        self._server = _serve(self, self.requests, self._answer)
        self._cdn = _serve(self, self.cdn_requests, self._carry) if cdn else None

    def __enter__(self) -> "LoopbackHub":
        return self

    def __exit__(self, *_: object) -> None:
        for server in filter(None, (self._server, self._cdn)):
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        return _address(self._server)

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
        """Somebody pushes: these are all the files of the new commit, whose id is returned."""
        with self._lock:
            found = self.repositories.setdefault(repo, Repository(private=private, gated=gated))
            return found.commit(branch, files, message)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        commit = self.repositories[repo].resolve(revision)
        assert commit is not None
        return dict(commit.files)

    def commits(self, repo: str, revision: str = "main") -> list[str]:
        """Newest first."""
        found, commit = [], self.repositories[repo].resolve(revision)
        while commit:
            found.append(commit.id)
            commit = self.repositories[repo].resolve(commit.parent) if commit.parent else None
        return found

    def tag(self, repo: str, name: str, commit: str) -> None:
        self.repositories[repo].tags[name] = commit

    def tags(self, repo: str) -> dict[str, str]:
        return dict(self.repositories[repo].tags)

    # --- what a client may ask

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            for method, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, request.path)
                if match and request.method in method.split():
                    return answer(self, request, **{key: unquote(value) for key, value in match.groupdict().items()})
        return _error(404, None, f"no such address: {request.method} {request.path}")

    def _carry(self, request: Request) -> Answer:
        """The other origin, which has the large files."""
        data = self._large.get(request.path.removeprefix("/"))
        return _error(404, "EntryNotFound") if data is None else _ranged(request, data, {})

    def _found(self, request: Request, repo: str, write: bool = False) -> Repository | Answer:
        """The repository, if this client may."""
        found = self.repositories.get(repo)
        known = not self.tokens or request.token in self.tokens
        if request.token and not known:
            return _error(401, None, "Invalid credentials in Authorization header")
        if found is None or (found.private and not known):
            return _error(404 if known else 401, "RepoNotFound")
        if found.gated and not known:
            return _error(401 if request.token is None else 403, "GatedRepo")
        return found if known or not write else _error(401, None, "You must be logged in")

    def _info(self, request: Request, repo: str, revision: str = "main") -> Answer:
        found = self._found(request, repo)
        if isinstance(found, tuple):
            return found
        commit = found.resolve(revision)
        if commit is None:
            return _error(404, "RevisionNotFound")
        blobs = "blobs" in request.query
        siblings = [{"rfilename": name} | (_facts(name, data) if blobs else {}) for name, data in commit.files.items()]
        card = {"id": repo, "modelId": repo, "private": found.private, "gated": found.gated, "downloads": 0, "likes": 0}
        return _json(card | {"sha": commit.id, "siblings": siblings, "tags": [], "lastModified": TIME})

    def _tree(self, request: Request, repo: str, revision: str) -> Answer:
        found = self._found(request, repo)
        if isinstance(found, tuple):
            return found
        commit = found.resolve(revision)
        if commit is None:
            return _error(404, "RevisionNotFound")
        asked = parse_qs(request.body.decode()).get("paths") if request.method == "POST" else None
        return _json([_entry(n, data) for n, data in commit.files.items() if asked is None or n in asked])

    def _resolve(self, request: Request, repo: str, revision: str, name: str) -> Answer:
        found = self._found(request, repo)
        if isinstance(found, tuple):
            return found
        commit = found.resolve(revision)
        if commit is None:
            return _error(404, "RevisionNotFound")
        headers = {"X-Repo-Commit": commit.id, "Accept-Ranges": "bytes"}
        data = commit.files.get(name)
        if data is None:
            status, error, body = _error(404, "EntryNotFound")
            return status, error | headers, body
        facts = _facts(name, data)
        headers["ETag"] = f'"{facts["blobId"]}"'
        if "lfs" in facts:
            digest = facts["lfs"]["sha256"]
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
            if self._cdn:
                self._large[digest] = data
                return 302, headers | {"Location": f"{_address(self._cdn)}/{digest}"}, b""
        return _ranged(request, data, headers)

    def _refs(self, request: Request, repo: str) -> Answer:
        found = self._found(request, repo)
        if isinstance(found, tuple):
            return found

        def named(kind: str, refs: Mapping[str, str]) -> list[dict[str, str]]:
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": commit} for n, commit in refs.items()]

        return _json({"branches": named("heads", found.branches), "tags": named("tags", found.tags), "converts": []})

    def _make(self, request: Request) -> Answer:
        asked = json.loads(request.body)
        repo = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.endpoint}/{repo}", "name": repo}
        if self.tokens and request.token not in self.tokens:
            return _error(401, None, "Invalid credentials in Authorization header")
        if self.tokens and self.tokens[str(request.token)] != asked["organization"]:
            return _error(403, None, "You may not write there")
        if repo in self.repositories:
            return 409, {"Content-Type": "application/json"}, json.dumps(url).encode()
        self.put(repo, START, message="initial commit", private=asked.get("visibility") == "private")
        return _json(url)

    def _preupload(self, request: Request, repo: str, revision: str) -> Answer:
        found = self._found(request, repo, write=True)
        if isinstance(found, tuple):
            return found
        commit = found.resolve(revision)
        files = []
        for file in json.loads(request.body)["files"]:
            name, there = file["path"], commit.files.get(file["path"]) if commit else None
            facts = _facts(name, there) if there is not None else {}
            oid = facts["lfs"]["sha256"] if "lfs" in facts else facts.get("blobId")
            mode = "lfs" if LARGE.search(name) else "regular"
            files.append({"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return _json({"files": files})

    def _batch(self, request: Request, repo: str) -> Answer:
        found = self._found(request, repo, write=True)
        if isinstance(found, tuple):
            return found
        objects = json.loads(request.body)["objects"]
        for item in objects:
            if item["oid"] not in self._large:
                item["actions"] = {
                    "upload": {"href": f"{self.endpoint}/lfs/{item['oid']}"},
                    "verify": {"href": f"{self.endpoint}/lfs/{item['oid']}/verify"},
                }
        return _json({"transfer": "basic", "objects": objects})

    def _store(self, request: Request, oid: str) -> Answer:
        if _sha256(request.body) != oid:
            return _error(400, None, "the bytes are not those of the hash")
        self._large[oid] = request.body
        return 200, {}, b""

    def _stored(self, request: Request, oid: str) -> Answer:
        return _json({}) if oid in self._large else _error(404, None)

    def _commit(self, request: Request, repo: str, revision: str) -> Answer:
        found = self._found(request, repo, write=True)
        if isinstance(found, tuple):
            return found
        lines = [json.loads(line) for line in request.body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        at = found.branches.get(revision)
        if at is None:
            return _error(404, "RevisionNotFound")
        if header.get("parentCommit") not in (None, at):
            return _error(412, None, "the branch has moved")
        files = dict(found.commits[at].files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self._large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        if "create_pr" in request.query:
            revision = f"refs/pr/{1 + sum(name.startswith('refs/pr/') for name in found.branches)}"
            found.branches[revision] = at
        id = found.commit(revision, files, header["summary"])
        url = {"commitUrl": f"{self.endpoint}/{repo}/commit/{id}", "commitOid": id, "success": True}
        request_url = f"{self.endpoint}/{repo}/discussions/{revision.rpartition('/')[2]}"
        return _json(url | ({"pullRequestUrl": request_url} if "create_pr" in request.query else {}))

    def _tag(self, request: Request, repo: str, revision: str) -> Answer:
        found = self._found(request, repo, write=True)
        if isinstance(found, tuple):
            return found
        if request.method == "DELETE":
            return _json({}) if found.tags.pop(revision, None) else _error(404, "RevisionNotFound")
        name, commit = json.loads(request.body)["tag"], found.resolve(revision)
        if commit is None:
            return _error(404, "RevisionNotFound")
        if name in found.tags:
            return _error(409, None, "there is such a tag")
        found.tags[name] = commit.id
        return _json({})

    def _branch(self, request: Request, repo: str, branch: str) -> Answer:
        found = self._found(request, repo, write=True)
        if isinstance(found, tuple):
            return found
        if branch in found.branches:
            return _error(409, None, "there is such a branch")
        found.branches[branch] = found.branches["main"]
        return _json({})

    def _collect(self, request: Request) -> Answer:
        asked = json.loads(request.body)
        slug = f"{asked['namespace']}/{asked['title'].replace(' ', '-').lower()}"
        if slug in self.collections:
            return 409, {"Content-Type": "application/json"}, json.dumps({"slug": slug}).encode()
        self.collections[slug] = asked | {"slug": slug, "items": []}
        return self._collection(request, slug)

    def _collection(self, request: Request, slug: str) -> Answer:
        found = self.collections.get(slug)
        if found is None:
            return _error(404, None)
        items = [item | {"_id": item["id"], "position": k} for k, item in enumerate(found["items"])]
        facts = {"owner": {"name": found["namespace"]}, "lastUpdated": TIME, "position": 0, "private": False}
        return _json(found | facts | {"items": items, "theme": "green", "upvotes": 0})

    def _collect_item(self, request: Request, slug: str) -> Answer:
        item, items = json.loads(request.body)["item"], self.collections[slug]["items"]
        if item in items:
            return _error(409, None, "it is there")
        items.append(item)
        return self._collection(request, slug)

    def _fine(self, request: Request) -> Answer:
        """The words on a card are taken as they are."""
        return _json({"errors": [], "warnings": []})


REPO = r"(?P<repo>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"
COLLECTION = r"/api/collections/(?P<slug>[^/]+/[^/]+)"
ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET HEAD", rf"/api/models/{REPO}", LoopbackHub._info),
    ("GET HEAD", rf"/api/models/{REPO}/revision/{REVISION}", LoopbackHub._info),
    ("GET HEAD", rf"/api/models/{REPO}/tree/{REVISION}", LoopbackHub._tree),
    ("POST", rf"/api/models/{REPO}/paths-info/{REVISION}", LoopbackHub._tree),
    ("GET HEAD", rf"/api/models/{REPO}/refs", LoopbackHub._refs),
    ("GET HEAD", rf"/{REPO}/resolve/{REVISION}/(?P<name>.+)", LoopbackHub._resolve),
    ("POST", "/api/repos/create", LoopbackHub._make),
    ("POST", "/api/validate-yaml", LoopbackHub._fine),
    ("POST", rf"/api/models/{REPO}/preupload/{REVISION}", LoopbackHub._preupload),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", LoopbackHub._batch),
    ("PUT", r"/lfs/(?P<oid>\w+)", LoopbackHub._store),
    ("POST", r"/lfs/(?P<oid>\w+)/verify", LoopbackHub._stored),
    ("POST", rf"/api/models/{REPO}/commit/{REVISION}", LoopbackHub._commit),
    ("POST DELETE", rf"/api/models/{REPO}/tag/{REVISION}", LoopbackHub._tag),
    ("POST", rf"/api/models/{REPO}/branch/(?P<branch>[^/]+)", LoopbackHub._branch),
    ("POST", "/api/collections", LoopbackHub._collect),
    ("GET HEAD", COLLECTION, LoopbackHub._collection),
    ("POST", rf"{COLLECTION}/items", LoopbackHub._collect_item),
)
TIME = "2026-01-01T00:00:00.000Z"


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


def _facts(name: str, data: bytes) -> dict[str, Any]:
    """Size and hashes of a file as the Hub tells them: of a large one, git holds a pointer."""
    if not LARGE.search(name):
        return {"size": len(data), "blobId": _git_sha1(data)}
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{_sha256(data)}\nsize {len(data)}\n".encode()
    lfs = {"sha256": _sha256(data), "size": len(data), "pointerSize": len(pointer)}
    return {"size": len(data), "blobId": _git_sha1(pointer), "lfs": lfs}


def _entry(name: str, data: bytes) -> dict[str, Any]:
    """The same as listings of a tree tell it."""
    facts = _facts(name, data)
    lfs = facts.get("lfs")
    large = {"lfs": {"oid": lfs["sha256"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}} if lfs else {}
    return {"type": "file", "path": name, "size": facts["size"], "oid": facts["blobId"]} | large


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(value: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _error(status: int, code: str | None, message: str = "") -> Answer:
    named = {"X-Error-Code": code} if code else {}
    told = {"X-Error-Message": message} if message else {}
    return status, named | told, json.dumps({"error": message or code}).encode()


def _ranged(request: Request, data: bytes, headers: dict[str, str]) -> Answer:
    """All of the data, or from where the client wants to go on."""
    match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    if not match or not 0 < int(match[1]) < len(data):
        return 200, headers, data
    start = int(match[1])
    return 206, headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]


def _address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def _serve(hub: LoopbackHub, requests: list[Request], answer: Callable[[Request], Answer]) -> ThreadingHTTPServer:
    """A server in a thread of its own, whose requests are recorded."""

    class Handler(BaseHTTPRequestHandler):
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
            request = self._request()
            if request.path == "/api/agent-harnesses":  # asked by the client at most once a day
                return self._send(_error(404, None))
            with hub._lock:
                request = Request(**vars(request) | {"number": len(requests)})
                requests.append(request)
            hub.before(request)
            fault = hub.fault(request) or Fault()
            if fault.delay:
                stopping.wait(fault.delay)
            made = answer(request) if fault.serve else (500, {}, b"")
            made = fault.instead or made
            if fault.change:
                made = fault.change(request, made)
            if fault.drop:
                self.close_connection = True
                return None
            return self._send(made, fault.after)

        do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def _request(self) -> Request:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = self._chunks()
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = parse_qs(parts.query, keep_blank_values=True)
            return Request(self.command, parts.path, query, headers, body, 0)

        def _chunks(self) -> bytes:
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _send(self, made: Answer, after: int | None = None) -> None:
            status, headers, body = made
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if after is None else body[:after])
            if after is not None:
                self.close_connection = True

    stopping = threading.Event()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def shutdown(self) -> None:
            stopping.set()
            super().shutdown()

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
