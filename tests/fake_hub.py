"""A Hugging Face hub on this machine: a real HTTP server that serves folders as repositories.

It speaks what huggingface_hub 2.4 asks for when it downloads: a model's description with its
files, HEAD and GET of a file with ranges, redirects of large files to another host (as the real
hub's storage is one, where a token must not go), and the hub's error codes. Knobs make it fail.
"""

import hashlib
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".ckpt", ".onnx", ".msgpack")  # kept with Git LFS
COMMIT = "71153311d3dbb46851df1931d3ca6e939de83304"


@dataclass
class Repo:
    folder: Path
    commit: str = COMMIT
    branches: tuple[str, ...] = ("main",)
    gated: str | bool = False  # False, "auto" or "manual", as the hub tells it
    card: dict[str, object] = field(default_factory=lambda: {"license": "mit"})

    def files(self) -> dict[str, bytes]:
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}

    def description(self, name: str) -> dict[str, object]:
        return {
            "_id": "0", "id": name, "modelId": name, "sha": self.commit, "gated": self.gated,
            "private": False, "tags": ["diffusers", f"license:{self.card.get('license')}"],
            "cardData": self.card,
            "siblings": [sibling(file, content) for file, content in self.files().items()],
        }  # fmt: skip


def sibling(name: str, content: bytes) -> dict[str, object]:
    facts: dict[str, object] = {
        "rfilename": name,
        "size": len(content),
        "blobId": etag("", content),
    }
    if name.endswith(LARGE):
        facts["lfs"] = {"sha256": etag(name, content), "size": len(content), "pointerSize": 134}
    return facts


def etag(name: str, content: bytes) -> str:
    """Return the SHA-256 of a large file, the git hash of another."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class FakeHub:
    """Serves `repos`, by their id, at `endpoint` as long as the `with` block lasts."""

    def __init__(self, **repos: Repo) -> None:
        self.repos = {name.replace("__", "/"): repo for name, repo in repos.items()}
        self.tokens: set[str] = set()  # those with access to gated repositories
        self.cut: dict[str, int] = {}  # file -> bytes after which its first GET is cut off
        self.stall: dict[str, int] = {}  # file -> bytes after which its GETs wait for `go_on`
        self.damaged: dict[str, int] = {}  # file -> how many GETs of it give wrong bytes
        self.broken: dict[str, bytes] = {}  # path -> what a proxy says instead; nothing: 503
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Authorization
        self.ranges: list[tuple[str, int]] = []  # file, first byte asked for
        self.stalled, self.go_on = threading.Event(), threading.Event()

    def gets(self, file: str) -> int:
        """Return how many GETs asked for the content of a file."""
        return sum(
            method == "GET" and path.endswith(f"/{file}") for method, path, _ in self.requests
        )

    def __enter__(self) -> Self:
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.storage = f"http://localhost:{self.server.server_port}/storage"
        # A short poll, as `shutdown` waits for its end.
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # it makes each answer wait 40 ms

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers["Authorization"]))
        if path in self.hub.broken:
            said = self.hub.broken[path]
            self.answer(200 if said else 503, said)
        elif found := re.fullmatch(r"/api/models/(.+?)(?:/revision/(.+))?", path):
            self.describe(found[1], found[2] or "main")
        elif found := re.fullmatch(r"/storage/(.+?)/resolve/[^/]+/(.+)", path):
            self.content(found[2], self.hub.repos[found[1]].files()[found[2]])
        elif found := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            self.resolve(*found.groups())
        else:
            self.refuse(404, "", "Not found")

    do_HEAD = do_GET  # noqa: N815

    def describe(self, name: str, revision: str) -> None:
        # The hub describes a gated model, with its files' names, to everyone.
        if repo := self.repo(name, revision):
            self.answer(200, json.dumps(repo.description(name)).encode())

    def resolve(self, name: str, revision: str, file: str) -> None:
        repo = self.repo(name, revision)
        if not repo:
            return
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if repo.gated and token not in self.hub.tokens:
            self.refuse(403 if token else 401, "GatedRepo", f"Access to {name} is restricted.")
            return
        files = repo.files()
        if file not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        tag = etag(file, files[file])
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{tag}"'}
        if file.endswith(LARGE):
            linked = {"X-Linked-ETag": f'"{tag}"', "X-Linked-Size": str(len(files[file]))}
            location = {"Location": f"{self.hub.storage}{urlsplit(self.path).path}"}
            self.answer(302, b"Found", headers | linked | location)
        else:
            self.content(file, files[file], headers)

    def repo(self, name: str, revision: str) -> Repo | None:
        repo = self.hub.repos.get(name)
        if self.headers["Authorization"] == "Bearer hf_expired":
            self.refuse(401, "", "Invalid credentials in Authorization header")
            repo = None
        elif not repo:
            # To strangers the hub does not tell a private repository from none.
            known = self.headers["Authorization"]
            self.refuse(404 if known else 401, "RepoNotFound", "Repository not found")
        elif revision not in (*repo.branches, repo.commit):
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            repo = None
        return repo

    def content(self, file: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        """Answer with a file, or with the range that is asked for, and with the knobs' mischief."""
        size, start = len(content), 0
        headers = {"Accept-Ranges": "bytes"} | (headers or {})
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or ""):
            start = int(asked[1])
            self.hub.ranges.append((file, start))
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        if self.command == "GET" and self.hub.damaged.get(file, 0) > 0:
            self.hub.damaged[file] -= 1
            content = bytes(255 - byte for byte in content)
        until = size
        if self.command == "GET":
            until = self.hub.cut.pop(file, until)
            until = min(until, self.hub.stall.get(file, until))
        self.answer(206 if asked else 200, content[start:], headers, until - start)
        if until < size:
            self.wfile.flush()
            if file in self.hub.stall:
                self.hub.stalled.set()
                self.hub.go_on.wait(20)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer(status, json.dumps({"error": message}).encode(), headers)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        until: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:until])

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
