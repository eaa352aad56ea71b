"""The gateway itself: it offers a server's tools on the log, and each request of a client is a governed call.

    client ── request ──► front ── signed call of its user ──► log decides ──► gateway's tool session ──► server
       ▲                                                                              │
       └────────────────────────── signed result ◄────────────────────────────────────┘

The gateway is two parties on the log. It signs each call with the session of the client's user, and it executes
allowed calls as a program of its own, which signs the results with another key. A call that comes to the program by
another way than this gateway's front is executed too, as the log has allowed it; but the server cannot ask its client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    LoggingMessageNotification,
    PromptListChangedNotification,
    ResourceListChangedNotification,
    ResourceUpdatedNotification,
    ToolListChangedNotification,
)

from macaw.gateway import names
from macaw.gateway.callers import Caller
from macaw.gateway.declared import TOOL_SECONDS, operations_of
from macaw.gateway.definitions import INSTRUCTIONS, Held, Sorted, instructions_as_definition, sorted_out
from macaw.gateway.ends import OVER
from macaw.gateway.exchanged import ExchangedTokens
from macaw.gateway.fail_open import LogAwayError, digest_of
from macaw.gateway.gaps import Gaps
from macaw.gateway.outcomes import failure_of, failure_of_error, without_decision
from macaw.gateway.pins import Pins
from macaw.gateway.relays import Relay, RelayDesk
from macaw.gateway.server_link import ServerLink, ServerLinks
from macaw.gateway.upstream import UpstreamLostError, said
from producers.agent.lasting import LastingAgent
from producers.agent.offering import Operation
from producers.agent.running import running_call
from producers.home.clock import clock_ms
from producers.kafka.outcomes import CallError, DeniedError
from schemas.errors import MacawError
from schemas.words import Role

log = logging.getLogger(__name__)

RELAY_SECONDS = 10.0  # for the relay of an own client's call to be there
CALL_SECONDS = 630.0  # a tool may ask a model, or a person
APPROVED_SECONDS = 2.0  # between two looks for approvals of held tools
REFRESH_SECONDS_MIN, REFRESH_SECONDS_MAX = 0.5, 60.0  # between two readings of the server's tools
NOTED_MAX = 64  # held tools that one event names
NOTIFYING_MAX = 256  # notifications of the server that are passed on at once
Listener = Callable[[Any], Awaitable[None]]
_PASSED_ON = (PromptListChangedNotification, ResourceListChangedNotification, ResourceUpdatedNotification)


class Gateway:
    """One MCP server behind the log. Everything but `_execute` runs in the event loop in which it was opened."""

    def __init__(
        self,
        server: str,
        agent: LastingAgent,
        pins: Pins | None,
        upstreams: ServerLinks,
        exchanged: ExchangedTokens | None = None,
        gaps: Gaps | None = None,
    ) -> None:
        """Serve `server` by the program `agent`; `upstreams` are the connections to it, which are not made yet.

        Without pins its definitions are trusted: they are this program's own.
        """
        self.exchanged, self.gaps = exchanged, gaps
        self.server, self._agent, self._pins = server, agent, pins
        self.desk = RelayDesk()
        self._upstreams = upstreams
        self.upstream = upstreams.open(None, ask_back=self._ask_back, notify=self._on_notification)
        self._loop = asyncio.get_running_loop()
        self._own: Counter[bytes] = Counter()  # calls of this gateway's clients that are under way, by session
        self.sorted = Sorted({}, ())
        self.capabilities: dict[str, Any] = {}
        self._said: str | None = None  # the server's instructions, as they came
        self.instructions: str | None = None  # as clients get them
        self.listeners: set[Listener] = set()  # one for each client that is there
        self._refreshing = asyncio.Lock()
        self._wanted, self._hurry = asyncio.Event(), asyncio.Event()  # that the tools are read anew; at once
        self._noted: tuple[Held, ...] = ()  # of which the log knows
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- what the server offers

    async def open(self) -> None:
        """Connect, read the lists of the server, and offer its tools. Raises UpstreamLostError, MacawError."""
        self.capabilities, self._said = await self.upstream.introduced()
        await self.refresh()
        if self._pins is not None:
            self._spawn(self._watch_approvals())
        self._spawn(self._keep_fresh())
        if self.gaps is not None:
            self.gaps.resources = lambda: names.undecidable(self.server, self.sorted.served)
            self._spawn(self.gaps.watch())

    async def refresh(self) -> bool:
        """Read the tools of the server anew and offer them; return True if another set is served than before."""
        async with self._refreshing:
            listed = await self.upstream.listed("tools/list", "tools") if "tools" in self.capabilities else []
            found = await asyncio.to_thread(self._sorted, listed)
            is_changed = found.served != self.sorted.served
            is_first = not self.sorted.served and not self.sorted.held
            # What is held back from now on is served no more; what is new, or approved, is served once it is offered.
            kept = {name: one for name, one in self.sorted.served.items() if found.served.get(name) == one}
            waiting = (one for one in self.sorted.held if one.name in found.served and one.name not in kept)
            self.sorted = Sorted(kept, (*found.held, *waiting))
            if found.held != self._noted:
                await asyncio.to_thread(self._note_held, found)
            if is_changed or is_first:
                await asyncio.to_thread(self._agent.offer, self._operations(found))
            self.sorted = found
            return is_changed

    def _sorted(self, listed: list[dict[str, Any]]) -> Sorted:
        if self._pins is None:
            self.instructions = self._said
            return sorted_out(self.server, listed, lambda _: None)
        pins = self._pins = Pins.read(self._pins.tenant, self.server)
        found = sorted_out(self.server, listed, lambda one: pins.hold(one, self._admin_key))
        told = instructions_as_definition(self._said or "")
        why = pins.hold(told, self._admin_key) if self._said else None
        if why is not None:
            found = Sorted(found.served, (*found.held, Held(INSTRUCTIONS, why, told.sha256)))
        self.instructions = self._said if why is None else None
        if pins.first is None:
            pins.pin((*found.served.values(), *([told] if why is None else [])), found.held)
        pins.write_held(found.held, {told.name: told.listed} | {str(one.get("name")): one for one in listed})
        return found

    def _admin_key(self, kid: bytes) -> bytes | None:
        row = self._agent.client.connection.registry.live_key(kid, Role.ADMIN)
        return None if row is None else row.ed25519

    def _note_held(self, found: Sorted) -> None:
        """Write down on the log which tools are held back."""
        for one in found.held[:NOTED_MAX]:
            log.warning("the tool %.128r of %s is held back: %s %.200s", one.name, self.server, one.why, one.detail)
        metadata = {
            "server": self.server,
            "held": [one.told() for one in found.held[:NOTED_MAX]],
            "count": len(found.held),
        }
        try:
            self._agent.client.log_event(
                "mcp.tools_held", action="held", target=self.server, signed=True, category="mcp", metadata=metadata
            )
        except (MacawError, ValueError) as exc:  # they are held back all the same
            log.warning("that tools are held back could not be written to the log: %s", exc)
        else:
            self._noted = found.held

    def _operations(self, found: Sorted) -> dict[str, Operation]:
        return operations_of(self.server, found.served.values(), self.capabilities, self._handler)

    async def _keep_fresh(self) -> None:
        """Read the tools anew when the server says that they have changed, and until that has succeeded.

        A server that says so without end is asked ever less often, and so is one that cannot be asked.
        """
        pause = REFRESH_SECONDS_MIN
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._hurry.clear()
            try:
                if await self.refresh():
                    await self._tell(ToolListChangedNotification())
            except Exception as exc:  # noqa: BLE001 - whatever the server says: what is held stays so, and it goes on
                log.warning("the tools of %s could not be read anew: %s", self.server, said(exc))
                self._wanted.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause)
            pause = min(2 * pause, REFRESH_SECONDS_MAX) if self._wanted.is_set() else REFRESH_SECONDS_MIN

    async def _watch_approvals(self) -> None:
        """Serve a held tool soon after it was approved, and no longer than the key is live that has approved it."""
        seen = await asyncio.to_thread(self._approved)
        while True:
            await asyncio.sleep(APPROVED_SECONDS)
            try:
                approved = await asyncio.to_thread(self._approved)
            except MacawError as exc:
                log.warning("whether approvals for %s still count is not known: %s", self.server, exc)
                continue
            if approved != seen:
                seen = approved
                self._wanted.set()
                self._hurry.set()

    def _approved(self) -> tuple[int, frozenset[bytes]]:
        """Return the stamp of the file, and the keys of its approvals that are live. Raises RegistryError."""
        pins = self._pins
        assert pins is not None, "without pins nothing is approved"
        kids = {one.kid for one in pins.approvals.values()}
        return pins.stamp, frozenset(kid for kid in kids if self._admin_key(kid) is not None)

    # --- executing allowed calls, in threads of the agent

    def _handler(self, method: str, tool: str | None) -> Callable[[dict[str, Any]], Any]:
        def handle(parameters: dict[str, Any]) -> Any:
            return self._execute(method, tool, parameters)

        return handle

    def _execute(self, method: str, tool: str | None, parameters: dict[str, Any]) -> Any:
        """Execute an allowed call: at the server, or where the server asks back, at the client."""
        call = running_call()
        assert call is not None
        relay = self.desk.take(call.event, RELAY_SECONDS) if self._own[call.source] else None
        if method in names.ASKED_BACK:
            execution = self._in_loop(self._ask_client(method, parameters, relay))
        else:
            upstream = self._upstream_of(call.principal_id, call.source)
            execution = self.desk.begin(
                call.event,
                relay,
                upstream,
                lambda: self._in_loop(self._ask_server(upstream, method, tool, parameters, relay)),
            )
        try:
            result = execution.result(TOOL_SECONDS - 5)
        except MCPError as exc:
            raise failure_of_error(exc) from exc
        except (CancelledError, TimeoutError):
            execution.cancel()
            raise UpstreamLostError("the call was cancelled; whether the server has acted is not known") from None
        finally:
            self.desk.end(call.event)
        result = without_decision(result)
        if isinstance(result, dict) and result.get("isError"):
            raise failure_of(result)
        return result

    def _upstream_of(self, principal_id: str, session_id: bytes) -> ServerLink:
        """Return the connection for a call, in a thread. Raises CredentialError, ExchangeError."""
        self._in_loop(self._upstreams.ready(session_id)).result()
        return self._upstreams.of(principal_id, session_id, ask_back=self._ask_back, notify=self._on_notification)

    def _in_loop(self, doing: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(doing, self._loop)

    async def _ask_server(
        self, upstream: ServerLink, method: str, tool: str | None, parameters: Mapping[str, Any], relay: Relay | None
    ) -> dict[str, Any]:
        if tool is not None and tool not in self.sorted.served:
            raise MCPError(-32602, "the tool is held back")
        params = names.params_of(parameters, tool=tool)
        return await upstream.request(method, params, None if relay is None else relay.progress)

    async def _ask_client(self, method: str, parameters: Mapping[str, Any], relay: Relay | None) -> Any:
        if relay is None:
            raise MCPError(-32600, "this call has no client that could be asked")
        return await relay.ask(method, names.params_of(parameters))

    # --- governed calls of clients

    async def governed(self, caller: Caller, resource: str, parameters: Mapping[str, Any], relay: Relay) -> Any:
        """Ask for an operation in the name of a caller and return its result.

        A task that is cancelled leaves the call, and the server is told to stop.

        Raises:
            MCPError: the gateway itself serves no more.
            CallError: the call was denied, failed, or its end is not known.
            ConnectError, PublishError, RegistryError: the log cannot be reached; nothing was executed.
        """
        if self.gaps is not None and self.gaps.is_away:
            return await self._undecided(self.gaps, caller, resource, parameters, relay)
        self._check_serves()
        session_id, asked_at = caller.session_id, time.monotonic()
        self._own[session_id] += 1
        try:
            result = await self._governed(caller, resource, parameters, relay)
        except CallError as exc:
            if exc.reason in OVER:
                caller.lose()
            if self.gaps is not None and isinstance(exc, DeniedError):
                digest, now = digest_of(parameters), time.monotonic()
                self.gaps.rule.hear_denied(session_id, caller.principal_id, resource, digest, now)
            raise
        else:
            if self.gaps is not None and caller.session_id == session_id:
                self.gaps.hear(caller, [resource], [resource], asked_at)
            return result
        finally:
            self._own[session_id] -= 1
            if not self._own[session_id]:
                del self._own[session_id]

    async def _undecided(
        self, gaps: Gaps, caller: Caller, resource: str, parameters: Mapping[str, Any], relay: Relay
    ) -> Any:
        """Execute a call without a decision, while no broker answers. Raises LogAwayError, and as `_ask_server`."""
        if resource not in gaps.resources():
            raise LogAwayError("the log is away, and this is never executed without its decision")
        kind, _, name = resource.partition(f":{self.server}/")
        method, tool = (names.CALL_TOOL, name) if kind == "tool" else (name, None)

        async def ask(number: int) -> dict[str, Any]:
            upstream = await asyncio.to_thread(self._upstream_of, caller.principal_id, caller.session_id)
            leaf = b"gap %d" % number
            self.desk.begin(leaf, None, upstream, Future)  # a question of the server finds nobody to ask
            try:
                return await self._ask_server(upstream, method, tool, parameters, relay)
            finally:
                self.desk.end(leaf)

        return await gaps.run(caller, resource, digest_of(parameters), ask)

    def _check_serves(self) -> None:
        """Raise MCPError where calls would wait in vain: the program's own session serves no more."""
        ends_at = self._agent.client.expires_at
        if self._agent.deaf or (ends_at is not None and ends_at <= clock_ms()):
            why = self._agent.deaf or "its session has ended"
            log.error("the gateway before %s serves no more: %s; start it again", self.server, why)
            raise MCPError(INTERNAL_ERROR, "the gateway serves no more and must be started again; nothing was executed")

    async def _governed(self, caller: Caller, resource: str, parameters: Mapping[str, Any], relay: Relay) -> Any:
        # This gateway and no other executes it: its own relay leads back to the client.
        target, client = self._agent.session_id, caller.client
        call = await client.begin(resource, parameters, target=target, seconds=CALL_SECONDS)
        sent = call.sent
        drafted, answered = asyncio.wrap_future(sent.drafted), asyncio.wrap_future(sent.answer)
        both: set[asyncio.Future[Any]] = {drafted, answered}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            self.desk.put(sent.event, relay)
            return await client.finish(call, seconds=CALL_SECONDS)
        except asyncio.CancelledError:
            call.leave()
            sent.drafted.add_done_callback(lambda _: self.desk.leave(sent.event, cancel=True))
            raise
        finally:
            self.desk.leave(sent.event, cancel=False)

    async def unsubscribe(self, caller: Caller, uri: str) -> None:
        """End a subscription at the server. Raises CredentialError, ExchangeError, and as `Upstream.request`."""
        upstream = await asyncio.to_thread(self._upstream_of, caller.principal_id, caller.session_id)
        await upstream.request("resources/unsubscribe", {"uri": uri})

    async def _ask_back(self, upstream: ServerLink, method: str, params: Mapping[str, Any]) -> Any:
        """Answer a question of the server by asking the client of the call that it executes. Raises MCPError."""
        return await self.desk.whose(upstream).asked_back(method, params)

    # --- notifications of the server

    async def _on_notification(self, upstream: ServerLink, message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._wanted.set()
        elif len(self._tasks) > NOTIFYING_MAX:
            return  # clients do not read as fast as the server talks: they miss some of it
        elif isinstance(message, LoggingMessageNotification):
            self._spawn(self._log(upstream, message))
        elif isinstance(message, _PASSED_ON):
            self._spawn(self._tell(message))

    async def _log(self, upstream: ServerLink, message: Any) -> None:
        """Pass a line of the server's log on to the client of the call that it executes, if that is clear."""
        with suppress(MCPError):
            await self.desk.whose(upstream).log(message.params)

    async def _tell(self, message: Any) -> None:
        for one in list(self.listeners):
            await one(message)

    def _spawn(self, doing: Any) -> None:
        task = asyncio.ensure_future(doing)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("a task of the gateway before %s has ended: %s", self.server, said(exc))

    async def close(self) -> None:
        """End the connection to the server, and the program's session."""
        for task in list(self._tasks):
            task.cancel()
        await self._upstreams.close()
        await asyncio.to_thread(self._agent.close)
        if self.gaps is not None:
            self.gaps.close()
