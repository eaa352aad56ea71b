"""A model for a coding agent: it asks for the tool uses of a script, one after the other, and says that it is done.

It speaks the two wires that the agents speak: Messages of Anthropic, and Responses of OpenAI, both as event streams.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DONE = "the script is done"
LAST_SESSION = 4242  # stands for the number that the agent gave to the command before
_SESSION = re.compile(r"session ID (\d+)")
RESULTS = {"function_call_output", "custom_tool_call_output"}


@dataclass
class ScriptedModel:
    """`script` holds tool uses in the agent's own form; `told` what the agent says of each, in order."""

    script: list[dict[str, Any]]
    port: int = 0
    told: list[str] = field(default_factory=list)

    def messages(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the events of an answer of Anthropic's wire."""
        blocks = [one for m in body["messages"] if isinstance(m["content"], list) for one in m["content"]]
        block = self._next([json.dumps(one["content"]) for one in blocks if one["type"] == "tool_result"], body)
        usage = {"input_tokens": 1, "output_tokens": 1}
        head = {"id": "msg", "type": "message", "role": "assistant", "model": body["model"], "content": []}
        if block is None:
            start, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": DONE}
        else:
            start = {"type": "tool_use", "id": f"toolu_{len(self.told)}", "name": block["name"], "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        stop = {"stop_reason": "end_turn" if block is None else "tool_use", "stop_sequence": None}
        return [
            {"type": "message_start", "message": {**head, "stop_reason": None, "stop_sequence": None, "usage": usage}},
            {"type": "content_block_start", "index": 0, "content_block": start},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
        ]

    def responses(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the events of an answer of OpenAI's wire."""
        item = self._next([json.dumps(one["output"]) for one in body["input"] if one.get("type") in RESULTS], None)
        if item is None:
            text = {"type": "output_text", "text": DONE, "annotations": []}
            item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]}
        else:
            count = len(self.told)
            for number in _SESSION.findall("".join(self.told))[-1:]:
                item = {**item, **{k: v.replace(str(LAST_SESSION), number) for k, v in item.items()}}
            item = {**item, "id": f"fc_{count}", "call_id": f"call_{count}", "status": "completed"}
        head = {"id": "resp", "object": "response", "status": "in_progress", "output": []}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        return [
            {"type": "response.created", "response": head},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {
                "type": "response.completed",
                "response": {**head, "status": "completed", "output": [item], "usage": usage},
            },
        ]

    def _next(self, told: list[str], body: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the next tool use; None at the end, and for a side question without tools."""
        if body is not None and not body.get("tools"):
            return None
        self.told = told
        return self.script[len(told)] if len(told) < len(self.script) else None


@contextmanager
def serving(script: list[dict[str, Any]]) -> Iterator[ScriptedModel]:
    """Serve a model on loopback."""
    model = ScriptedModel(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._answer(404, b"", "text/plain")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
            path = self.path.partition("?")[0]
            wires = {"/v1/messages": model.messages, "/v1/responses": model.responses}
            if path not in wires:
                self._answer(404, b"", "text/plain")
                return
            events = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in wires[path](body))
            self._answer(200, events.encode(), "text/event-stream")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    model.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
