"""The token endpoint of a provider, on this machine: it exchanges what it is told to, and keeps the forms it got."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from macaw.gateway.exchange import ACCESS_TOKEN, ExchangeSettings

Form = Mapping[str, str]


class Answer(NamedTuple):
    """What the endpoint says."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    pause: float = 0.0


def token_answer(token: str, **other: Any) -> Answer:
    """Return an answer with a token."""
    found = {"access_token": token, "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 300}
    return Answer(200, json.dumps({**found, **other}).encode())


class TokenEndpoint:
    """The endpoint: `say` answers each form."""

    def __init__(self, say: Callable[[Form], Answer]) -> None:
        self.say, self.forms, self.heads = say, list[Form](), list[Mapping[str, str]]()
        here = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                here.forms.append(form)
                here.heads.append(dict(self.headers))
                answer = here.say(form)
                time.sleep(answer.pause)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/token"

    def settings(self, **other: Any) -> ExchangeSettings:
        """Return the settings of an exchange here."""
        said = {
            "endpoint": self.url,
            "client_id": "gate way",
            "method": "client_secret_basic",
            "secret": "s3:cret",
            "audience": "files",
            "private_hosts": ("127.0.0.1",),
        }
        return ExchangeSettings(**{**said, **other})


@contextmanager
def token_endpoint(say: Callable[[Form], Answer]) -> Iterator[TokenEndpoint]:
    """Serve it until the block ends."""
    found = TokenEndpoint(say)
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()
        thread.join()
