"""A process of `bench.calls`: monitor, host, client, or the echo that stands for the least that two topics cost.

It imports what such a process imports, and nothing of the bench, so that the code of another checkout is measured by
the same figures. It says `ready` when it serves, answers one line of JSON for each that it is given, and ends with its
input.
"""

from __future__ import annotations

import itertools
import json
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

AGENT, TOOL = "teller", "tool:noop/ping"
ECHO = ("bench.echo.asked", "bench.echo.answered")
ECHO_BYTES = 700  # about a call's event with its proof
READY_SECONDS = 30.0
ANSWER_SECONDS = 20.0


class Noop:
    """A tool that does nothing. It is made a tool in `host`."""

    def ping(self) -> int:
        """Return a number."""
        return 7


def monitor(bootstrap: str, base: Path, name: str) -> None:
    """Found a tenant, and serve it."""
    from macaw.installation.monitored import monitored
    from macaw.installation.tenancy import create_tenant
    from producers.home.home import Home
    from schemas.topics import INTAKE
    from streams.worker.monitor import Monitor, tune_collector
    from streams.worker.settings import LoopSettings

    home = Home.create(base, {"bootstrap": bootstrap, "deployment": "bench", "tenant": name})
    create_tenant(home, name)
    settings = LoopSettings(bootstrap=bootstrap, group=name, transactional_id=name, assigned=lambda: [INTAKE.of(name)])
    served = Monitor(settings, lambda found: monitored(home, found) if found == name else None)
    tune_collector()
    with _on_thread(served.run, served.stop):
        _attend({})


def host(bootstrap: str, base: Path, name: str) -> None:
    """Register an agent and a tool, and serve the tool."""
    from macaw.installation.tenancy import publish_policies, register_agent, register_enrolment
    from producers.home.home import Home
    from producers.kafka.connection import Connection
    from producers.tools import collect_tools, tool
    from producers.tools.host import HostSettings, ToolHost
    from producers.tools.registration import register_tool

    Noop.ping = tool(Noop.ping)  # type: ignore[method-assign]
    home = Home.open(base)
    folder = home.tenant(name)
    register_enrolment(home, folder)
    register_agent(home, folder, AGENT, attributes={"roles": [AGENT]})
    publish_policies(home, folder, [json.dumps({"policy_id": f"role:{AGENT}", "resources": ["tool:noop/*"]})], {})
    tools = collect_tools(Noop())
    key = register_tool(home, folder, "noop", tools)
    settings = HostSettings(bootstrap=bootstrap, group_managed=True, executed_path=folder.path / "noop.db")
    with Connection(home, folder, key, "noop") as connection:
        serving = ToolHost(connection, "noop", tools, settings)
        with _on_thread(serving.run, serving.stop):
            if not serving.ready.wait(READY_SECONDS):
                sys.exit("the host does not serve")
            _attend({})


def client(bootstrap: str, base: Path, name: str) -> None:  # noqa: ARG001 - as the others
    """Call the tool."""
    from producers.client import Client
    from producers.home.home import Home

    with Client.connect(name, AGENT, home=Home.open(base)) as agent:
        _attend({"load": lambda at, seconds: load(lambda: agent.invoke(TOOL, {}), at, seconds)})


def load(call: Callable[[], object], at: int, seconds: float) -> dict[str, float]:
    """Return the rate and latency of `at` callers, each of whom calls again as soon as it is answered."""
    took: list[float] = []
    begin = time.perf_counter()

    def run() -> None:
        while (begun := time.perf_counter()) < begin + seconds:
            call()
            took.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=run) for _ in range(at)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _told(took, time.perf_counter() - begin)


def _told(took: list[float], seconds: float) -> dict[str, float]:
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return {"calls": len(took), "seconds": seconds, "p50_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000}


# ---- the echo: the same settings of the same library, and nothing else


def _reader(bootstrap: str, topic: str) -> Consumer:
    settings = {
        "bootstrap.servers": bootstrap, "group.id": "bench.echo", "enable.auto.commit": False,
        "auto.offset.reset": "error", "isolation.level": "read_committed", "fetch.wait.max.ms": 20, "log_level": 2,
    }  # fmt: skip
    found = Consumer(settings)
    place = TopicPartition(topic, 0)
    _, end = found.get_watermark_offsets(place, timeout=10)
    found.assign([TopicPartition(topic, 0, end)])
    return found


def _writer(bootstrap: str) -> Producer:
    settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 0}
    found = Producer({**settings, "log_level": 2})
    found.list_topics(timeout=10)
    return found


def _echo(reader: Consumer, writer: Producer, seconds: float) -> Iterator[bytes]:
    """Yield the keys of what comes; whoever iterates may write."""
    first = reader.poll(seconds)
    for message in [first, *reader.consume(255, 0)] if first is not None else []:
        if message.error() is None:
            yield message.key() or b""
    writer.poll(0)


def echo(bootstrap: str, base: Path, name: str) -> None:  # noqa: ARG001 - as the others
    """Send back what comes."""
    reader, writer = _reader(bootstrap, ECHO[0]), _writer(bootstrap)
    stop, value = threading.Event(), bytes(ECHO_BYTES)

    def run() -> None:
        while not stop.is_set():
            for key in _echo(reader, writer, 0.1):
                writer.produce(ECHO[1], value, key, 0)

    with _on_thread(run, stop.set):
        _attend({})


def echoed(bootstrap: str, base: Path, name: str) -> None:  # noqa: ARG001 - as the others
    """Ask the echo, from one thread."""
    reader, writer = _reader(bootstrap, ECHO[1]), _writer(bootstrap)
    numbers, value = itertools.count(), bytes(ECHO_BYTES)

    def ask(at: int, seconds: float) -> dict[str, float]:
        asked: dict[bytes, float] = {}
        took: list[float] = []

        def send() -> None:
            key = next(numbers).to_bytes(8, "big")
            asked[key] = time.perf_counter()
            writer.produce(ECHO[0], value, key, 0)

        begin = time.perf_counter()
        for _ in range(at):
            send()
        while asked and time.perf_counter() < begin + seconds + ANSWER_SECONDS:
            for key in _echo(reader, writer, 0.1):
                now = time.perf_counter()
                took.append(now - asked.pop(key))
                if now < begin + seconds:
                    send()
        if asked:
            sys.exit("the echo does not answer")
        return _told(took, time.perf_counter() - begin)

    _attend({"load": ask})


# ---- a process


@contextmanager
def _on_thread(run: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    with ExitStack() as ending:
        ending.callback(thread.join)
        ending.callback(stop)
        yield


def _attend(known: dict[str, Callable[..., dict[str, float]]]) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        print(json.dumps(known[asked.pop("do")](**asked)), flush=True)


PARTS = {"monitor": monitor, "host": host, "client": client, "echo": echo, "echoed": echoed}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the bench ends it
    PARTS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), sys.argv[4])
