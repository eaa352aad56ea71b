"""Logins beside a flood of the bridge's public endpoint for logouts. `python -m bench.logouts`.

One process serves logins, paced, and the endpoint; another one floods the endpoint from FLOODS connections with four
kinds of garbage: forged logout tokens of a trusted issuer, random parts, forms without a token, unknown paths. Times
are those of the wall, from the sealed record of a login to its event; the brokers' part is left out.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from bench.logins import ISSUER, Case
from processors.identity.bridging import BridgeIdentity
from processors.identity.tokens.jose import encode_base64url
from processors.identity.tokens.logout import LOGOUT_EVENT
from producers.home.clock import clock_ms
from schemas.words import Outcome
from streams.address import LOOPBACK
from streams.bridge import logout_serving
from streams.bridge.desk import LoginDesk
from streams.bridge.logout_desk import Voice
from streams.bridge.logout_serving import LogoutDoor

FLOODS = 8
SECONDS = 6.0
PAUSE = 0.01  # between two logins
PATH = "/v1/tenants/acme/backchannel-logout"


def bodies() -> list[tuple[str, str]]:
    """Return the garbage: path and form."""
    claims = {"iss": ISSUER, "events": {LOGOUT_EVENT: {}}}
    head = {"alg": "RS256", "kid": "k1", "typ": "logout+jwt"}
    forged = ".".join(
        encode_base64url(part) for part in (*(json.dumps(p).encode() for p in (head, claims)), b"s" * 256)
    )
    parts = ".".join(encode_base64url(os.urandom(200)) for _ in range(3))
    forms = [(PATH, f"logout_token={forged}"), (PATH, f"logout_token={parts}"), (PATH, "a=b")]
    return [*forms, ("/nothing", "a=b")]


def flood(port: int) -> None:
    """Ask on FLOODS connections without a pause, until this process is ended; print the answers of each second."""
    counts = [0] * FLOODS

    def ask(number: int) -> None:
        requests = [
            f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(form)}\r\n\r\n{form}".encode()
            for path, form in bodies()
        ]
        while True:
            with socket.create_connection((LOOPBACK, port)) as connection:
                at = 0
                while True:
                    connection.sendall(requests[at % len(requests)])
                    if not connection.recv(65536):
                        break
                    counts[number] += 1
                    at += 1

    for number in range(FLOODS):
        threading.Thread(target=ask, args=(number,), daemon=True).start()
    while True:
        before = sum(counts)
        time.sleep(1)
        print(sum(counts) - before, flush=True)


class Log:
    """The log, which accepts the end of every login at once."""

    def __init__(self, _: Any) -> None:
        self.answer: Future[Any] = Future()
        self.answer.set_result(self)
        self.result, self.outcome = self, Outcome.ACCEPTED

    def give_up(self) -> bool:
        return False


@contextmanager
def flooded(port: int) -> Iterator[list[int]]:
    """Flood the endpoint from another process; the list is filled with the answers of each second."""
    counts: list[int] = []
    with subprocess.Popen(
        [sys.executable, "-m", "bench.logouts", "flood", str(port)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            counts.append(int(child.stdout.readline()))
            yield counts
        finally:
            child.terminate()
            counts += map(int, child.stdout.read().split())


def latencies(case: Case, desk: LoginDesk) -> list[float]:
    """Return the seconds that each of some paced logins takes."""
    found, until, at = [], time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        time.sleep(PAUSE)
        begun = time.perf_counter()
        desk.take(*case.logins[at % len(case.logins)])
        found.append(time.perf_counter() - begun)
        at += 1
    return found


def logout(port: int, token: str) -> float:
    """Return the seconds of one honest logout."""
    with httpx.Client(timeout=30, trust_env=False, verify=False) as client:
        begun = time.perf_counter()
        answer = client.post(f"http://{LOOPBACK}:{port}{PATH}", data={"logout_token": token})
        assert answer.status_code == 200, answer.text
        return time.perf_counter() - begun


def main(arguments: Sequence[str]) -> int:
    """Print the latencies alone, beside the flood, and beside it if the endpoint had no bound."""
    if arguments[:1] == ["flood"]:
        flood(int(arguments[1]))
    case, table = Case(), Table("logins", "p50 ms", "p99 ms", "garbage a second", "honest logout, ms")
    identity = BridgeIdentity(case.genesis, case.bridge.kid, b"s" * 32)

    def desk() -> LoginDesk:
        class Quiet:
            answer: Future[Any]

            def __init__(self, _: Any) -> None:
                self.answer = Future()

        return LoginDesk(
            identity, halves=lambda: [case.bridge.sealing], trust=case, keys=case, publish=Quiet, answers=case,  # type: ignore[arg-type]
            refusals=case, clock=clock_ms,
        )  # fmt: skip

    for name, share in (("alone", 0.2), (f"{FLOODS} floods", 0.2), (f"{FLOODS} floods, without the bound", 1e9)):
        logout_serving.SHARE = share
        door = LogoutDoor(keys=case)  # type: ignore[arg-type]
        door.start(lambda _: [Voice(identity, case, Log)])
        port = int(door.address.url.rpartition(":")[2])
        try:
            if name == "alone":
                found, counts = latencies(case, desk()), [0]
                honest = [logout(port, case.logout(n)) for n in range(5)]
            else:
                with flooded(port) as counts:
                    found = latencies(case, desk())
                    honest = [logout(port, case.logout(n)) for n in range(5)]
        finally:
            door.close()
        p99 = statistics.quantiles(found, n=100)[98]
        rate = statistics.median(counts)
        table.add_row(
            name, f"{statistics.median(found) * 1e3:.2f}", f"{p99 * 1e3:.2f}", f"{rate:.0f}",
            f"{statistics.median(honest) * 1e3:.0f}",
        )  # fmt: skip
    Console().print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
