"""A local server that speaks the wire of OpenAI and Anthropic: it says what a test has written down, answer by answer.

Streams are sent in small pieces, so that events and characters are cut anywhere.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import PATIENCE_SECONDS

PIECE_BYTES = 37


@dataclass(frozen=True)
class Said:
    """One answer of the server. `dies` closes the connection after the body, in the middle of it."""

    body: bytes
    kind: str = "application/json"
    status: int = 200
    dies: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    waits: threading.Event | None = None  # for so long nothing is said


def whole(value: dict[str, Any], **how: Any) -> Said:
    return Said(json.dumps(value).encode(), **how)


def streamed(events: Sequence[dict[str, Any] | str], *, named: bool, **how: Any) -> Said:
    """Server-sent events, with their types as names where the API gives them."""
    lines = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event)
        name = f"event: {event['type']}\n" if named and isinstance(event, dict) else ""
        lines.append(f"{name}data: {data}\n\n")
    return Said("".join(lines).encode(), kind="text/event-stream; charset=utf-8", **how)


@dataclass
class Stub:
    url: str
    script: list[Said] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def says(self, *answers: Said) -> None:
        self.requests.clear()
        self.script[:] = answers


@contextmanager
def model_server() -> Iterator[Stub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            stub.paths.append(self.path)
            self.say(whole({"object": "list", "data": []}))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            stub.requests.append(json.loads(body))
            stub.paths.append(self.path)
            stub.headers.append(dict(self.headers))
            self.say(stub.script.pop(0) if stub.script else Said(b'{"error": {"type": "no_script"}}', status=400))

        def say(self, said: Said) -> None:
            if said.waits is not None:
                said.waits.wait(PATIENCE_SECONDS)
            self.send_response(said.status)
            self.send_header("Content-Type", said.kind)
            self.send_header("Transfer-Encoding", "chunked")
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for start in range(0, len(said.body), PIECE_BYTES):
                    piece = said.body[start : start + PIECE_BYTES]
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    self.wfile.flush()
                if not said.dies:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:  # the program has left
                self.close_connection = True
            if said.dies:
                self.close_connection = True

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A program that leaves a stream resets its connection."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    stub = Stub(f"http://127.0.0.1:{server.server_address[1]}")
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join(PATIENCE_SECONDS)
        server.server_close()
