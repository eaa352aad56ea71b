"""What the MCP gateway adds to a governed call, many sessions on one gateway, and memory: `python -m bench.gateway`.

The call alone goes from a client to a tool host over the log, as in `bench.calls`. Through the gateway the same call
goes from an MCP client over HTTP to the gateway, over the same log back to the gateway, and to a server that answers at
once. Broker, monitor, host, gateway and server are processes of their own; both kinds and the server by itself go by
turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from rich.console import Console
from rich.table import Table

from bench.calls import Stage, cpu_seconds
from macaw.installation.enrolments import create_enrolment
from macaw.installation.tenancy import publish_policies
from producers.home.home import Home
from schemas.events.attributes import Attributes
from schemas.records import EnrolmentGrant
from schemas.words import Role
from streams.local.choose import EmbeddedBroker, KafkaBroker
from streams.local.probe import LOOPBACK, find_free_port, is_free

SERVER = Path(__file__).with_name("gateway_server.py")
OUT = Path(__file__).parent / "out" / "gateway.json"
NAME, AGENT, TOOL = "pings", "asker", "ping"
START_SECONDS = 60.0
SESSIONS = 200
# (lower is better, the goal)
GOALS: Mapping[str, tuple[bool, float]] = {
    "gateway.added_ratio": (True, 1.0),
    "gateway.200.failed": (True, 0),
    "gateway.memory.growth_bytes_per_call": (True, 250),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPlan:
    """How long a run takes: rounds of `seconds` each, and calls between two looks at the memory."""

    rounds: int
    seconds: float
    warm_seconds: float
    many_seconds: float
    memory_calls: int
    memory_looks: int


QUICK = GatewayPlan(rounds=2, seconds=2.0, warm_seconds=3.0, many_seconds=5.0, memory_calls=500, memory_looks=3)
FULL = GatewayPlan(rounds=5, seconds=5.0, warm_seconds=75.0, many_seconds=20.0, memory_calls=2500, memory_looks=5)


class GatewayBenchError(RuntimeError):
    """A process of the bench did not start, or a call that must pass was refused."""


@contextmanager
def process(words: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of the bench until the block ends."""
    root = str(Path(__file__).parents[1])
    with log.open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, *words], env={**os.environ, "PYTHONPATH": root, **environment},
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield running
    finally:
        running.send_signal(signal.SIGINT)
        try:
            running.wait(15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _wait(holds: Callable[[], Any], what: str) -> Any:
    until = time.monotonic() + START_SECONDS
    while not (found := holds()):
        if time.monotonic() > until:
            raise GatewayBenchError(what)
        time.sleep(0.05)
    return found


@contextmanager
def served(base: Path, name: str) -> Iterator[tuple[str, str, int]]:
    """Serve the server by itself and behind a gateway, by HTTP; yield both URLs and the gateway's process id."""
    home = Home.open(base / name)
    folder = home.tenant(name)
    offers = (f"tool:{NAME}/*", f"mcp:{NAME}/**")
    grant = EnrolmentGrant(roles=(Role.SERVICE,), name_pattern=NAME, count_max=1, attributes=Attributes(offers=offers))
    create_enrolment(home, folder, NAME, grant)
    policy = {"policy_id": f"service:{AGENT}", "resources": [f"tool:{NAME}/*"]}
    publish_policies(home, folder, [json.dumps(policy)], {})
    port, log = find_free_port(), base / "gateway.log"
    words = ["-m", "macaw.cli", "mcp", "proxy", "--name", NAME, "--as", AGENT, "--tenant", name]
    words += ["--listen", f"{LOOPBACK}:0", "--", sys.executable, str(SERVER), "stdio"]
    with (
        process([str(SERVER), str(port)], base / "server.log"),
        process(words, log, MACAW_HOME=str(home.path.parent)) as gateway,
    ):
        _wait(lambda: not is_free(port), "the server has not begun")
        url = _wait(lambda: re.findall(r"is served at (\S+)", log.read_text()), "the gateway has not begun")[0]
        yield f"http://{LOOPBACK}:{port}/mcp", url, gateway.pid


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Client]:
    """Open a session of MCP."""
    async with (
        httpx2.AsyncClient(timeout=120) as http,
        Client(streamable_http_client(url, http_client=http), mode="legacy") as client,
    ):
        yield client


async def load(call: Callable[[], Awaitable[Any]], seconds: float, took: list[float]) -> None:
    """Call again and again for some seconds, and note how long each call took."""
    begin = time.perf_counter()
    while (begun := time.perf_counter()) < begin + seconds:
        await call()
        took.append((time.perf_counter() - begun) * 1000)


async def call(client: Client) -> None:
    """Make one call. Raises GatewayBenchError if it is refused."""
    answer = await client.call_tool(TOOL, {})
    if answer.is_error:
        raise GatewayBenchError(str(answer.content))


async def alone(url: str, seconds: float) -> float:
    """Return the p50, in ms, of one session that calls again as soon as it is answered."""
    took: list[float] = []
    async with session(url) as client:
        await load(lambda: call(client), seconds, took)
    return statistics.median(took)


async def many(url: str, pid: int, seconds: float) -> dict[str, float]:
    """Return what SESSIONS sessions at once get from one gateway, and the CPU that a call takes it."""
    took: list[float] = []
    failed = 0

    async def one(client: Client) -> None:
        nonlocal failed
        try:
            await load(lambda: call(client), seconds, took)
        except GatewayBenchError:
            failed += 1

    async with AsyncExitStack() as stack:
        begun = time.perf_counter()
        clients = [await stack.enter_async_context(session(url)) for _ in range(SESSIONS)]
        opened = time.perf_counter() - begun
        begun, cpu = time.perf_counter(), cpu_seconds(pid)
        await asyncio.gather(*map(one, clients))
        lasted, spent = time.perf_counter() - begun, cpu_seconds(pid) - cpu
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return {
        "open_ms": opened / SESSIONS * 1000, "per_s": len(took) / lasted, "p50_ms": cuts[49], "p99_ms": cuts[98],
        "failed": failed, "cpu_us": spent / len(took) * 1e6,
    }  # fmt: skip


async def memory(url: str, pid: int, marks: Sequence[int]) -> list[tuple[int, int]]:
    """Return pairs of calls made and the gateway's resident memory in bytes then, by eight sessions at once."""
    looks: list[tuple[int, int]] = []
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(session(url)) for _ in range(8)]

        async def some(client: Client, count: int) -> None:
            for _ in range(count):
                await call(client)

        made = 0
        for mark in marks:
            each = (mark - made) // len(clients)
            await asyncio.gather(*(some(client, each) for client in clients))
            made += each * len(clients)
            looks.append((made, resident(pid)))
    return looks


def measure_memory(broker: Any, base: Path, calls: int) -> dict[str, Any]:
    """Return the gateway's resident memory after a tenth, a half and all of some calls, and its last growth."""
    name = "call-now"
    with ExitStack() as ends:
        Stage(ends, broker.info.bootstrap, base / name, Path(__file__).parents[1], broker.pid)
        _, gateway, pid = ends.enter_context(served(base, name))
        looks = asyncio.run(memory(gateway, pid, (calls // 10, calls // 2, calls)))
    return {f"gateway.memory.mib_at_{made}": size / 2**20 for made, size in looks} | {
        "gateway.memory.growth_bytes_per_call": growth(looks)
    }


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(looks: list[tuple[int, int]]) -> float:
    """Return the slope of memory over calls, in bytes a call, without the first look, which is the warm-up."""
    calls, sizes = zip(*looks[1:], strict=True)
    return statistics.linear_regression(calls, sizes).slope


def measure(broker: Any, base: Path, plan: GatewayPlan) -> dict[str, Any]:
    """Return the figures, measured by turns on a running broker."""
    name = "call-now"
    turns: list[tuple[float, float, float]] = []
    others: list[float] = []
    with ExitStack() as ends:
        stage = Stage(ends, broker.info.bootstrap, base / name, Path(__file__).parents[1], broker.pid)
        stage.load(64, plan.warm_seconds)
        server, gateway, pid = ends.enter_context(served(base, name))
        asyncio.run(alone(gateway, min(plan.warm_seconds, 10.0)))
        for _ in range(plan.rounds):
            told = stage.load(1, plan.seconds)
            others.append(told["others"])
            turns.append(
                (told["p50_ms"], asyncio.run(alone(gateway, plan.seconds)), asyncio.run(alone(server, plan.seconds)))
            )
        together = asyncio.run(many(gateway, pid, plan.many_seconds))
        marks = [plan.memory_calls * (look + 1) for look in range(plan.memory_looks + 1)]
        looks = asyncio.run(memory(gateway, pid, marks))
    return figures(turns) | {f"gateway.{SESSIONS}.{what}": value for what, value in together.items()} | {
        "gateway.memory.first_mib": looks[0][1] / 2**20,
        "gateway.memory.last_mib": looks[-1][1] / 2**20,
        "gateway.memory.calls": looks[-1][0],
        "gateway.memory.growth_bytes_per_call": growth(looks),
        "gateway.other_cores": statistics.median(others),
    }  # fmt: skip


def figures(turns: list[tuple[float, float, float]]) -> dict[str, float]:
    """Return medians over the rounds of (call alone, through the gateway, server by itself), in ms, and the ratio."""
    plain, through, server = zip(*turns, strict=True)
    return {
        "gateway.call_p50_ms": statistics.median(plain),
        "gateway.server_p50_ms": statistics.median(server),
        "gateway.through_p50_ms": statistics.median(through),
        "gateway.added_ratio": statistics.median((b - a) / a for a, b, _ in turns),
    }


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print the figures, each with its goal if it has one."""
    table = Table(title=f"the MCP gateway on {found['broker']}")
    for column in ("figure", "value", "goal", ""):
        table.add_column(column, justify="left" if column in ("figure", "") else "right")
    for figure, value in found.items():
        if isinstance(value, str):
            continue
        lower, goal = GOALS.get(figure, (True, None))
        met = "" if goal is None else "met" if (value <= goal if lower else value >= goal) else "missed"
        table.add_row(figure, f"{value:,.2f}", "" if goal is None else f"{'≤' if lower else '≥'} {goal:g}", met)
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds on a broker that has just begun")
    parser.add_argument(
        "--memory", type=int, metavar="CALLS", help="memory alone, after a tenth, a half and all of so many calls"
    )
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="kafka")
    chosen = parser.parse_args()
    plan = QUICK if chosen.quick else FULL
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as folder:
        base = Path(folder)
        kind = EmbeddedBroker if chosen.broker == "embedded" else KafkaBroker
        with kind(base / "broker") as broker:
            figures_of = (
                measure(broker, base, plan) if not chosen.memory else measure_memory(broker, base, chosen.memory)
            )
            found = {"broker": str(broker.info), **figures_of}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    show(found, Console(width=100))


if __name__ == "__main__":
    main()
