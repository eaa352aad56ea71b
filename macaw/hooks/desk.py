"""The gate's side of hooks: it holds the sessions, asks the log for each tool use, and notes the outcomes.

One principal, the host, offers the operations; each coding agent calls them with a session of its own. The host
executes nothing: the outcome of such a call says that the agent was let through. The deed itself is the
agent's word: an event of the application, with the digest of the outcome.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.refusals import PermissionDeniedError
from macaw.hooks.faults import UnreadableUseError
from macaw.hooks.uses import SCHEMAS, uses_of
from processors.proof import jcs
from producers.agent.agent import Agent
from producers.client import Client
from producers.home.clock import clock_ms
from producers.home.home import Home, TenantHome
from schemas.errors import MacawError
from schemas.words import NotedOutcome

log = logging.getLogger(__name__)

REMEMBERED_MAX = 4096  # tool uses whose outcome is still to come
AGENTS_MAX = 16  # principals that speak through one gate
NEAR_END_MS = 600_000  # a session that ends sooner is replaced
PERMIT_SECONDS = 120.0
EVENT_TYPE = "coding_agent.tool_used"
BEFORE, AFTER, AFTER_FAILURE = "PreToolUse", "PostToolUse", "PostToolUseFailure"
TEXT_CHARS_MAX = 128


class HookVerdict(NamedTuple):
    """An answer for a hook: `allowed`, and a line for people; empty where there is nothing to say."""

    allowed: bool
    reason: str


class _Sessions:
    """The open sessions of one gate: the host's, and one of each coding agent."""

    def __init__(self, home: Home, folder: TenantHome, host: str) -> None:
        self._home, self._folder = home, folder
        label = f"coding agents on {socket.gethostname()}"[:TEXT_CHARS_MAX]
        self.agent = Agent.connect(folder.tenant, host, home=home, label=label.replace("@", "-"))
        self.gate = Gate(self.agent, operation_seconds=PERMIT_SECONDS)
        self._clients: dict[str, Client] = {}
        self._opening = threading.Lock()
        self._is_closed = False

    @property
    def is_usable(self) -> bool:
        """Whether the host's session still serves, and will for a while."""
        ends_at = self.agent.client.expires_at
        return not self._is_closed and not self.agent.deaf and (ends_at is None or ends_at - clock_ms() > NEAR_END_MS)

    def client(self, name: str) -> Client:
        """Return the client of a coding agent. Raises UnreadableUseError for too many, and as `Client.connect`."""
        with self._opening:
            found = self._clients.get(name)
            if found is None:
                if len(self._clients) >= AGENTS_MAX:
                    raise UnreadableUseError(f"{AGENTS_MAX} agents speak through this gate already")
                found = self._clients[name] = Client.connect(self._folder.tenant, name, home=self._home)
            return found

    def close(self) -> None:
        """End all sessions, once."""
        if self._is_closed:
            return
        self._is_closed = True
        for one in self._clients.values():
            one.close()
        self.agent.close()


class Desk:
    """Answers the requests of hooks. Thread-safe."""

    def __init__(self, home: Home, folder: TenantHome, host: str) -> None:
        """Open the host's session. Raises as `Agent.connect`."""
        self._open: Callable[[], _Sessions] = partial(_Sessions, home, folder, host)
        self._sessions = self._open()
        self._changing = threading.Lock()
        self._asked: OrderedDict[tuple[str, ...], list[tuple[str, str]]] = OrderedDict()

    def close(self) -> None:
        """End the sessions."""
        self._sessions.close()

    def answer(self, request: Mapping[str, Any]) -> HookVerdict:
        """Return the verdict on a request of a hook. A fault denies a tool use; the message says why."""
        try:
            event, name = request["event"], request["as"]
            if not isinstance(event, dict) or not isinstance(name, str):
                raise UnreadableUseError("the request of the hook has another shape")
            kind = event.get("hook_event_name")
            if kind == BEFORE:
                return self._before(request, event, name)
            if kind in {AFTER, AFTER_FAILURE}:
                return self._after(request, event, name, failed=kind == AFTER_FAILURE)
            raise UnreadableUseError("the hook's event is not known here, and may let something run")
        except (MacawError, KeyError, TypeError, ValueError) as exc:
            why = str(exc) if isinstance(exc, MacawError) else f"the request has another shape ({type(exc).__name__})"
            log.warning("a tool use could not be decided: %s", why)  # the text of others may hold what the agent wrote
            return HookVerdict(False, why)

    def _before(self, request: Mapping[str, Any], event: dict[str, Any], name: str) -> HookVerdict:
        until = time.monotonic() + float(request["seconds"])
        uses = uses_of(request["agent"], event, request["project"])
        sessions = self._usable()
        client = sessions.client(name)
        calls: list[tuple[str, str]] = []
        for use in uses:
            left = max(until - time.monotonic(), 0.1) / 2
            try:
                if use.resource in SCHEMAS:
                    sessions.gate.offer(use.resource, input_schema=SCHEMAS[use.resource])
                permitted = sessions.gate.permit(
                    use.resource, use.parameters, patience=GatePatience(left, left), caller=client
                )
            except PermissionDeniedError as exc:
                self._drop_if_broken(sessions, exc)
                _note_not_run(client, request, event, calls)
                return HookVerdict(False, f"{use.resource} was refused ({exc.reason}){_named(exc.event_id)}")
            calls.append((use.resource, permitted))
        with self._changing:
            self._asked[_id_of(event, name)] = calls
            while len(self._asked) > REMEMBERED_MAX:
                self._asked.popitem(last=False)
        return HookVerdict(True, "")

    def _after(self, request: Mapping[str, Any], event: dict[str, Any], name: str, *, failed: bool) -> HookVerdict:
        with self._changing:
            calls = self._asked.pop(_id_of(event, name), [])
        told = _told(event.get("tool_response", event.get("error")))
        more = {**_use_of(request, event), "bytes": len(told), "sha256": sha256(told).hexdigest()}
        outcome = NotedOutcome.FAILURE if failed else NotedOutcome.SUCCESS
        client = self._usable().client(name)
        for resource, call in calls or [("", "")]:
            client.log_event(EVENT_TYPE, action=resource, target=call, outcome=outcome, metadata=more)
        return HookVerdict(True, "")

    def _usable(self) -> _Sessions:
        """Return open sessions, opened anew where the former ones are over. Raises as `Agent.connect`."""
        with self._changing:
            if not self._sessions.is_usable:
                self._sessions.close()
                self._sessions = self._open()
            return self._sessions

    def _drop_if_broken(self, sessions: _Sessions, exc: PermissionDeniedError) -> None:
        """Let the next request open sessions anew if the log has ended these, or does not know them."""
        if exc.reason.startswith("SESSION_") or exc.reason in {"KEY_UNKNOWN", "KEY_REVOKED"}:
            with self._changing:
                if self._sessions is sessions:
                    sessions.close()
                    self._sessions = self._open()


def _note_not_run(
    client: Client, request: Mapping[str, Any], event: Mapping[str, Any], calls: list[tuple[str, str]]
) -> None:
    """Note that the allowed parts of a tool use did not run, because another part of it was denied.

    Their calls say on the log that the agent was let through. Without the note the denial stands all the same.
    """
    try:
        for resource, call in calls:
            more = {**_use_of(request, event), "why": "another part of the tool use was denied"}
            client.log_event(EVENT_TYPE, action=resource, target=call, outcome=NotedOutcome.FAILURE, metadata=more)
    except MacawError as exc:
        log.warning("that an allowed part of a tool use did not run could not be noted: %s", exc)


def _use_of(request: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "agent": str(request["agent"])[:TEXT_CHARS_MAX],
        "agent_session": _text(event, "session_id"),
        "tool_use": _text(event, "tool_use_id"),
    }


def _told(response: Any) -> bytes:
    """Return what a tool has told, for its digest. Even what has no canonical form leaves an outcome on the log."""
    try:
        return jcs.canonical({"told": response})
    except ValueError:
        return json.dumps({"told": response}, sort_keys=True).encode()


def _named(event_id: str) -> str:
    return f", event {event_id}" if event_id else ""


def _id_of(event: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the name of a tool use; an agent within an agent has the session of the outer one."""
    return name, *(_text(event, part) for part in ("session_id", "agent_id", "tool_use_id"))


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else ""
