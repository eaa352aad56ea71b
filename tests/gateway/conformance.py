"""The official conformance suite of MCP against one server: by itself, and behind a gateway.

    PYTHONPATH=. python tests/gateway/conformance.py

prints the table of docs/mcp.md, on an embedded broker of its own; the exit status is 0 if the server passes behind the
gateway all that it passes by itself, and the same server of functions (SecureMCP) passes that too. The suite comes from
npm: `npm ci` for tests/gateway/node, once, into the cache.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.local.choose import EmbeddedBroker
from streams.local.probe import LOOPBACK, find_free_port, is_free
from tests.gateway.node_home import PACKAGES, SUITE
from tests.gateway.places import allow
from tests.installation import Installation, installed
from tests.npm import NodePackagesError
from tests.waiting import PATIENCE_SECONDS, wait_until

ROOT: Final = Path(__file__).parents[2]
SERVER: Final = Path(__file__).with_name("conformance_server.py")
FUNCTIONS: Final = SERVER.with_name("conformance_functions.py")
SUITE_SECONDS: Final = 300.0
NAME: Final = "conformance"
ALL: Final = {"policy_id": "service:suite", "resources": [f"tool:{NAME}/*", f"mcp:{NAME}/**"]}
PASSED: Final = "SUCCESS"
JUDGED: Final = (PASSED, "WARNING", "FAILURE")

Scenarios = dict[str, dict[str, str]]
"""By scenario the status of each check that judges: PASSED, WARNING or FAILURE."""


def play(url: str, folder: Path) -> Scenarios:
    """Play every scenario against the server at a URL; `folder` takes its files. Raises NodePackagesError."""
    home = PACKAGES.prepare()
    shim = PACKAGES.source / "suite.mjs"
    command = ["node", "--import", str(shim), str(home / SUITE), "server", "--suite", "all", "--url", url]
    done = subprocess.run(
        [*command, "--output-dir", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
        check=False,
    )
    found: Scenarios = {}
    for path in sorted(folder.glob("server-*/checks.json")):
        named = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", path.parent.name)
        assert named is not None, path.parent.name
        checks = [one for one in json.loads(path.read_text("utf-8")) if one["status"] in JUDGED]
        found[named[1]] = {one["id"]: one["status"] for one in checks}
    if not found:
        raise RuntimeError(f"the suite has played nothing: {(done.stdout + done.stderr)[-2000:]}")
    return found


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Serve the server of the suite by itself; yield its URL."""
    port = find_free_port()
    with _process([sys.executable, str(SERVER), str(port)], folder / "server.log"):
        wait_until(lambda: not is_free(port), f"the server has not begun: see {folder / 'server.log'}")
        yield f"http://{LOOPBACK}:{port}/mcp"


@contextmanager
def behind(here: Installation, folder: Path, upstream: Sequence[str]) -> Iterator[str]:
    """Serve a gateway before a server, by its command; `upstream` are the words of `macaw mcp proxy` for the server."""
    words = [sys.executable, "-m", "macaw.cli", "mcp", "proxy", "--name", NAME, "--as", "suite"]
    words += ["--tenant", here.folder.tenant, "--listen", f"{LOOPBACK}:0", *upstream]
    with governed(here, folder, words) as url:
        yield url


@contextmanager
def of_functions(here: Installation, folder: Path) -> Iterator[str]:
    """Serve the server of functions."""
    with governed(here, folder, [sys.executable, str(FUNCTIONS), here.folder.tenant, NAME, "suite"]) as url:
        yield url


@contextmanager
def governed(here: Installation, folder: Path, words: Sequence[str]) -> Iterator[str]:
    """Start a program that serves MCP behind the log, until the block ends; yield its URL."""
    log = folder / "gateway.log"
    with _process(words, log, MACAW_HOME=str(here.home.path.parent)) as process:

        def served() -> list[str]:
            assert process.poll() is None, log.read_text("utf-8")
            return re.findall(r"is served at (\S+)", log.read_text("utf-8"))

        yield wait_until(served, lambda: f"the gateway has not begun:\n{log.read_text('utf-8')}")[0]


@contextmanager
def _process(words: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            words,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def compare(here: Installation, base: Path) -> Mapping[str, Scenarios]:
    """Return what the suite says of its server: by itself, and behind a gateway that reaches it in each way."""
    allow(here, ALL)
    found: dict[str, Scenarios] = {}
    with server(_made(base / "alone")) as url:
        found["by itself"] = play(url, base / "alone")
        with behind(here, _made(base / "address"), ["--url", url]) as gateway:
            found["behind, by its address"] = play(gateway, base / "address")
    with behind(here, _made(base / "command"), ["--", sys.executable, str(SERVER), "stdio"]) as gateway:
        found["behind, as a command"] = play(gateway, base / "command")
    with of_functions(here, _made(base / "functions")) as gateway:
        found["SecureMCP"] = play(gateway, base / "functions")
    return found


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def worse(alone: Scenarios, gateway: Scenarios) -> list[str]:
    """Return the checks that have a worse status behind the gateway, or none at all."""
    rank = {status: at for at, status in enumerate(JUDGED)}
    return [
        f"{scenario}: {check} is {gateway.get(scenario, {}).get(check, 'not there')}, by itself {status}"
        for scenario, checks in alone.items()
        for check, status in checks.items()
        if rank.get(gateway.get(scenario, {}).get(check, ""), len(JUDGED)) > rank[status]
    ]


def table(found: Mapping[str, Scenarios]) -> str:
    """Return the table of docs/mcp.md: by scenario the checks that pass, of those that judge."""
    names = list(found)
    lines = [f"| scenario | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    alone = found[names[0]]
    lines += [f"| `{one}` | {' | '.join(_counted(found[name].get(one, {})) for name in names)} |" for one in alone]
    sums = [_counted({f"{s} {c}": v for s, checks in found[name].items() for c, v in checks.items()}) for name in names]
    return "\n".join([*lines, f"| **all {len(alone)}** | {' | '.join(f'**{one}**' for one in sums)} |"])


def _counted(checks: Mapping[str, str]) -> str:
    return f"{sum(status == PASSED for status in checks.values())} of {len(checks)}"


def main() -> int:
    """Print the table. Return the exit status."""
    if why := PACKAGES.why_not():
        print(f"the suite cannot run here: {why}")
        return 2
    with tempfile.TemporaryDirectory(prefix="macaw-conformance-") as folder:
        base = Path(folder)
        with (
            EmbeddedBroker(base / "broker") as broker,
            installed(broker.info, base / "home", "conformance", development=True) as here,
        ):
            try:
                found = compare(here, base)
            except NodePackagesError as exc:
                print(exc)
                return 2
    print(table(found))
    alone, *others = found.values()
    lost = [one for other in others for one in worse(alone, other)]
    print("\n".join(lost))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
