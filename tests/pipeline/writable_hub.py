"""A stand-in of the hub's write API for one dataset repository, its files in a folder."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

from tests.stage2_student.object_stores import REVISION, _Hub


@contextmanager
def writable_hub(files: Path, repository: str, quota: int = 1 << 40) -> Iterator[str]:
    """The URL of a hub without any repository; it takes `quota` bytes of large files at most."""

    class Hub(_WritableHub):
        root, name, room = files, repository, [quota]

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Hub.url
    finally:
        server.shutdown()
        server.server_close()


class _WritableHub(_Hub):
    room: list[int]
    url: str

    def do_GET(self) -> None:
        tree = f"/api/datasets/{self.name}/tree/main"
        if not self.root.exists():
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if self.path.startswith(tree):
            found = [path for path in sorted(self.root.rglob("*")) if path.is_file()]
            return self._json([self._info(path) for path in found if ".lfs" not in path.parts])
        return super().do_GET()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        api = f"/api/datasets/{self.name}"
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            assert asked["type"] == "dataset"
            assert asked.get("private") or asked.get("visibility") == "private", asked
            self.root.mkdir(parents=True, exist_ok=True)
            return self._json({"url": f"{self.url}/datasets/{self.name}"})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.path.startswith(f"{api}/preupload/"):
            return self._json({"files": [_mode(file) for file in json.loads(body)["files"]]})
        if self.path.endswith("/info/lfs/objects/batch"):
            return self._batch(json.loads(body)["objects"])
        if self.path.startswith(f"{api}/commit/"):
            return self._commit([json.loads(line) for line in body.splitlines()])
        return self._nothing()

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        target = self.root / ".lfs" / self.path.rpartition("/")[2]
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(body)
        self._send(200, b"", {"ETag": REVISION})

    def _batch(self, objects: list[dict]) -> None:
        self.room[0] -= sum(item["size"] for item in objects)
        if self.room[0] < 0:
            text = json.dumps({"error": "Private repository storage limit reached"})
            return self._send(403, text.encode(), {"Content-Type": "application/json"})
        answers = [
            {**item, "actions": {"upload": {"href": f"{self.url}/lfs/{item['oid']}"}}}
            for item in objects
        ]
        return self._json({"transfer": "basic", "objects": answers})

    def _commit(self, lines: list[dict]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                continue
            target = self.root / value["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "lfsFile":
                (self.root / ".lfs" / value["oid"]).rename(target)
            else:
                target.write_bytes(base64.b64decode(value["content"]))
        url = f"{self.url}/datasets/{self.name}/commit/{REVISION}"
        self._json({"success": True, "commitOid": REVISION, "commitUrl": url, "hookOutput": ""})


def _mode(file: dict) -> dict:
    mode = "lfs" if file["path"].endswith(".parquet") else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}
