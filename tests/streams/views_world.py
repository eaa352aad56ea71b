"""A views process on a real broker, a writer that writes as a monitor does, and what a client sees."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Producer

from producers.client.views_client import fetch_sessions
from producers.home.home import Home
from schemas import codec
from schemas.changes import SessionChanged
from streams.views.sessions import SESSIONS
from tests.waiting import PATIENCE_SECONDS, wait_until

SOURCE = SESSIONS.source.of("")
ROOT = Path(__file__).parents[2]
# The process that `macaw views` is: the port is the first line that it prints.
PROGRAM = """
import sys
from pathlib import Path
from producers.home.home import Home
from streams.views.process import run_views
run_views(sys.argv[1], Home.open(Path(sys.argv[2])), on_listening=lambda port: print(port, flush=True))
"""


class Writer:
    """Writes as a monitor does: transactions of one producer, committed or aborted."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "transactional.id": name, "transaction.timeout.ms": 15_000}
        )
        self._producer.init_transactions(30)

    def write(self, *changes: SessionChanged, commit: bool = True) -> None:
        records = [(SESSIONS.key_of(c), codec.frame(c), SESSIONS.partition_of(c)) for c in changes]
        self.write_raw(*records, commit=commit)

    def write_raw(self, *records: tuple[bytes, bytes | None, int], commit: bool = True, topic: str = SOURCE) -> None:
        self.write_to(*((topic, *record) for record in records), commit=commit)

    def write_to(self, *records: tuple[str, bytes | None, bytes | None, int], commit: bool = True) -> None:
        self._producer.begin_transaction()
        for topic, key, value, partition in records:
            self._producer.produce(topic, value, key, partition)
        self._producer.flush(PATIENCE_SECONDS)  # an aborted record must have reached the log, or it shows nothing
        if commit:
            self._producer.commit_transaction(20)
        else:
            self._producer.abort_transaction(20)


@dataclass
class Views:
    """A views process, and what a client of it sees."""

    bootstrap: str
    base: Path
    home: Home
    process: subprocess.Popen[str] | None = None
    address: str = ""
    log: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        with (self.base / "views.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, self.bootstrap, str(self.base)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        port = self.process.stdout.readline().strip()
        assert port, f"it never listened: {(self.base / 'views.log').read_text()[-2000:]}"
        self.address = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, *, kill: bool = False) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        code = self.process.wait(PATIENCE_SECONDS)
        self.process.stdout.close()
        return code

    def get(self, tenant: str, path: str, token: str | None = None) -> dict[str, Any]:
        """Ask the query API, once it is ready."""
        self.statuses(tenant)
        given = token or self.home.tenant(tenant).token()
        request = urllib.request.Request(
            f"{self.address}/v1/tenants/{tenant}/{path}", headers={"Authorization": f"Bearer {given}"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            found: dict[str, Any] = json.load(response)
            return found

    def statuses(self, tenant: str) -> dict[str, str]:
        token = self.home.tenant(tenant).token()
        rows = fetch_sessions(self.address, tenant, token, ready_seconds=PATIENCE_SECONDS)
        return {str(row["session_id"]): str(row["status"]) for row in rows}

    def await_statuses(self, tenant: str, want: dict[str, str]) -> None:
        wait_until(
            lambda: self.statuses(tenant) == want, lambda: f"got {self.statuses(tenant)}, want {want}", pause=0.05
        )

    def poison_records(self) -> int:
        with urllib.request.urlopen(f"{self.address}/healthz", timeout=PATIENCE_SECONDS) as response:
            return int(json.load(response)["poison_records"])


@dataclass
class World:
    """A broker with the topics of the views, a home, a writer, and a tenant."""

    bootstrap: str
    base: Path
    tenant: str
    home: Home
    writer: Writer

    def views(self) -> Views:
        return Views(self.bootstrap, self.base, self.home)

    def add_tenant(self, name: str) -> None:
        folder = self.home.path / "tenants" / name
        folder.mkdir(parents=True)
        (folder / "views.token").write_text(secrets.token_urlsafe(32))
