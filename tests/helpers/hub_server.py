"""A small hub on loopback: the routes that the real client calls, and the faults that real networks have."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".bin", ".model")


@dataclass
class Repo:
    """A repository: per revision its files, and what stands in the way."""

    revisions: Mapping[str, Mapping[str, bytes]]
    gated: bool = False
    tags: bool = False

    def commit(self, revision: str) -> str:
        content = self.revisions[revision]
        parts = [name.encode() + b"\0" + data for name, data in sorted(content.items())]
        return hashlib.sha1(b"\0".join([revision.encode(), *parts])).hexdigest()

    def find(self, name: str) -> str | None:
        """The revision that a name or a commit stands for."""
        if name in self.revisions:
            return name
        return next((revision for revision in self.revisions if self.commit(revision) == name), None)


@dataclass
class Faults:
    """What goes wrong, per path of a file, and how often."""

    cut: dict[str, tuple[int, tuple[int, int]]] = field(default_factory=dict)
    corrupt: Counter[str] = field(default_factory=Counter)
    status: dict[str, tuple[int, int]] = field(default_factory=dict)
    stall: dict[str, tuple[int, float]] = field(default_factory=dict)
    longer: Counter[str] = field(default_factory=Counter)
    seconds_per_chunk: float = 0.0


@dataclass(frozen=True)
class Request:
    """A request that came, and how many bytes of a file were sent for it."""

    method: str
    path: str
    range: str | None
    sent: int = 0


class HubServer:
    """Start it as a context manager; ``endpoint`` is what HF_ENDPOINT is to be."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults = Faults()
        self.requests: list[Request] = []
        self.sending = 0
        self.sent = threading.Condition()
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_repo(self, repo: str, revisions: Mapping[str, Mapping[str, bytes]], *, gated: bool = False,
                 tags: bool = False) -> None:  # fmt: skip
        self.repos[repo] = Repo(revisions, gated, tags)

    def cut_after(self, path: str, n_bytes: int, *, then: tuple[int, int] = (0, 0)) -> None:
        """Close the connection once after so many bytes of a file; then answer with a status, so many times."""
        self.faults.cut[path] = (n_bytes, then)

    def stall_after(self, path: str, n_bytes: int, seconds: float) -> None:
        """Send so many bytes of a file once, then nothing for so long, and close the connection."""
        self.faults.stall[path] = (n_bytes, seconds)

    def corrupt(self, path: str, times: int = 1) -> None:
        """Change a byte of a file, so many times."""
        self.faults.corrupt[path] = times

    def lengthen(self, path: str, n_bytes: int) -> None:
        """Send so many bytes of a file more than are listed, always."""
        self.faults.longer[path] = n_bytes

    def status(self, path: str, code: int, times: int = 1) -> None:
        """Answer a request for a file with a status, so many times."""
        self.faults.status[path] = (code, times)

    def slow(self, seconds_per_chunk: float) -> None:
        self.faults.seconds_per_chunk = seconds_per_chunk

    def downloads(self, name: str) -> list[Request]:
        """The downloads of a file that have ended, by its path in the repository."""
        with self.sent:  # a client may have all its bytes before the server has noted it
            self.sent.wait_for(lambda: not self.sending, timeout=30)
        wanted = re.compile(rf"/[^/]+/[^/]+/resolve/[^/]+/{re.escape(name)}")
        return [r for r in self.requests if r.method == "GET" and wanted.fullmatch(r.path)]


class _Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        hub = self.server_hub
        known = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(refs|revision|tree)(?:/(.+?))?)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = known or file
        if file is None:
            hub.requests.append(Request(self.command, path, self.headers.get("Range")))
        if match is None:
            return self._error(404, "EntryNotFound")
        repo = hub.repos.get(match[1])
        if repo is None:
            return self._error(401, "RepoNotFound")
        if repo.gated and (file or known[2] == "tree"):
            return self._error(403, "GatedRepo")
        if file:
            return self._file(repo, file[2], file[3], body=body)
        assert known is not None
        if known[2] == "refs":
            refs = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": repo.commit(name)}
                for name in repo.revisions
            ]
            content: dict[str, object] = {"branches": refs, "converts": [], "tags": []}
            if repo.tags:
                main = [ref for ref in refs if ref["name"] == "main"]
                content = {"branches": main, "converts": [], "tags": [ref for ref in refs if ref not in main]}
            return self._json(content)
        revision = repo.find(known[3] or "main")
        if revision is None:
            return self._error(404, "RevisionNotFound")
        if known[2] == "tree":
            return self._json([_entry(name, data) for name, data in sorted(repo.revisions[revision].items())])
        siblings = [{"rfilename": name} for name in repo.revisions[revision]]
        info = {"id": match[1], "modelId": match[1], "sha": repo.commit(revision), "siblings": siblings,
                "tags": ["license:apache-2.0"], "private": False, "downloads": 0, "cardData": {"license": "apache-2.0"}}  # fmt: skip
        return self._json(info)

    def _file(self, repo: Repo, name: str, path: str, *, body: bool) -> None:
        hub = self.server_hub
        revision = repo.find(name)
        if revision is None:
            return self._error(404, "RevisionNotFound")
        data = repo.revisions[revision].get(path)
        if data is None:
            return self._error(404, "EntryNotFound")
        code, times = hub.faults.status.get(path, (0, 0))
        if times > 0 and body:
            hub.faults.status[path] = (code, times - 1)
            hub.requests.append(Request(self.command, self.path, self.headers.get("Range")))
            return self._error(code, "")
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        served = data
        if body and hub.faults.corrupt[path] > 0:
            hub.faults.corrupt[path] -= 1
            served = data[:-1] + bytes([data[-1] ^ 1])
        rest = (served + bytes(hub.faults.longer[path]))[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("X-Repo-Commit", repo.commit(revision))
        self.send_header("ETag", f'"{_etag(path, data)}"')
        self.end_headers()
        if not body:
            hub.requests.append(Request(self.command, self.path, self.headers.get("Range")))
            return None
        limit = len(rest)
        if path in hub.faults.cut:
            limit, hub.faults.status[path] = hub.faults.cut.pop(path)
        silent = 0.0
        if path in hub.faults.stall:
            limit, silent = hub.faults.stall.pop(path)
        sent = 0
        with hub.sent:
            hub.sending += 1
        try:
            while sent < limit:
                chunk = rest[sent : min(sent + 65536, limit)]
                self.wfile.write(chunk)
                self.wfile.flush()
                sent += len(chunk)
                if hub.faults.seconds_per_chunk:
                    time.sleep(hub.faults.seconds_per_chunk)
        except OSError:  # the client went away
            pass
        with hub.sent:
            hub.requests.append(Request(self.command, self.path, self.headers.get("Range"), sent))
            hub.sending -= 1
            hub.sent.notify_all()
        time.sleep(silent)
        if limit < len(rest):
            self.close_connection = True
            self.connection.close()
        return None

    def _json(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _error(self, code: int, name: str) -> None:
        self.send_response(code)
        if name:
            self.send_header("X-Error-Code", name)
        self.send_header("X-Error-Message", name or "try again")
        self.send_header("Content-Length", "0")
        self.end_headers()


def _etag(path: str, data: bytes) -> str:
    if path.endswith(LFS_SUFFIXES):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, object]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if path.endswith(LFS_SUFFIXES):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry
