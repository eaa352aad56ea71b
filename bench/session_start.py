"""One start of a client or of a host, for `bench.sessions`: what it takes, and what is resident after it.

It imports what such a process imports, and nothing of the bench.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

WAIT_SECONDS = 900


def start(who: str, lookups: list[bytes]) -> dict[str, float]:
    """Be a client or a host, and tell how long the start took (s) and what is resident after it (MB)."""
    begun, told = float(os.environ["MACAW_BEGUN"]), {}
    from processors.proof.sealing import SealingKey
    from processors.proof.signing import SigningKey
    from producers.home.home import Home
    from producers.home.keys import KeyPair
    from producers.kafka.connection import Connection

    if who == "client":
        from producers.client import Client  # noqa: F401 - what an agent imports
    else:
        from producers.tools.host import ToolHost  # noqa: F401 - what a host imports
    told = {"imports_s": time.monotonic() - begun, "imports_mb": resident("VmRSS")}
    home = Home.find()
    folder = home.tenant()
    seeds = (folder.path / ("session.seeds" if who == "client" else "tool.seeds")).read_bytes()
    key = KeyPair(SigningKey.from_seed(seeds[:32]), SealingKey.from_secret(seeds[32:]))
    principal = "shopper" if who == "client" else "bank"
    with Connection(home, folder, key, principal, is_session=who == "client") as connection:
        if who == "client":
            connection.registry.refresh()
            told["start_s"] = time.monotonic() - begun
            time.sleep(1)
        else:
            told |= host(connection, home, begun, lookups)
        told |= {"rss_mb": resident("VmRSS"), "anon_mb": resident("RssAnon"), "peak_mb": resident("VmHWM")}
        assert connection.registry.resources(), "the registry was not followed"
    return told


def host(connection: Any, home: Any, begun: float, lookups: list[bytes]) -> dict[str, float]:
    """Be a host until it has executed one call, then look sessions up.

    A version that follows sessions in the registry is there when it has read them: the call is too late by then.
    """
    from producers.tools import tool
    from producers.tools.declaring import collect_tools
    from producers.tools.host import HostSettings, ToolHost

    class Bank:
        @tool
        def transfer(self, **_: Any) -> None:
            """Send nothing."""

    if hasattr(connection.registry, "session"):
        connection.registry.refresh()
        return {"start_s": time.monotonic() - begun}
    settings = HostSettings(bootstrap=home.bootstrap, group_managed=False, executed_path=home.path / f"{begun}.db")
    serving = ToolHost(connection, "bank", collect_tools(Bank()), settings)
    thread = threading.Thread(target=serving.run)
    thread.start()
    while not serving.tally.executed:
        if not thread.is_alive() or time.monotonic() - begun > WAIT_SECONDS:
            raise SystemExit(f"the host executes nothing: {serving.tally}")
        time.sleep(0.005)
    told = {"start_s": time.monotonic() - begun}
    time.sleep(1)
    told["without_lookups_mb"] = resident("VmRSS")
    took = []
    for session_id in lookups:
        at = time.monotonic()
        assert serving._sessions.that_signed(session_id) is not None, "a session was not found"  # noqa: SLF001
        took.append(time.monotonic() - at)
    told["lookup_ms"] = statistics.median(took) * 1000
    serving.stop()
    thread.join()
    return told


def resident(name: str) -> float:
    """Return a figure of this process's memory in MB."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1000


if __name__ == "__main__":
    told = start(sys.argv[1], [bytes.fromhex(one) for one in sys.argv[2].split(",") if one])
    print(json.dumps(told))
