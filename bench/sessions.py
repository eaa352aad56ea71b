"""The start of a client and of a host beside many open sessions: `python -m bench.sessions [--checkout DIR]`.

A tenant on a real Apache Kafka has COUNT open sessions, each by a signed event of real shape, produced to where the
monitor writes them; one in a hundred was closed. Each start is a process of its own. A client is there when it can
believe an answer of the monitor, a host when it has executed a call that was allowed just before. With `--checkout` the
same is measured with the code of another checkout, in turns with this one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from bench.tenant import AGENT, BURST, DEPLOYMENT, SESSION_TTL_MS, Author, BenchTenant, Signed
from processors.intake.identify import Received
from processors.proof.sealing import SealingKey
from processors.proof.signing import SigningKey
from producers.home.home import Home
from producers.home.keys import KeyPair
from schemas.records import SessionClosed, SessionOpened
from schemas.topics import TENANT_TOPICS, Topic
from schemas.words import Role, Status
from streams.cluster.founding import create_topics
from streams.local.choose import KafkaBroker
from streams.worker.monitor import build_fold

COUNT = 100_000
STARTS = 3
ONE_CLOSED_IN = 100
LOOKUPS = 5
CHILD = Path(__file__).with_name("session_start.py")
OUT = Path(__file__).parent / "out" / "sessions.json"
GOALS = {"client.start_s": 3.0, "client.rss_mb": 60.0, "host.start_s": 3.0, "host.rss_mb": 60.0}


class Stage:
    """A tenant on a broker: its topics as the monitor's fold writes them, and its home."""

    def __init__(self, bootstrap: str, folder: Path, name: str) -> None:
        create_topics(bootstrap, name)
        self.bootstrap, self.name, self.folder = bootstrap, name, folder
        self.tenant = BenchTenant(name)
        self.fold = build_fold(self.tenant.monitored)
        self.offset = 0
        self.topic: Topic
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "none"})
        self._append(self.tenant.set_up)
        home = Home.create(folder, {"bootstrap": bootstrap, "deployment": DEPLOYMENT, "tenant": name})
        place = home.path / "tenants" / name
        place.mkdir(parents=True)
        for kind, key in (("session", self.tenant._session.key), ("tool", self.tenant._tool.key)):  # noqa: SLF001
            assert isinstance(key.signing, SigningKey)
            assert isinstance(key.sealing, SealingKey)
            (place / f"{kind}.seeds").write_bytes(key.signing.seed + key.sealing.secret)
        (place / "genesis").write_text(self.tenant.genesis.hex() + "\n", "ascii")

    def open_sessions(self, count: int) -> list[bytes]:
        """Produce `count` open sessions to where the fold has put the tenant's own; return some of their ids."""
        agent, some = self.tenant._agent, []  # noqa: SLF001
        for keys in _chunks(count):
            offers = [key.offer(Role.SESSION, AGENT, self.tenant.genesis) for key in keys]
            bodies = [SessionOpened(principal_id=AGENT, key=offer, ttl_ms=SESSION_TTL_MS) for offer in offers]
            for key, signed in zip(keys, agent.sign(bodies, BURST), strict=True):
                self._put(Role.SESSION, key.kid, signed)
            for key in keys[::ONE_CLOSED_IN]:
                author = Author(self.name, self.tenant.genesis, key, AGENT, key.kid)
                self._put(Status.ENDED, key.kid, author.sign([SessionClosed(reason="done")])[0])
            some.append(keys[1].kid)
        self._producer.flush(60)
        return some

    def _put(self, kind: str, kid: bytes, signed: Signed) -> None:
        partition, key = kid[-1] % self.topic.partitions, f"{kind}/{kid.hex()}".encode()
        self._produce(self.topic.of(self.name), partition, key, signed.value, signed.headers)

    def call(self) -> None:
        """Let the fold allow a call, now."""
        self._append(self.tenant.calls(1, 1))

    def _append(self, events: list[Signed]) -> None:
        now = time.time_ns() // 1_000_000
        received = [Received(0, self.offset + i, now, e.value, e.headers) for i, e in enumerate(events)]
        self.offset += len(events)
        while received:
            del received[: self.fold.fold(received)]
            for m in self.fold.take():
                if (m.key or b"").startswith(b"session/"):
                    self.topic = next(topic for topic in TENANT_TOPICS if topic.of(self.name) == m.topic)
                self._produce(m.topic, m.partition, m.key, m.value, m.headers)
            self.fold.commit()
        self._producer.flush(60)

    def _produce(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition, headers=list(headers))
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def start(self, who: str, checkout: Path, lookups: list[bytes]) -> dict[str, float]:
        """Start a client or a host in a process of its own; return what it told."""
        if who == "host":
            self.call()
        command = [sys.executable, str(CHILD), who, ",".join(one.hex() for one in lookups)]
        environment = {**os.environ, "PYTHONPATH": str(checkout), "MACAW_HOME": str(self.folder)}
        environment["MACAW_BEGUN"] = str(time.monotonic())
        told = subprocess.run(command, env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE)
        return {f"{who}.{name}": value for name, value in json.loads(told.stdout).items()}


def _chunks(count: int) -> Iterator[list[KeyPair]]:
    size = max(ONE_CLOSED_IN, count // LOOKUPS)
    for at in range(0, count, size):
        yield [KeyPair.generate() for _ in range(min(size, count - at))]


# ---- the run


def play(bootstrap: str, count: int, starts: int, checkout: Path) -> None:
    """Measure with the code of the checkout that this process runs with; print the figures as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(bootstrap, Path(folder), f"s{os.getpid()}")
        some = stage.open_sessions(count)
        found: dict[str, list[float]] = {}
        for _ in range(starts):
            for who in ("client", "host"):
                for name, value in stage.start(who, checkout, some).items():
                    found.setdefault(name, []).append(value)
    print(json.dumps({name: round(statistics.median(values), 3) for name, values in found.items()}))


def measure(bootstrap: str, count: int, starts: int, checkout: Path) -> Mapping[str, float]:
    """Return the figures of one checkout."""
    asked = ["--count", str(count), "--starts", str(starts), "--checkout", str(checkout)]
    command = [sys.executable, __file__, "--play", bootstrap, *asked]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    told = subprocess.run(command, env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE)
    found: Mapping[str, float] = json.loads(told.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sessions", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--checkout", type=Path, help="a checkout of another version, measured before this one")
    parser.add_argument("--play", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.play:
        play(chosen.play, chosen.count, chosen.starts, chosen.checkout)
        return
    here = Path(__file__).parents[1]
    found: dict[str, Mapping[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, KafkaBroker(Path(folder)) as broker:
        for name, checkout in (("before", chosen.checkout), ("now", here)):
            if checkout is not None:
                found[name] = measure(broker.info.bootstrap, chosen.count, chosen.starts, checkout.resolve())
                print(name, json.dumps(found[name]), flush=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    for name, goal in GOALS.items():
        value = found["now"][name]
        print(f"{name:16} {value:8.2f}  goal {goal:5.1f}  {'met' if value <= goal else 'MISSED'}")


if __name__ == "__main__":
    main()
