"""A local hub: answers the few requests of a download from a dictionary."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "abcdef0123456789abcdef0123456789abcdef01"


class StubHub(ThreadingHTTPServer):
    """Serves `repos` (id → file name → content). Ids in `gated` refuse their files. `requests` records the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.broken = False
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def served(self, name: str) -> bool:
        """Whether that file's content was served."""
        return any(request.startswith("GET") and request.endswith(f"/{name}") for request in self.requests)


@contextlib.contextmanager
def running_hub() -> Iterator[StubHub]:
    """A hub on a free port of this machine."""
    hub = StubHub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: StubHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_HEAD(self) -> None:
        self._respond()

    def do_GET(self) -> None:
        self._respond()

    def _respond(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        if self.server.broken:
            return self._error(500, "Broken")
        if path.startswith("/api/models/"):
            return self._api(path.removeprefix("/api/models/"))
        repo_id, _, rest = path.lstrip("/").partition("/resolve/")
        return self._file(repo_id, rest.partition("/")[2])

    def _api(self, path: str) -> None:
        repo_id, kind = path, ""
        for separator in ("/revision/", "/tree/"):
            if separator in path:
                repo_id, kind = path.partition(separator)[0], separator
        files = self.server.repos.get(repo_id)
        if files is None:
            return self._error(404, "RepoNotFound")
        if kind == "/tree/":
            listing = [
                {"type": "file", "path": name, "size": len(content), "oid": _etag(content)}
                for name, content in files.items()
            ]
            return self._send(200, json.dumps(listing).encode())
        siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
        info: dict[str, Any] = {"id": repo_id, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0}
        return self._send(200, json.dumps(info).encode())

    def _file(self, repo_id: str, name: str) -> None:
        if repo_id in self.server.gated:
            return self._error(403, "GatedRepo")
        files = self.server.repos.get(repo_id, {})
        if name not in files:
            return self._error(404, "EntryNotFound")
        return self._send(200, files[name], {"ETag": f'"{_etag(files[name])}"', "X-Repo-Commit": COMMIT})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
