"""Every HTTP front for programs behind a real server, and one that stands for fronts that come.

The console's front is for browsers; tests/console/test_pages.py tries their attacks on it.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from macaw.gateway.http.api import GatewayAPI
from producers.client import Client
from producers.home.home import Home
from streams.address import LOOPBACK, address_of
from streams.approvals.interactions import INTERACTIONS
from streams.approvals.proofs import slack_signature
from streams.authzen.api import EVALUATION, DecisionAPI
from streams.bridge.logout_api import FORM, LogoutAPI
from streams.http import Endpoint, Front, server_of
from streams.http.refusals import PROBLEM_TYPE
from streams.metrics.families import ABORTS, Reading
from streams.metrics.serving import metrics_front
from streams.views.api import QueryAPI
from tests.decide import asking
from tests.identity_tokens.minting import NOW_MS, logout_token
from tests.streams.approvals.pressing import Pressing
from tests.streams.approvals.slack_stub import SECRET
from tests.streams.bridge.logouts import PATH, Heard
from tests.streams.views_shown import TOKEN as VIEWS_TOKEN
from tests.streams.views_shown import Shown
from tests.waiting import PATIENCE_SECONDS

HELLO_TOKEN = "h" * 43
METRICS_TOKEN = "m" * 43
ANSWER_BUFFER_BYTES = 4096  # of the kernel: an answer that is not read is soon noticed
NAMES = ("views", "authzen", "logout", "metrics", "slack", "gateway", "hello")


async def hello(request: Request) -> Response:
    return JSONResponse({"hello": len(await request.body())})


async def fail(request: Request) -> Response:
    raise RuntimeError(f"the token was {request.headers['authorization']}")


HELLO = Front(
    endpoints=[Endpoint("/v1/hello", hello), Endpoint("/v1/fail", fail)],
    token=lambda _: HELLO_TOKEN,
    token_place="the test",
    health=lambda: {"ready": True},
)


@dataclass
class Asked:
    """One front that listens, and its honest request."""

    name: str
    port: int
    token: str = field(repr=False)
    method: str
    path: str
    body: bytes = b""
    media: str = "application/json"
    is_public: bool = False
    refusal: str = "application/json"
    """The media type of its refusals."""

    def connect(self, *sent: bytes) -> socket.socket:
        connection = socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE_SECONDS)
        for data in sent:
            connection.sendall(data)
        return connection

    def request(
        self,
        *more: str,
        method: str | None = None,
        target: str | None = None,
        version: str = "1.1",
        without: str = "",
        body: bytes | None = None,
        length: bool = True,
    ) -> bytes:
        """Return the honest request with these changes; `without` names headers that are left out."""
        sent = (self.body if method is None and target is None else b"") if body is None else body
        headers = {
            "host": f"Host: {LOOPBACK}:{self.port}",
            "authorization": f"Authorization: Bearer {self.token}",
            "connection": "Connection: close",
            **({"type": f"Content-Type: {self.media}"} if sent else {}),
            **({"length": f"Content-Length: {len(sent)}"} if sent and length else {}),
        }
        kept = [text for name, text in headers.items() if name not in without.split()]
        first = f"{method or self.method} {target or self.path} HTTP/{version}"
        return "\r\n".join([first, *kept, *more, "", ""]).encode("latin-1") + sent

    def ask(self, request: bytes) -> Exchange:
        """Send bytes and read until the server closes the connection."""
        received = b""
        with self.connect(request) as connection:
            while data := connection.recv(65536):
                received += data
        return Exchange(received)


@dataclass
class AskedBySlack(Asked):
    """A front whose honest request is signed anew each time, since none is taken twice."""

    count: int = 0

    def request(self, *more: str, body: bytes | None = None, **changes: Any) -> bytes:
        self.count += 1
        sent = self.body.replace(b"trigger-000000", b"trigger-%06d" % self.count) if body is None else body
        stamp = str(int(time.time()))
        signature = slack_signature(self.token, stamp, sent)
        proof = (f"X-Slack-Request-Timestamp: {stamp}", f"X-Slack-Signature: {signature}")
        return super().request(*more, *proof, body=b"" if changes.get("method") else sent, **changes)


class Exchange:
    """What came back on a connection: the first answer, and how many there are."""

    def __init__(self, received: bytes) -> None:
        head, _, self.body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.count = len(re.findall(rb"HTTP/1\.1 \d{3} ", received))
        self.status = int(lines[0].split()[1]) if received else 0
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    @property
    def code(self) -> str:
        code: str = json.loads(self.body)["code"]
        return code


@contextmanager
def listening(name: str, base: Path) -> Iterator[Asked]:
    """Serve one of the fronts, as its process does, on a thread."""
    with socket.create_server((LOOPBACK, 0)) as server_socket:
        server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ANSWER_BUFFER_BYTES)
        port = server_socket.getsockname()[1]
        front, asked = _front(name, base, port)
        server = server_of(front)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[server_socket])))
        thread.start()
        try:
            yield asked
        finally:
            server.should_exit = True
            thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def _front(name: str, base: Path, port: int) -> tuple[Front, Asked]:  # noqa: PLR0911 - one for each front
    if name == "views":
        shown = Shown(base)
        (shown.home.tenant("acme").path / "authzen.token").write_text(asking.TOKEN.replace("a", "z"))
        api = QueryAPI(shown.home, shown.rows, shown.progress, lambda: shown.now)
        return api.front(), Asked(name, port, VIEWS_TOKEN, "GET", "/v1/tenants/acme/sessions")
    if name == "authzen":
        standing = asking.standing_of(base, [asking.CLERK])
        endpoint = asking.Endpoint(base, lambda: standing)
        (endpoint.folder.path / "views.token").write_text("z" * 43)
        decisions = DecisionAPI(endpoint.folder, endpoint.kept, address_of(LOOPBACK, port, None))
        body = json.dumps(asking.QUESTION).encode()
        return decisions.front(), Asked(name, port, asking.TOKEN, "POST", EVALUATION, body)
    if name == "logout":
        heard = Heard()
        logouts = LogoutAPI(heard.voices, heard, address_of(LOOPBACK, port, None), lambda: NOW_MS)
        text = logout_token()
        asked = Asked(name, port, text, "POST", PATH, f"logout_token={text}".encode(), FORM, is_public=True)
        return logouts.front(), asked
    if name == "metrics":
        (base / "metrics.token").write_text(METRICS_TOKEN + "\n")
        (base / "metrics.token").chmod(0o600)
        front = metrics_front(lambda: [Reading(ABORTS, ("acme",), 1)], base / "metrics.token")
        return front, Asked(name, port, METRICS_TOKEN, "GET", "/metrics")
    if name == "slack":
        door = Pressing(address_of(LOOPBACK, port, None))
        return door.api.front(), AskedBySlack(name, port, SECRET, "POST", INTERACTIONS, door.body, FORM, is_public=True)
    if name == "gateway":
        gateway = GatewayAPI("acme", Home(base, {}), address_of(LOOPBACK, port, None), is_followed=lambda: True)
        handle, _ = gateway.sessions.keep(resting_client())
        return gateway.front(), Asked(name, port, handle, "GET", "/v1/approvals", refusal=PROBLEM_TYPE)
    return HELLO, Asked(name, port, HELLO_TOKEN, "GET", "/v1/hello")


def resting_client(principal: str = "user:ann") -> Client:
    """Return a client without a log, as far as a gateway looks at it: nobody asks its person for approvals."""
    rests = SimpleNamespace(
        connection=SimpleNamespace(principal_id=principal),
        expires_at=int(time.time() * 1000) + 3_600_000,
        list_attestations=list,
        close_session=lambda **_: None,
        close=lambda: None,
    )
    return cast("Client", rests)
