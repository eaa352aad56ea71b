"""The process that a coding agent starts for each tool use: it asks the local gate, and answers within a bound.

It imports the standard library alone, because it runs for every tool use, and it trusts nothing that it did not check:
the socket must be this user's own. It runs as a script with `python -I`, so that no folder of a project is on its
path. Without an answer of the gate it denies with `--enforce`, and says so; with `--observe` it lets the agent go on,
and says that nothing was recorded.

Answers are those of the agents' hooks: a denial is an object with `permissionDecision`, and everything else is the
empty object, which leaves the agent's own permissions as they are. An event that is not known is denied with an exit
status, which both agents take for a no in every event that can stop something.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = 1
INPUT_BYTES_MAX = 1024 * 1024
ANSWER_BYTES_MAX = 64 * 1024
RETRY_SECONDS = 0.05
SERVE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from macaw.cli import main; sys.exit(main())"
AGENTS = ("claude-code", "codex")
DENY, ALLOW = "deny", "allow"
BEFORE = "PreToolUse"
DONE = frozenset({"PostToolUse", "PostToolUseFailure"})
# No tool runs in these: an agent that is set to call the hook for them hears nothing of it.
BESIDE = frozenset(
    {
        *("SessionStart", "SessionEnd", "UserPromptSubmit", "Notification", "Stop", "StopFailure"),
        *("SubagentStart", "SubagentStop", "PreCompact", "PostCompact"),
    }
)
STATUS_DENIED = 3  # the command that `install` writes makes 2 of it, the agents' own
REASON_CHARS_MAX = 500


class BrokenGateError(Exception):
    """The gate cannot be asked; the message says why."""


def read_input(stream: BinaryIO) -> bytes:
    """Return the agent's input, read to its end. Raises BrokenGateError for more than INPUT_BYTES_MAX bytes.

    The rest is read and dropped: an agent that cannot write to its hook goes on as if there were none.
    """
    data = stream.read(INPUT_BYTES_MAX + 1)
    if len(data) > INPUT_BYTES_MAX:
        while stream.read(INPUT_BYTES_MAX):
            pass
        raise BrokenGateError(f"the tool use has more than {INPUT_BYTES_MAX} bytes")
    return data


def event_in(data: bytes) -> dict[str, Any]:
    """Return the hook's event. Raises BrokenGateError unless it is one JSON object in which no member stands twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a member stands twice")
        return found

    try:
        event = json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as exc:
        raise BrokenGateError(f"the agent's input is not JSON: {type(exc).__name__}") from None
    if not isinstance(event, dict) or not isinstance(event.get("hook_event_name"), str):
        raise BrokenGateError("the agent's input is not an event of a hook")
    return event


def check_own(path: Path, *, kind: Callable[[int], bool], forbidden: int) -> None:
    """Raise BrokenGateError unless a path is this user's alone, FileNotFoundError if it is not there."""
    found = os.lstat(path)
    if not kind(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & forbidden:
        raise BrokenGateError(f"{path} is not this user's alone: remove it, and look who made it")


def connected(place: Path) -> socket.socket:
    """Return a connection to the gate. Raises BrokenGateError; FileNotFoundError, ConnectionError if no gate serves."""
    check_own(place.parent, kind=stat.S_ISDIR, forbidden=0o077)
    check_own(place, kind=stat.S_ISSOCK, forbidden=0o077)
    os.chdir(place.parent)  # the path of a socket has 107 bytes at most
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(place.name)
        check_peer(made)
    except BaseException:
        made.close()
        raise
    return made


def check_peer(made: socket.socket) -> None:
    """Raise BrokenGateError if the other end is another user's process, where the system tells."""
    if hasattr(socket, "SO_PEERCRED"):
        peer = made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", peer)[1] != os.getuid():
            raise BrokenGateError("the other end of the socket is another user's")


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")[:REASON_CHARS_MAX]


def start_gate(given: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start the gate in a session of its own, and return its process; it ends at once if another one serves."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MACAW_", "PYTHON"))}
    log = os.open(
        given.socket.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        return subprocess.Popen(  # noqa: S603 - this very interpreter, and the arguments of an administrator
            [
                *(sys.executable, "-I", "-c", SERVE, str(ROOT), "hook", "serve"),
                *("--host", given.host, "--tenant", given.tenant, "--socket", str(given.socket)),
            ],
            cwd=given.home,
            env={**kept, "MACAW_HOME": str(given.home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)


def connected_or_started(given: argparse.Namespace, until: float) -> socket.socket:
    """Return a connection to the gate, which is started if none serves. Raises BrokenGateError, OSError."""
    given.socket.parent.mkdir(mode=0o700, exist_ok=True)
    started: subprocess.Popen[bytes] | None = None
    while True:
        try:
            return connected(given.socket)
        except (FileNotFoundError, ConnectionError):
            if time.monotonic() > until:
                raise BrokenGateError(
                    f"the gate did not start; its log is {given.socket.with_suffix('.log')}"
                ) from None
        if started is None:
            started = start_gate(given)
        elif started.poll():
            raise BrokenGateError(f"the gate did not start: {_last_line(given.socket.with_suffix('.log'))}")
        time.sleep(RETRY_SECONDS)


def project_of(agent: str) -> str:
    """Return the project's folder as the agent's own process tells it, "" if it is gone.

    Codex runs hooks in it; the `cwd` of its events is where the model wants a command to run.
    """
    if agent != "codex":
        return os.environ.get("CLAUDE_PROJECT_DIR", "")
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def asked(given: argparse.Namespace, event: dict[str, Any], until: float) -> tuple[str, str]:
    """Return the gate's verdict and its reason. Raises BrokenGateError, OSError."""
    request = {
        "v": PROTOCOL,
        "agent": given.agent,
        "as": given.name,
        "seconds": max(until - time.monotonic() - 1, 0.1),
        "project": project_of(given.agent),
        "event": event,
    }
    with connected_or_started(given, until) as gate:
        gate.settimeout(max(until - time.monotonic(), 0.1))
        gate.sendall(json.dumps(request).encode())
        gate.shutdown(socket.SHUT_WR)
        answer = b""
        while part := gate.recv(ANSWER_BYTES_MAX):
            answer += part
            if len(answer) > ANSWER_BYTES_MAX:
                raise BrokenGateError("the gate's answer is too long")
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        raise BrokenGateError("the gate's answer is not JSON") from None
    verdict, reason = (told.get("verdict"), told.get("reason")) if isinstance(told, dict) else (None, None)
    if verdict not in {DENY, ALLOW} or not isinstance(reason, str):
        raise BrokenGateError("the gate's answer is not a verdict")
    return verdict, reason


class HookAnswer(NamedTuple):
    """The end of the process: the object for the agent, the line for people, the exit status."""

    told: dict[str, Any]
    line: str
    status: int = 0


def answer(event_name: str, verdict: str, reason: str, *, enforce: bool) -> HookAnswer:
    """Return the answer to an event."""
    reason = reason[:REASON_CHARS_MAX]
    if verdict == ALLOW:
        return HookAnswer({}, reason)
    if event_name in DONE:  # it has run: nothing can be denied any more
        return HookAnswer({"systemMessage": f"macaw: {reason}"}, reason)
    if not enforce:
        return HookAnswer({"systemMessage": f"macaw observes: {reason}"}, f"observed, and not enforced: {reason}")
    if event_name != BEFORE:  # nobody knows in which words it is denied: the status does it
        return HookAnswer({}, reason, STATUS_DENIED)
    denied = {"hookEventName": BEFORE, "permissionDecision": DENY, "permissionDecisionReason": f"macaw: {reason}"}
    return HookAnswer({"hookSpecificOutput": denied}, reason)


def write(said: HookAnswer, *, enforce: bool) -> NoReturn:
    """Write the answer, and end the process; with STATUS_DENIED if it could not be written whole and that denies."""
    # A second answer behind the first would be no JSON, which agents take for an answer that denies nothing.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(STATUS_DENIED if enforce else 0))
    try:
        if said.line:
            shown = "".join(one if one.isprintable() else "?" for one in said.line)
            sys.stderr.write(f"macaw: {shown}\n")
            sys.stderr.flush()
        if said.status == 0:
            sys.stdout.write(json.dumps(said.told) + "\n")
            sys.stdout.flush()
    except OSError:
        os._exit(STATUS_DENIED if enforce else 0)
    os._exit(said.status)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments as `macaw hook install` writes them."""
    parser = argparse.ArgumentParser(prog="macaw hook run", allow_abbrev=False)
    parser.add_argument("agent", choices=AGENTS)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--observe", action="store_false", dest="enforce")
    mode.add_argument("--enforce", action="store_true", dest="enforce")
    for name in ("home", "socket"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("tenant", "host"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--as", dest="name", required=True)
    parser.add_argument("--seconds", type=float, default=25.0)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """HookAnswer one event of a hook on stdin. The exit status is 0, or STATUS_DENIED where it has to say no."""
    given = parsed(argv)
    event_name = BEFORE  # until it is known: a denial must be one of a tool use

    def end(why: object) -> NoReturn:
        write(answer(event_name, DENY, f"the gate is broken: {why}", enforce=given.enforce), enforce=given.enforce)

    def late(*_: object) -> None:
        end(f"no answer within {given.seconds:g} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, given.seconds)
    until = time.monotonic() + given.seconds - 0.5
    try:
        event = event_in(read_input(sys.stdin.buffer))
        event_name = event["hook_event_name"]
        if event_name in BESIDE:
            write(HookAnswer({}, ""), enforce=given.enforce)
        verdict, reason = asked(given, event, until)
    except (BrokenGateError, OSError) as exc:
        end(exc)
    except BaseException as exc:  # noqa: BLE001 - every fault of this process is a broken gate, and answered as one
        end(type(exc).__name__)
    write(answer(event_name, verdict, reason, enforce=given.enforce), enforce=given.enforce)


if __name__ == "__main__":
    main()
