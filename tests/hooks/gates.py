"""Gates to ask: real ones, and stand-ins that break in every way that a socket can."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from macaw.hooks import thin
from macaw.hooks.settings_files import HookEntry
from tests.waiting import PATIENCE_SECONDS


@dataclass
class Answered:
    status: int
    out: Any
    err: str

    @property
    def denial(self) -> str | None:
        """The reason of a denial, in the agents' own form; None if the tool use may go on."""
        told = self.out.get("hookSpecificOutput", {})
        if told.get("permissionDecision") != "deny":
            return None
        assert told["hookEventName"] == "PreToolUse"
        assert told["permissionDecisionReason"].strip()
        return str(told["permissionDecisionReason"])


def run_hook(entry: HookEntry, event: Any, *, cwd: Path | None = None, env: dict[str, str] | None = None) -> Answered:
    """Run the very command that `install` writes, as the agents do."""
    given = event if isinstance(event, bytes) else json.dumps(event).encode()
    ran = subprocess.run(
        ["/bin/sh", "-c", entry.command()],
        input=given,
        capture_output=True,
        check=False,
        cwd=cwd,
        env=env,
        timeout=PATIENCE_SECONDS,
    )
    return Answered(ran.returncode, json.loads(ran.stdout) if ran.stdout else None, ran.stderr.decode())


def entry_of(socket_path: Path, *, enforce: bool = True, seconds: int = 2, agent: str = "claude-code") -> HookEntry:
    return HookEntry(agent, enforce, "coder", "coding-host", "acme", socket_path.parent.parent, socket_path, seconds)


@contextmanager
def stand_in(place: Path, answer: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """Listen at `place` and answer each request; without an answer (None) the connection stays open and silent."""
    place.parent.mkdir(mode=0o700, exist_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(place))
    place.chmod(0o600)
    made.listen()
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                one, _ = made.accept()
            except OSError:
                return
            held.append(one)
            request = b""
            while part := one.recv(65536):
                request += part
            told = answer(request)
            if told is not None:
                one.sendall(told)
                one.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        made.shutdown(socket.SHUT_RDWR)
        made.close()
        for one in held:
            one.close()


def says(verdict: str, reason: str = "") -> Callable[[bytes], bytes]:
    return lambda _: json.dumps({"v": thin.PROTOCOL, "verdict": verdict, "reason": reason}).encode()


def shell_words(command: str) -> list[str]:
    return shlex.split(command)


PYTHON = sys.executable
