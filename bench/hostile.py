"""The effect of hostile batches on a worker's memory: `python -m bench.hostile`.

For each kind of batch there is a tenant of its own. The hostile records are first on its intake; then a real `macaw
monitor` runs until an event after them has its answer. The result is the peak of the monitor's resident memory, and the
number of records that the broker refused.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from macaw.installation.tenancy import create_tenant, register_enrolment
from producers.home.home import Home
from schemas.topics import INTAKE
from streams.local.choose import KafkaBroker

ANSWER_SECONDS = 300.0
GOAL_MB = 300
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Kind:
    """Records of one kind: their number, their content and their batches."""

    what: str
    codec: str
    count: int
    value: Callable[[], bytes]
    batch_bytes: int = 1
    header_bytes: int = 0  # of one header, beside the value
    headers: int = 1


@dataclass(frozen=True, slots=True)
class Told:
    """The result for one kind."""

    what: str
    sent: int
    refused: int
    peak_mb: float
    seconds: float


KINDS = (
    Kind("nothing", "none", 0, bytes),
    Kind("40 records of 60 MB zeros, zstd", "zstd", 40, lambda: bytes(60 * MB)),
    Kind("1 record of 300 MB zeros, gzip", "gzip", 1, lambda: bytes(300 * MB)),
    Kind("80 records of 1 MB zeros, zstd", "zstd", 80, lambda: bytes(MB)),
    Kind("80 records of 1 MB noise", "none", 80, lambda: os.urandom(MB)),
    Kind("80 records with 1 MB of headers", "none", 80, bytes, header_bytes=MB),
    Kind("40 records with 300,000 headers", "none", 40, bytes, header_bytes=1, headers=300_000),
    Kind("200,000 empty records in large batches, zstd", "zstd", 200_000, bytes, 900_000),
)


def send(bootstrap: str, topic: str, kind: Kind) -> int:
    """Append the records of a kind; return the number that the broker refused."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": kind.codec,
            "message.max.bytes": 1_000_000_000,
            "batch.size": kind.batch_bytes,
            "batch.num.messages": 1_000_000,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
            "linger.ms": 100 if kind.batch_bytes > 1 else 0,
            "log_level": 0,
        }
    )
    refused: list[str] = []

    def note(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(error.name())

    for _ in range(kind.count):
        headers = [("m", os.urandom(kind.header_bytes))] * kind.headers if kind.header_bytes else []
        producer.produce(topic, kind.value(), partition=0, on_delivery=note, headers=list(headers))
        if kind.batch_bytes == 1:
            producer.flush(60)
    producer.flush(60)
    return len(refused)


def peak_mb(process: subprocess.Popen[bytes]) -> float:
    """Return the peak of a process's resident memory in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1000


def measure(bootstrap: str, number: int, kind: Kind) -> Told:
    """Measure one kind with a monitor of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.create(Path(folder), {"bootstrap": bootstrap, "deployment": "bench"})
        tenant = create_tenant(home, f"h{time.time_ns() // MB % 1_000_000_000}-{number}")
        refused = send(bootstrap, INTAKE.of(tenant.tenant), kind)
        begun = time.monotonic()
        command = [sys.executable, "-m", "macaw.cli", "monitor"]
        environment = {**os.environ, "MACAW_HOME": folder}
        environment.pop("MACAW_BOOTSTRAP_SERVERS", None)
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as monitor:
            try:
                answer = register_enrolment(home, tenant, seconds=ANSWER_SECONDS)
                peak = peak_mb(monitor)
            finally:
                monitor.terminate()
        if answer is None:
            raise SystemExit(f"{kind.what}: the event after them has no answer after {ANSWER_SECONDS:g} s")
    return Told(kind.what, kind.count, refused, round(peak, 1), round(time.monotonic() - begun, 1))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench/out/hostile.json"))
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder, KafkaBroker(Path(folder)) as broker:
        told = [measure(broker.info.bootstrap, number, kind) for number, kind in enumerate(KINDS)]
    for one in told:
        taken = f"refused {one.refused:3} of {one.sent:6}"
        print(f"{one.what:46} {taken}  peak {one.peak_mb:6.1f} MB  {one.seconds:6.1f} s")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([asdict(one) for one in told], indent=2), "utf-8")
    if max(one.peak_mb for one in told) > GOAL_MB:
        raise SystemExit(f"a monitor used more than {GOAL_MB} MB of memory, which is the goal")


if __name__ == "__main__":
    main()
