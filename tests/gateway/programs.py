"""A shop behind a gateway over HTTP, and programs that ask it; each answer is held against the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema_rs

from macaw.gateway.http.process import serve_gateway
from producers.tools import FROM_HINTS, tool
from streams.address import LOOPBACK, address_of
from tests.installation import Installation
from tests.streams.bridge.office import Office
from tests.waiting import PATIENCE_SECONDS


@contextmanager
def serving(here: Installation, *origins: str) -> Iterator[str]:
    """Serve a tenant; yield the URL."""
    ready = threading.Event()
    stop: list[Any] = []

    async def serve(listening: socket.socket, address: Any) -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        await serve_gateway(
            here.home,
            here.folder,
            listening,
            address,
            origins=frozenset(origins),
            on_listening=lambda _: ready.set(),
            has_signals=False,
        )

    def run() -> None:
        try:
            asyncio.run(serve(listening, address))
        except asyncio.CancelledError:
            pass
        finally:
            ready.set()

    with socket.create_server((LOOPBACK, 0)) as listening:
        address = address_of(LOOPBACK, listening.getsockname()[1], None)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert ready.wait(PATIENCE_SECONDS)
            yield address.url
        finally:
            for end in stop:
                end()
            thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


class Document:
    """The OpenAPI document of a gateway, as a program reads it."""

    def __init__(self, url: str) -> None:
        self.told: dict[str, Any] = httpx.get(f"{url}/openapi.json").json()

    def check(self, path: str, answer: httpx.Response) -> None:
        """Check that an answer is one that the document describes."""
        operation = self.told["paths"][path][answer.request.method.lower()]
        described = self._resolved(operation["responses"][str(answer.status_code)])
        if "content" not in described:
            assert answer.content == b""
            return
        media = answer.headers["content-type"].partition(";")[0]
        schema = described["content"][media]["schema"]
        if media.endswith("json"):
            self.check_value(schema, answer.json())

    def check_event(self, schema: str, data: object) -> None:
        """Check the data of an event of a stream."""
        self.check_value({"$ref": f"#/components/schemas/{schema}"}, data)

    def check_value(self, schema: dict[str, Any], value: object) -> None:
        jsonschema_rs.validate({**schema, "components": self.told["components"]}, value)

    def _resolved(self, one: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in one:
            return self.told["components"]["responses"][one["$ref"].rpartition("/")[2]]
        return one


@dataclass
class Program:
    """A program with a handle, in no language in particular."""

    url: str
    handle: str = field(repr=False)
    document: Document

    def ask(
        self, method: str, path: str, body: object = None, *, handle: str | None = None, **filled: str
    ) -> httpx.Response:
        """Ask one path of the document; `filled` has its parameters, and `query` what follows the question mark."""
        query = filled.pop("query", "")
        headers = {"authorization": f"Bearer {self.handle if handle is None else handle}"}
        address = f"{self.url}{path.format(**filled)}{query}"
        sent = {} if body is None else {"json": body}
        answer = httpx.request(method, address, headers=headers, timeout=PATIENCE_SECONDS, **sent)
        self.document.check(path, answer)
        return answer

    def call(self, resource: str, parameters: dict[str, Any] | None = None, **how: Any) -> httpx.Response:
        return self.ask("POST", "/v1/calls", {"resource": resource, "parameters": parameters or {}, **how})

    def come_back(self, call_id: str, seconds: float = 30) -> httpx.Response:
        return self.ask("GET", "/v1/calls/{call_id}", call_id=call_id, query=f"?wait_seconds={seconds}")

    @contextmanager
    def streaming(self, resource: str, parameters: dict[str, Any] | None = None) -> Iterator[Iterator[tuple[str, Any]]]:
        """Yield the events of a stream; leaving the block leaves the stream."""
        with httpx.stream(
            "POST",
            f"{self.url}/v1/calls/stream",
            json={"resource": resource, "parameters": parameters or {}},
            headers={"authorization": f"Bearer {self.handle}"},
            timeout=PATIENCE_SECONDS,
        ) as answer:
            if answer.status_code != 200:
                answer.read()
                self.document.check("/v1/calls/stream", answer)
            answer.raise_for_status()
            yield self._events(answer)

    def _events(self, answer: httpx.Response) -> Iterator[tuple[str, Any]]:
        schemas = {"call": "StreamCalled", "pending": "CallPending", "item": "StreamItem", "end": "StreamEnded"}
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                self.document.check_event(schemas.get(name, "Problem"), data)
                yield name, data


def login(url: str, token: str, document: Document) -> Program:
    """Log in as a program does."""
    answer = httpx.post(f"{url}/v1/sessions", json={"token": token}, timeout=PATIENCE_SECONDS)
    document.check("/v1/sessions", answer)
    assert answer.status_code == 201, answer.text
    return Program(url, answer.json()["session"], document)


POLICIES: list[dict[str, Any]] = [
    {
        "policy_id": "company:FinTech Corp",
        "resources": ["tool:shop/*"],
        "denied_resources": ["tool:shop/closed"],
        "constraints": {"parameters": {"tool:shop/buy": {"item": ["pen", "desk", "ship"]}}},
    },
    {
        "policy_id": "tool:shop/buy",
        "resources": ["**"],
        "attestations": ["large::{params.item == 'ship'}"],
        "constraints": {"attestations": {"large": {"approval_criteria": "role:manager", "timeout": 60}}},
    },
]


class Shop:
    """Tools with each kind of end."""

    def __init__(self) -> None:
        self.go_on, self.left, self.bought = threading.Event(), threading.Event(), [""]

    @tool(input_schema=FROM_HINTS)
    def buy(self, item: str) -> dict[str, str]:
        """Buy one item."""
        self.bought.append(item)
        return {"bought": item}

    @tool
    def fail(self) -> None:
        raise RuntimeError("out of stock")

    @tool(timeout_seconds=60)
    def slow(self) -> str:
        assert self.go_on.wait(PATIENCE_SECONDS)
        return "late"

    @tool(streams=True)
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    @tool(streams=True)
    def endless(self) -> Iterator[int]:
        try:
            while True:
                yield 1
                time.sleep(0.01)
        finally:
            self.left.set()

    @tool
    def closed(self) -> str:
        return "never"


@dataclass
class Place:
    """The company, its shop, and the gateway's URL."""

    office: Office
    shop: Shop
    url: str
    document: Document

    def login(self, person: str) -> Program:
        return login(self.url, self.office.token(person), self.document)
