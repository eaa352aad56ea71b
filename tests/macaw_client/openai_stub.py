"""A local server that speaks the part of OpenAI's API which adapters use: chat, streams, completions, embeddings.

A message `echo` comes back with `echo: ` before it. `call NAME {json}` asks for a tool, once; the text of the tool's
answer comes back with `tool said: ` before it.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest

from tests.waiting import PATIENCE_SECONDS

_CALL = re.compile(r"call (\w+) (\{.*\})", re.DOTALL)
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


class OpenAIStub:
    """The server, for the length of a block. `requests` are the bodies that it has got."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.requests.append(asked)
                if asked.get("model") == "broken":
                    self.answer(500, b'{"error": {"message": "the model is broken"}}', "application/json")
                elif asked.get("stream"):
                    self.answer(200, stub.events(asked), "text/event-stream")
                else:
                    self.answer(200, json.dumps(stub.answer_to(self.path, asked)).encode(), "application/json")

            def answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def configure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the provider's library find this server."""
        monkeypatch.setenv("OPENAI_BASE_URL", self.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-test")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE_SECONDS)
        self._server.server_close()

    # --- answers

    def answer_to(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("/embeddings"):
            texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
            rows = [{"object": "embedding", "index": at, "embedding": [0.5, 1.0]} for at, _ in enumerate(texts)]
            return {"object": "list", "model": asked["model"], "data": rows, "usage": USAGE}
        if path.endswith("/chat/completions"):
            message, why = self.message_to(asked)
            choices = [{"index": 0, "message": message, "finish_reason": why, "logprobs": None}]
            return {"id": "c-1", "object": "chat.completion", "created": 1, "model": asked["model"]} | {
                "choices": choices,
                "usage": USAGE,
            }
        choices = [{"index": 0, "text": f"echo: {asked['prompt']}", "finish_reason": "stop", "logprobs": None}]
        return {"id": "t-1", "object": "text_completion", "created": 1, "model": asked["model"], "choices": choices}

    def message_to(self, asked: dict[str, Any]) -> tuple[dict[str, Any], str]:
        last = asked["messages"][-1]
        if last["role"] == "tool":
            return {"role": "assistant", "content": f"tool said: {last['content']}"}, "stop"
        found = _CALL.fullmatch(str(last["content"]))
        if found and asked.get("tools"):
            function = {"name": found[1], "arguments": found[2]}
            called = [{"id": "call-1", "type": "function", "function": function}]
            return {"role": "assistant", "content": None, "tool_calls": called}, "tool_calls"
        return {"role": "assistant", "content": f"echo: {last['content']}"}, "stop"

    def events(self, asked: dict[str, Any]) -> bytes:
        """Return the answer word by word, as server-sent events."""
        words = re.findall(r"\S+\s*", str(self.message_to(asked)[0]["content"]))
        deltas: list[tuple[dict[str, str], str | None]] = [({"content": word}, None) for word in words]
        lines = []
        for delta, why in [({"role": "assistant"}, None), *deltas, ({}, "stop")]:
            choices = [{"index": 0, "delta": delta, "finish_reason": why, "logprobs": None}]
            part = {"id": "s-1", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}
            lines.append(f"data: {json.dumps({**part, 'choices': choices})}\n\n")
        return "".join([*lines, "data: [DONE]\n\n"]).encode()
