"""Stores that run here: an S3 server, and a stand-in of the hub's read API."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

KEYS = {
    "AWS_ACCESS_KEY_ID": "here",
    "AWS_SECRET_ACCESS_KEY": "here",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
REVISION = "0" * 40


SERVER = """
import sys
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
sys.stdin.read()
"""


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of an empty S3 server in a process of its own: vLLM fails where flask is imported."""
    words = [sys.executable, "-c", SERVER]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.kill()


@contextmanager
def hub_server(files: Path, repository: str) -> Iterator[str]:
    """The URL of a hub with one dataset, a folder's files; anything else is not found."""

    class Hub(_Hub):
        root, name = files, repository

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Hub(BaseHTTPRequestHandler):
    root: Path
    name: str

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        api, resolve = f"/api/datasets/{self.name}", f"/datasets/{self.name}/resolve/"
        if path == api or path.startswith(f"{api}/revision/"):
            return self._json({"id": self.name, "sha": REVISION, "siblings": []})
        if path.startswith(f"{api}/tree/"):
            folder = self.root / path.removeprefix(f"{api}/tree/").partition("/")[2]
            if folder.is_dir():
                return self._json([self._info(child) for child in sorted(folder.iterdir())])
        if path.startswith(resolve):
            return self._file(self.root / path.removeprefix(resolve).partition("/")[2])
        return self._nothing()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.startswith(f"/api/datasets/{self.name}/paths-info/"):
            return self._nothing()
        names = parse_qs(asked.decode())["paths"]
        found = [self.root / name for name in names if (self.root / name).exists()]
        return self._json([self._info(path) for path in found])

    def _info(self, path: Path) -> dict[str, object]:
        kind = "directory" if path.is_dir() else "file"
        size = path.stat().st_size if path.is_file() else 0
        name = str(path.relative_to(self.root))
        return {"type": kind, "path": name, "oid": REVISION, "size": size}

    def _file(self, path: Path) -> None:
        if not path.is_file():
            return self._nothing()
        data = path.read_bytes()
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return self._send(200, data, {"ETag": REVISION, "X-Repo-Commit": REVISION})
        first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
        part = data[first : last + 1]
        span = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"}
        return self._send(206, part, span)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _nothing(self) -> None:
        known = f"/datasets/{self.name}" in self.path
        code = "EntryNotFound" if known else "RepoNotFound"
        self._send(404 if known else 401, b"{}", {"X-Error-Code": code})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
