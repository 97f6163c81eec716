"""A proxy before an S3 server that does one thing wrong with one request."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

REFUSALS = (403, 404, 409, 412, 429, 500, 503)
FAULTS = (*map(str, REFUSALS), "dropped before", "dropped after", "cut body", "stall")
_CODES = {403: "AccessDenied", 404: "NoSuchKey", 409: "ConditionalRequestConflict"}
_CODES |= {412: "PreconditionFailed", 429: "SlowDown", 500: "InternalError", 503: "SlowDown"}
_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "date", "server"}


@dataclass
class Faulty:
    """What is to go wrong, and how many requests there were.

    Attributes:
        url: where clients reach the proxy.
        seen: method and path of every request since `plan`.
    """

    upstream: str
    stall: float
    url: str = ""
    seen: list[str] = field(default_factory=list)
    _at: int = -1
    _fault: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, at: int = -1, fault: str = "") -> None:
        """From now on, request number `at` goes wrong, and no other."""
        with self._lock:
            self.seen, self._at, self._fault = [], at, fault

    def next_fault(self, request: str) -> str:
        """What goes wrong with this request; "" for nothing."""
        with self._lock:
            self.seen.append(request)
            return self._fault if len(self.seen) - 1 == self._at else ""


@contextmanager
def faulty_proxy(upstream: str, stall: float) -> Iterator[Faulty]:
    """Runs one; `stall` seconds are longer than its clients wait."""
    faulty = Faulty(upstream=upstream, stall=stall)

    class Handler(_Handler):
        state = faulty

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    faulty.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield faulty
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Faulty

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.state.next_fault(f"{self.command} {self.path}")
        if fault == "dropped before":
            return self._drop()
        if fault.isdigit():
            return self._refuse(int(fault))
        status, headers, content = self._forward(body)
        if fault == "dropped after":
            return self._drop()
        if fault == "stall":
            time.sleep(self.state.stall)
            return self._drop()
        return self._answer(status, headers, content, cut=fault == "cut body")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        host = urlsplit(self.state.upstream).netloc
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect"):
                connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        content = answer.read()
        found = answer.status, answer.getheaders(), content
        connection.close()
        return found

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, cut: bool = False
    ) -> None:
        self.send_response(status)
        length = next((v for n, v in headers if n.lower() == "content-length"), str(len(content)))
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.wfile.flush()
        if cut:
            self._drop()

    def _refuse(self, status: int) -> None:
        text = f"<Error><Code>{_CODES[status]}</Code><Message>as planned</Message></Error>".encode()
        content = b"" if self.command == "HEAD" else text
        self._answer(status, [("Content-Type", "application/xml")], content)

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
