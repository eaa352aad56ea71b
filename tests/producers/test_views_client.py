"""The client of the views: an answer is whole, or it is an error."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from producers.client.views_client import PAGE_BYTES_MAX, ViewsError, ViewsNotReadyError, check_address, fetch_sessions


class Answering(BaseHTTPRequestHandler):
    """Whoever listens where the views should: it answers what the test tells it."""

    answers: list[tuple[int, bytes]]

    def do_GET(self) -> None:
        code, body = self.answers.pop(0)
        self.send_response(code)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def answering(*answers: tuple[int, bytes]) -> Iterator[str]:
    handler = type("Told", (Answering,), {"answers": list(answers)})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def page(*rows: dict[str, object], **more: object) -> tuple[int, bytes]:
    return 200, json.dumps({"tenant": "acme", "sessions": rows, "next": None, "ready": True, **more}).encode()


def test_pages_are_put_together() -> None:
    with answering(page({"session_id": "1"}, next="1"), page({"session_id": "2"})) as address:
        assert fetch_sessions(address, "acme", "t") == [{"session_id": "1"}, {"session_id": "2"}]


def test_views_that_have_just_started_are_waited_for() -> None:
    with answering((503, b'{"error": "joining"}'), page()) as address:
        assert fetch_sessions(address, "acme", "t") == []


def test_views_that_never_get_ready_are_an_error() -> None:
    with answering((503, b'{"error": "joining"}')) as address, pytest.raises(ViewsNotReadyError, match="joining"):
        fetch_sessions(address, "acme", "t", ready_seconds=-1)


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b"x" * (PAGE_BYTES_MAX + 1)),
        page(tenant="bank"),
        page(ready=False),
        page(next=7),
        page(sessions=["1"]),
        (401, b"{}"),
        (404, b"nothing"),
        (500, b""),
        (302, b""),
    ],
)
def test_any_other_answer_is_an_error(answer: tuple[int, bytes]) -> None:
    """A redirect too: the token is for this address only."""
    with answering(answer) as address, pytest.raises(ViewsError):
        fetch_sessions(address, "acme", "t")


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(ViewsError, match="are they running"):
        fetch_sessions("http://127.0.0.1:1", "acme", "t")


@pytest.mark.parametrize("address", ["", "file:///etc/passwd", "127.0.0.1:80", "http://views.example:80"])
def test_a_token_goes_to_no_other_kind_of_address(address: str) -> None:
    with pytest.raises(ViewsError):
        check_address(address)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://[::1]:1", "https://views.example"])
def test_loopback_and_https_are_fine(address: str) -> None:
    check_address(address)
