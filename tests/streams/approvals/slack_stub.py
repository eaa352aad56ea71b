"""A server that speaks the part of Slack that this project uses: Web API methods, response URLs, signed interactions.

Written from Slack's reference alone. It keeps every message that it took, as a workspace does, and can be told to fail.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

import httpx

from streams.approvals.proofs import slack_signature
from tests.waiting import wait_until

TOKEN = "xoxb-" + "t" * 40
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
APP, TEAM, CHANNEL = "A0123ABC", "T0123ABC", "C0123ABC"
CAROL, BEN, NOBODY = "U0CAROL", "U0BEN", "U0NOBODY"


@dataclass
class Failure:
    """An answer that the stub gives instead of its own: a status with headers, or seconds of silence before it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    silent_seconds: float = 0.0


@dataclass
class SlackStub:
    """The workspace: messages by `ts`, what persons were told, and how it is to fail."""

    url: str = ""
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    posts: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, headers: Any, body: bytes) -> Failure:
        with self.lock:
            self.requests += 1
            if self.failures:
                return self.failures.pop(0)
            value = json.loads(body)
            if path.startswith("/hooks/"):
                self.told.append(value["text"])
                return Failure(body=b"ok")
            if headers["authorization"] != f"Bearer {TOKEN}":
                return _said({"ok": False, "error": "invalid_auth"})
            if value.get("channel") != CHANNEL:
                return _said({"ok": False, "error": "channel_not_found"})
            if path == "/api/chat.postMessage":
                ts = f"1700000000.{len(self.posts):06d}"
                self.posts.append(ts)
            elif path == "/api/chat.update" and value.get("ts") in self.messages:
                ts = value["ts"]
            else:
                return _said({"ok": False, "error": "message_not_found"})
            self.messages[ts] = value
            return _said({"ok": True, "channel": CHANNEL, "ts": ts, "message": value})

    def only(self) -> tuple[str, dict[str, Any]]:
        """Wait for a message, and return the one that there is."""
        wait_until(lambda: self.messages, "a message in the channel")
        [(ts, message)] = self.messages.items()
        return ts, message

    def pressing(self, ts: str, user: str, action: str = "macaw-approve", **changes: Any) -> dict[str, Any]:
        """Return the payload that Slack sends when a user presses a button of a message."""
        message = self.messages[ts]
        elements = next(one["elements"] for one in message["blocks"] if one["type"] == "actions")
        button = next(one for one in elements if one["action_id"] == action)
        menu = next((one for one in elements if one["type"] == "static_select"), None)
        chosen = {"macaw-scope": {"type": "static_select", "selected_option": menu["initial_option"]}} if menu else {}
        payload = {
            "type": "block_actions",
            "user": {"id": user, "username": "x", "team_id": TEAM},
            "api_app_id": APP,
            "token": "legacy",
            "container": {"type": "message", "message_ts": ts, "channel_id": CHANNEL, "is_ephemeral": False},
            "trigger_id": "1.2.3",
            "team": {"id": TEAM, "domain": "example"},
            "enterprise": None,
            "is_enterprise_install": False,
            "channel": {"id": CHANNEL, "name": "approvals"},
            "message": {"type": "message", "ts": ts, "blocks": message["blocks"]},
            "state": {"values": {"macaw-answer": chosen} if chosen else {}},
            "response_url": f"{self.url}/hooks/actions/{TEAM}/1/abc",
            "actions": [
                {"action_id": action, "block_id": "macaw-answer", "value": button["value"], "type": "button",
                 "action_ts": str(time.time())}
            ],
        }  # fmt: skip
        return {**payload, **changes}


def _said(value: dict[str, Any]) -> Failure:
    return Failure(headers={"Content-Type": "application/json; charset=utf-8"}, body=json.dumps(value).encode())


def form_of(payload: dict[str, Any]) -> bytes:
    return urlencode({"payload": json.dumps(payload)}).encode()


def signed(body: bytes, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    """Return the headers with which Slack sends a body."""
    stamp = str(int(time.time() if at is None else at))
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": slack_signature(secret, stamp, body),
    }


def send(url: str, payload: dict[str, Any]) -> httpx.Response:
    body = form_of(payload)
    return httpx.post(f"{url}/slack/interactions", content=body, headers=signed(body), timeout=30)


@contextmanager
def slack() -> Iterator[SlackStub]:
    """Serve a workspace on a port of this machine."""
    stub = SlackStub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            said = stub.answer(self.path, self.headers, body)
            time.sleep(said.silent_seconds)
            self.send_response(said.status)
            for name, value in {**said.headers, "Content-Length": str(len(said.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
