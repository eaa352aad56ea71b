"""The views' tables as dictionaries with the query API over them, and a good change of each view."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from producers.home.home import Home
from schemas import codec
from schemas.changes import AttestationChanged, ContextChanged, DelegationChanged
from streams.http import door_of
from streams.views.api import QueryAPI
from streams.views.app import Folding
from streams.views.attestations import ATTESTATIONS
from streams.views.catalogue import VIEWS
from streams.views.context import CONTEXT
from streams.views.counting.counts import Counts
from streams.views.delegations import DELEGATIONS
from streams.views.progress import Phase, Progress
from streams.views.view import View
from tests.streams.views_history import Chance, History
from tests.world import HOUR_MS

TOKEN = "a" * 43
PATHS = ("sessions", "attestations", "approvals", "context", "delegations")
NOW = 1_800_000_000_000
ID = bytes(range(32))

REQUEST = AttestationChanged(
    origin="demo/acme",
    audit_index=7,
    tenant="acme",
    id=ID,
    kind="request",
    key="manager",
    session_id=b"s" * 32,
    principal_id="user:alice",
    resource="tool:bank/pay",
    status="pending",
    criteria=("role:manager",),
    quorum=2,
    approved_by=("user:carol",),
    uses=0,
    ends_at=NOW + 60_000,
    at=NOW,
)
RECORD = replace(REQUEST, kind="record", status="active", criteria=(), quorum=0, approved_by=(), ends_at=None)
WRITTEN = ContextChanged(
    origin="demo/acme",
    audit_index=7,
    tenant="acme",
    scope="team",
    key="ledger",
    status="set",
    version=3,
    principal_id="bot",
    at=NOW,
)
GRANTED = DelegationChanged(
    origin="demo/acme",
    audit_index=7,
    tenant="acme",
    delegation=ID,
    delegator="user:alice",
    delegate="bot",
    scope='{"resources":["tool:**"]}',
    purpose="invoices",
    status="active",
    expires_at=NOW + HOUR_MS,
    at=NOW,
)
SAMPLES: tuple[tuple[View[Any], Any], ...] = ((ATTESTATIONS, REQUEST), (CONTEXT, WRITTEN), (DELEGATIONS, GRANTED))


class Shown:
    """The views' tables as dictionaries, their folding, and their query API."""

    def __init__(self, base: Path, now: int = NOW) -> None:
        self.home = Home.create(base, {})
        self.now = now
        self.progress = Progress(phase=Phase.FOLLOWING, as_of=now)
        self.counts: Counts | None = None
        self.rows: dict[str, dict[bytes, bytes]] = {view.name: {} for view in VIEWS}
        for tenant, token in {"acme": TOKEN, "bank": "b" * 43}.items():
            folder = self.home.path / "tenants" / tenant
            folder.mkdir(parents=True)
            (folder / "views.token").write_text(token)
        self.restart()

    def restart(self) -> None:
        """Forget everything but the tables, as a process that starts on what its changelog left."""
        self.folding = {
            view.source: Folding(view, self.rows[view.name], self.progress, lambda: self.now) for view in VIEWS
        }
        for folding in self.folding.values():
            asyncio.run(folding.on_recovered())

    def put(self, change: Any) -> None:
        """Fold a change in its place."""
        view = next(view for view in VIEWS if isinstance(change, view.record))
        self.folding[view.source].fold(view.key_of(change), codec.frame(change), view.partition_of(change), 0)

    def read(self, history: History | Chance, *, until: int | None = None) -> None:
        """Fold what a history told the views, from its beginning."""
        for offset, one in enumerate(list(history.changes())[:until]):
            self.folding[one.topic].fold(one.key, one.value, one.partition, offset)

    def get(self, path: str, token: str = TOKEN, tenant: str = "acme") -> httpx.Response:
        """Ask the query API."""

        async def exchange() -> httpx.Response:
            api = QueryAPI(self.home, self.rows, self.progress, lambda: self.now, counts=self.counts)
            transport = httpx.ASGITransport(door_of(api.front()))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                headers = {"Authorization": f"Bearer {token}"}
                return await client.get(f"/v1/tenants/{tenant}/{path}", headers=headers)

        return asyncio.run(exchange())

    def all(self, path: str, query: str = "limit=3") -> list[dict[str, Any]]:
        """Return all pages of a list."""
        found: list[dict[str, Any]] = []
        after = ""
        for _ in range(1000):
            page = self.get(f"{path}?{query}{after}").json()
            found += page[path]
            if page["next"] is None:
                return found
            after = f"&after={page['next']}"
        raise AssertionError("the pages do not end")

    def whole(self) -> dict[str, list[dict[str, Any]]]:
        """Return everything that can be listed."""
        return {path: self.all(path) for path in PATHS}
