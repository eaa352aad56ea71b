"""An endpoint for tests: policies and subjects in a folder, and questions over ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from macaw.policies.files import index_of, read_documents
from processors.policy.index import PolicyIndex
from producers.home.home import Home, TenantHome
from streams.address import Address, address_of
from streams.authzen.api import EVALUATION, EVALUATIONS, DecisionAPI
from streams.authzen.directory import read_directory
from streams.authzen.standing import Kept, PoliciesStanding, Snapshot
from streams.http import door_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "authzen"
TOKEN = "a" * 43
NOW = 1_800_000_000_000
JSONObject = dict[str, Any]

ALICE = {"type": "user", "id": "alice"}
READ = {"name": "read"}
RECORD = {"type": "record", "id": "record-1"}
QUESTION: JSONObject = {"subject": ALICE, "action": READ, "resource": RECORD}
SUBJECTS = {"alice": {"roles": ["clerk"]}, "shopper": {"subject_types": ["agent"]}}
CLERK: JSONObject = {"policy_id": "role:clerk", "resources": ["record:*/read"]}


def index_in(folder: Path) -> PolicyIndex:
    """Return the policies of a folder, as `macaw decide --policies FOLDER` asks them."""
    return index_of(read_documents([folder]))


def standing_of(base: Path, policies: list[JSONObject], subjects: JSONObject | None = None) -> Snapshot:
    """Return the standing of documents and subjects, through the files that an operator would write."""
    folder = base / "policies"
    folder.mkdir(exist_ok=True)
    for at, policy in enumerate(policies):
        (folder / f"{at}.json").write_text(json.dumps(policy))
    (base / "directory.json").write_text(json.dumps(SUBJECTS if subjects is None else subjects))
    return Snapshot(
        policies=PoliciesStanding(index=index_in(folder)), directory=read_directory(base / "directory.json")
    )


def example() -> Snapshot:
    """Return the standing of the interoperability scenario."""
    return Snapshot(
        policies=PoliciesStanding(index=index_in(EXAMPLE / "policies")),
        directory=read_directory(EXAMPLE / "directory.yaml"),
    )


@dataclass
class Endpoint:
    """The endpoint of a tenant whose folder is below `base`."""

    base: Path
    load: Callable[[], Snapshot]
    seconds: float = 0.0  # the clock by which a standing becomes stale
    now: int = NOW
    address: Address = field(default_factory=lambda: address_of("127.0.0.1", 80, None))

    def __post_init__(self) -> None:
        self.folder: TenantHome = Home.create(self.base, {}).tenant("acme")
        self.write_token(TOKEN)
        self.kept = Kept(self.load, lambda: self.seconds)

    def write_token(self, token: str) -> None:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        (self.folder.path / "authzen.token").write_text(token + "\n")

    def send(
        self,
        content: bytes = b"",
        path: str = EVALUATION,
        *,
        method: str = "POST",
        headers: list[tuple[str, str]] | None = None,
        stream: Any = None,
    ) -> httpx.Response:
        """Send a request. Without headers: those of an honest caller."""
        given = [("Authorization", f"Bearer {TOKEN}"), ("Content-Type", "application/json")]

        async def exchange() -> httpx.Response:
            api = door_of(DecisionAPI(self.folder, self.kept, self.address, lambda: self.now).front())
            transport = httpx.ASGITransport(api)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                body = stream if stream is not None else content
                return await client.request(method, path, headers=given if headers is None else headers, content=body)

        return asyncio.run(exchange())

    def ask(self, question: JSONObject) -> JSONObject:
        """Return the answer to one question."""
        response = self.send(json.dumps(question).encode())
        assert response.status_code == 200, response.text
        found: JSONObject = response.json()
        return found

    def ask_all(self, request: JSONObject) -> list[JSONObject]:
        """Return the answers to a batch."""
        response = self.send(json.dumps(request).encode(), EVALUATIONS)
        assert response.status_code == 200, response.text
        found: JSONObject = response.json()
        assert found.keys() == {"evaluations"}
        answers: list[JSONObject] = found["evaluations"]
        return answers


def decisions(answers: list[JSONObject]) -> list[bool]:
    """Return the decisions of a batch."""
    return [answer["decision"] for answer in answers]
