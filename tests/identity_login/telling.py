"""A provider on loopback that answers what a test tells it, right or wrong, and notes what it was asked."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

from producers.identity.provider import RemoteIdentityProvider
from tests.waiting import PATIENCE_SECONDS

WELL_KNOWN = "/.well-known/openid-configuration"
Answer = tuple[int, object] | Callable[[Mapping[str, str]], tuple[int, object]]


def unsigned_token(**claims: object) -> str:
    """A token with a signature of zeros: nobody in an agent's installation verifies it."""
    parts = [json.dumps(one).encode() for one in ({"alg": "RS256", "kid": "k", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in [*parts, bytes(64)])


def tokens(access: str = "an-opaque-token", **more: object) -> tuple[int, object]:
    return 200, {"access_token": access, "token_type": "Bearer", "expires_in": 300, **more}


@dataclass
class Told:
    """The answers of each path, in order; the last one is given again. `asked` has (path, form, headers)."""

    answers: dict[str, list[Answer]]
    metadata: dict[str, object] = field(default_factory=dict)
    address: str = ""
    asked: list[tuple[str, dict[str, str], Mapping[str, str]]] = field(default_factory=list)

    def forms(self, path: str) -> list[dict[str, str]]:
        return [form for at, form, _ in self.asked if at == path]

    def provider(self, **options: object) -> RemoteIdentityProvider:
        return RemoteIdentityProvider(self.address, **{"client_id": "cli", **options})  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    told: ClassVar[Told]

    def _answer(self) -> None:
        told, path = self.told, urlsplit(self.path).path
        form = dict(parse_qsl(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()))
        told.asked.append((path, form, dict(self.headers)))
        if path == WELL_KNOWN and path not in told.answers:
            status, body = 200, told.metadata
        else:
            listed = told.answers.get(path) or [(404, b"not here")]
            answer = listed.pop(0) if len(listed) > 1 else listed[0]
            status, body = answer(form) if callable(answer) else answer
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Location", f"{told.address}/elsewhere")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A caller that hangs up is no news here."""


@contextmanager
def telling(answers: Mapping[str, list[Answer]] | None = None, **metadata: object) -> Iterator[Told]:
    """Run it. `metadata` replaces members of its metadata; None removes one."""
    told = Told(dict(answers or {}))
    with Server(("127.0.0.1", 0), type("Telling", (Handler,), {"told": told})) as server:
        told.address = f"http://127.0.0.1:{server.server_address[1]}"
        offered = {name: f"{told.address}/{name}" for name in ("token", "authorize", "device", "revoke", "end")}
        usual = {
            "issuer": told.address,
            "token_endpoint": offered["token"],
            "authorization_endpoint": offered["authorize"],
            "device_authorization_endpoint": offered["device"],
            "revocation_endpoint": offered["revoke"],
            "end_session_endpoint": offered["end"],
        }
        told.metadata = {name: value for name, value in {**usual, **metadata}.items() if value is not None}
        thread = threading.Thread(target=lambda: server.serve_forever(0.02))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


class FakePace:
    """A clock that stands still until somebody waits, and then has waited. Without `runs` nobody has, yet."""

    def __init__(self) -> None:
        self.runs = threading.Event()
        self.runs.set()
        self.at, self.waits, self._lock = 1000.0, list[float](), threading.Lock()

    def now(self) -> float:
        with self._lock:
            return self.at

    def wait(self, event: threading.Event, seconds: float) -> bool:
        assert self.runs.wait(PATIENCE_SECONDS)
        if event.is_set():
            return True
        with self._lock:
            self.at += seconds
            self.waits.append(seconds)
        time.sleep(0)  # let another thread run
        return event.is_set()
