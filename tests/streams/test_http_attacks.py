"""Attacks on every HTTP front: each is refused alike by all of them, and nothing secret is told or logged."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from streams.http import SECURITY_HEADERS, door, door_of
from streams.http import server as server_module
from streams.http.door import HEAD_BYTES_MAX
from streams.http.refusals import PROBLEM_TYPE
from tests.streams.http_fronts import HELLO, HELLO_TOKEN, NAMES, Asked, Exchange, listening
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
SENT_BYTES_MAX = 64 * 1024 * 1024  # more than the kernel holds for both ends
OTHER = "z" * 43  # the token of another front of the same tenant


@pytest.fixture(scope="module", params=NAMES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with listening(request.param, tmp_path_factory.mktemp(request.param)) as asked:
        yield asked


@pytest.fixture
def front(served: Asked, caplog: pytest.LogCaptureFixture) -> Iterator[Asked]:
    """A front that answers an honest request before and after each attack, and logs no secret of it."""
    with caplog.at_level(logging.DEBUG):
        yield served
        honest = served.ask(served.request())
    assert (honest.status, honest.count) == (200, 1)
    logged = "\n".join(logging.Formatter().format(record) for record in caplog.get_records("call"))
    assert served.token not in logged
    assert OTHER not in logged
    assert "Traceback" not in logged


def assert_refused(answer: Exchange, status: int, code: str, front: Asked) -> None:
    """The one form of refusals: what is wrong, a code, and the next step, under the security headers."""
    body = json.loads(answer.body)
    assert (answer.status, body["code"]) == (status, code)
    assert body["detail" if front.refusal == PROBLEM_TYPE else "error"]
    assert body["next"]
    assert {name: answer.headers.get(name.lower()) for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)
    assert answer.headers["content-type"] == front.refusal
    assert "access-control-allow-origin" not in answer.headers
    assert answer.count == 1
    assert front.token.encode() not in answer.body
    assert OTHER.encode() not in answer.body


def send_on(connection: socket.socket, data: bytes) -> None:
    """Send far more than any bound; a server that keeps its bounds ends the connection on the way."""
    for _ in range(SENT_BYTES_MAX // len(data)):
        connection.sendall(data)


HOSTS = (
    "evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example",
    "127.0.0.1@evil.example",
    "169.254.169.254",
    "0.0.0.0",
    "[::2]",
    "",
)
ORIGINS = ("https://evil.example", "http://127.0.0.1", "null", "")
AUTHORIZATIONS = (
    "",
    "Bearer",
    "Bearer ",
    "Basic {}",
    "{}",
    "Bearer {}x",
    "bearer\t{}",
    "Bearer " + OTHER,
    "Bearer \xe4",
)
PATHS = (
    "/healthz/%2e%2e/healthz",
    "/%2E%2E/healthz",
    "/v1/../healthz",
    "/./healthz",
    "/%252e%252e/healthz",
    "/..%5chealthz",
    "/%2fhealthz",
    "/healthz%00",
    "/healthz%0d%0aX:y",
    "http://127.0.0.1/healthz",
    "healthz",
    "*",
)
Attack = Callable[[Asked], bytes]
ATTACKS: dict[str, tuple[Attack, int, str]] = {
    **{
        f"host {host}": (lambda f, h=host: f.request(f"Host: {h}", without="host"), 421, "HOST_REFUSED")
        for host in HOSTS
    },
    "no host in HTTP/1.0": (lambda f: f.request(version="1.0", without="host"), 421, "HOST_REFUSED"),
    "no host in HTTP/1.1": (lambda f: f.request(without="host"), 400, "HEAD_MALFORMED"),
    "two hosts": (lambda f: f.request("Host: evil.example"), 400, "HEAD_MALFORMED"),
    **{f"origin {o}": (lambda f, o=o: f.request(f"Origin: {o}"), 403, "ORIGIN_REFUSED") for o in ORIGINS},
    "own origin": (lambda f: f.request(f"Origin: http://127.0.0.1:{f.port}"), 403, "ORIGIN_REFUSED"),
    "no token": (lambda f: f.request(without="authorization"), 401, "TOKEN_REFUSED"),
    **{
        f"token {a}": (
            lambda f, a=a: f.request("Authorization: " + a.format(f.token), without="authorization"),
            401,
            "TOKEN_REFUSED",
        )
        for a in AUTHORIZATIONS
    },
    "the token twice": (lambda f: f.request(f"Authorization: Bearer {f.token}"), 401, "TOKEN_REFUSED"),
    "a wrong token beside it": (lambda f: f.request("Authorization: Bearer x"), 401, "TOKEN_REFUSED"),
    **{
        f"token in the query {n} {w}": (
            lambda f, n=n, w=w: f.request(target=f"{f.path}?{n}={f.token}", method=f.method, without=w),
            400,
            "TOKEN_IN_ADDRESS",
        )
        for n in ("access_token", "token", "Access%5FToken")
        for w in ("", "authorization")
    },
    **{f"path {p}": (lambda f, p=p: f.request(target=p, method="GET"), 400, "PATH_REFUSED") for p in PATHS},
    "NUL in the path": (lambda f: f.request(target="/healthz\0", method="GET"), 400, "HEAD_MALFORMED"),
    "a byte that is not ASCII in the path": (
        lambda f: f.request(target="/healthz\xe4", method="GET"),
        400,
        "HEAD_MALFORMED",
    ),
    "an unknown path": (lambda f: f.request(target="/nothing", method="GET"), 404, "NOT_FOUND"),
    **{
        f"method {m}": (lambda f, m=m: f.request(target=f.path, method=m), 405, "METHOD_NOT_ALLOWED")
        for m in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get")
    },
    "CONNECT": (lambda f: f.request(target="evil.example:443", method="CONNECT"), 400, "PATH_REFUSED"),
    "a length beside chunks": (
        lambda f: f.request("Content-Length: 4", "Transfer-Encoding: chunked", body=b"0\r\n\r\nGET /", length=False),
        400,
        "FRAMING_REFUSED",
    ),
    "chunks in HTTP/1.0": (
        lambda f: f.request("Transfer-Encoding: chunked", version="1.0", body=b"0\r\n\r\n", length=False),
        400,
        "FRAMING_REFUSED",
    ),
    "two lengths": (
        lambda f: f.request("Content-Length: 1", "Content-Length: 2", body=b"xx", length=False),
        400,
        "HEAD_MALFORMED",
    ),
    "a list of lengths": (lambda f: f.request("Content-Length: 1, 2", body=b"xx", length=False), 400, "HEAD_MALFORMED"),
    "a signed length": (lambda f: f.request("Content-Length: +2", body=b"xx", length=False), 400, "HEAD_MALFORMED"),
    "an unknown coding": (
        lambda f: f.request("Transfer-Encoding: xchunked", body=b"0\r\n\r\n", length=False),
        400,
        "HEAD_MALFORMED",
    ),
    "a space before the colon": (
        lambda f: f.request("Transfer-Encoding : chunked", body=b"0\r\n\r\n", length=False),
        400,
        "HEAD_MALFORMED",
    ),
    "an oversized body": (
        lambda f: f.request("Content-Length: 999999999", body=b"x", length=False),
        413,
        "BODY_TOO_LARGE",
    ),
    "a request id that cannot be given back": (lambda f: f.request("X-Request-ID: a b"), 400, "REQUEST_ID_REFUSED"),
    "HTTP/2": (lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "VERSION_REFUSED"),
    **{f"HTTP/{v}": (lambda f, v=v: f.request(version=v), 505, "VERSION_REFUSED") for v in ("0.9", "1.2", "2.0")},
    "TLS": (
        lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + b"\x00" * 500 + b"\r\n\r\n",
        400,
        "HEAD_MALFORMED",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_by_every_front_alike(front: Asked, attack: str) -> None:
    request, status, code = ATTACKS[attack]
    answer = front.ask(request(front))

    if front.is_public and code == "TOKEN_REFUSED":
        assert answer.status == 200  # it has no token, and does not look at one that is sent
        return
    assert_refused(answer, status, code, front)


def test_a_smuggled_request_is_not_answered(front: Asked) -> None:
    """A proxy that reads the length would pass the second request on as a body."""
    smuggled = front.request()
    outer = front.request(
        f"Content-Length: {len(smuggled) + 5}",
        "Transfer-Encoding: chunked",
        without="connection",
        body=b"",
        length=False,
    )

    assert_refused(front.ask(outer + b"0\r\n\r\n" + smuggled), 400, "FRAMING_REFUSED", front)


def test_two_equal_lengths_are_one(front: Asked) -> None:
    """The one form of two lengths that HTTP allows: one request and one answer."""
    length = f"Content-Length: {len(front.body)}"

    answer = front.ask(front.request(length, length, length=False))

    assert (answer.status, answer.count) == (200, 1)


def test_http_1_0_passes_the_same_door(front: Asked) -> None:
    """Proxies still speak it: an honest request is answered, without a second one on its connection."""
    answer = front.ask(front.request(version="1.0", without="connection") * 2)

    assert (answer.status, answer.count) == (200, 1)
    if front.is_public:
        return
    refused = front.ask(front.request(version="1.0", without="authorization"))
    assert_refused(refused, 401, "TOKEN_REFUSED", front)


@pytest.mark.parametrize("size", [HEAD_BYTES_MAX, 200_000])
def test_an_oversized_head_is_refused(front: Asked, size: int) -> None:
    """By the parser if it comes in pieces, by the door if it comes at once."""
    try:
        answer = front.ask(front.request("X-Large: " + "x" * size))
    except ConnectionResetError:
        return  # the server closed before all of it was read
    assert answer.status in {400, 431}
    assert_refused(answer, answer.status, "HEAD_TOO_LARGE" if answer.status == 431 else "HEAD_MALFORMED", front)


@pytest.mark.parametrize("without", ["authorization", ""])
def test_a_stranger_sends_no_body(front: Asked, without: str) -> None:
    """Without the token a body is not read, and nobody is asked to send it."""
    head = front.request("Content-Length: 100", "Expect: 100-continue", without=without, body=b"", length=False)
    if front.is_public or (not without and front.name == "authzen"):
        return  # its callers send one
    with front.connect(head) as connection:
        status = int(connection.recv(4096).split()[1])

    assert status == (401 if without else 413)


def test_a_slow_head_is_let_go(front: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "IDLE_SECONDS", 0.3)
    with front.connect(front.request(body=b"")[:-4]) as connection:
        assert connection.recv(4096) == b""


def test_a_slow_body_is_let_go(front: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BODY_SECONDS", 0.2)
    request = front.request(
        f"Content-Type: {front.media}", "Content-Length: 10", body=b"{", without="type", length=False
    )

    answer = front.ask(request)

    status, code = (408, "BODY_TOO_SLOW") if front.body else (413, "BODY_TOO_LARGE")
    assert_refused(answer, status, code, front)


def test_endless_chunks_are_not_read_on(front: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of their size ends them, long before the bound of their time."""
    monkeypatch.setattr(door, "BODY_SECONDS", 10 * PATIENCE_SECONDS)
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = front.request(
        f"Content-Type: {front.media}", "Transfer-Encoding: chunked", body=b"", without="type", length=False
    )
    with front.connect(head) as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
        send_on(connection, chunk)


def test_a_broken_chunk_is_no_failure_of_the_server(front: Asked, caplog: pytest.LogCaptureFixture) -> None:
    head = front.request(
        f"Content-Type: {front.media}", "Transfer-Encoding: chunked", body=b"", without="type", length=False
    )
    with front.connect(head + b"zz\r\n") as connection:
        connection.settimeout(PATIENCE_SECONDS)
        while connection.recv(4096):
            pass

    assert "Traceback" not in caplog.text


def test_answers_that_are_not_read_end_their_connection(front: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "UNREAD_SECONDS", 0.2)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", front.port))
        requests = front.request(without="connection authorization", target="/nothing", method="GET") * 50
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_on(connection, requests)


def test_health_needs_no_token_and_has_no_body_for_head(front: Asked) -> None:
    get = front.ask(front.request(target="/healthz", method="GET", without="authorization"))
    head = front.ask(front.request(target="/healthz", method="HEAD", without="authorization"))

    assert (get.status, json.loads(get.body)["ready"]) == (200, True)
    assert (head.status, head.body) == (200, b"")
    assert get.headers["x-content-type-options"] == "nosniff"


def test_a_refused_method_names_those_that_are_served(front: Asked) -> None:
    answer = front.ask(front.request(target=front.path, method="DELETE"))

    assert front.method in answer.headers["allow"].split(", ")


def test_the_request_id_is_given_back_also_by_a_refusal(front: Asked) -> None:
    for more in ([], ["Origin: null"]):
        assert front.ask(front.request("X-Request-ID: 7-b", *more)).headers["x-request-id"] == "7-b"


def test_a_head_that_came_at_once_is_measured_by_the_door() -> None:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(door_of(HELLO)), base_url="http://127.0.0.1"
        ) as client:
            return await client.get("/v1/hello", headers={"X-Large": "x" * HEAD_BYTES_MAX})

    assert asyncio.run(ask()).json()["code"] == "HEAD_TOO_LARGE"


def test_an_endpoint_that_fails_tells_and_logs_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), listening("hello", tmp_path) as front:
        answer = front.ask(front.request(target="/v1/fail", method="GET"))

    assert_refused(answer, 500, "INTERNAL_ERROR", front)
    assert "/v1/fail could not answer: RuntimeError" in caplog.text
    assert HELLO_TOKEN not in caplog.text
    assert HELLO_TOKEN not in repr(HELLO)


def test_the_page_lists_every_code() -> None:
    """Each code of a refusal in the source is a row of docs/http.md, and the reverse."""
    sources = [path.read_text("utf-8") for folder in ("streams", "macaw") for path in (ROOT / folder).rglob("*.py")]
    raised = {
        code
        for text in sources
        if "HTTPRefusal(" in text
        for code in re.findall(r'HTTPRefusal\(\s*HTTPStatus\.\w+,\s*"([A-Z_]+)"', text)
    }
    page = (ROOT / "docs" / "http.md").read_text("utf-8").partition("## Refusals")[2]

    assert set(re.findall(r"^\| `([A-Z_]+)` ", page, re.MULTILINE)) == raised | {"NOT_FOUND", "METHOD_NOT_ALLOWED"}
