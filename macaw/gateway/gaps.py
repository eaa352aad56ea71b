"""A gateway while no broker answers: calls that may run without a decision, and the record of them for the log.

The brokers count as away after two looks in vain. From then on the gateway sends no call to the log: one that waited
there would be decided later, and executed a second time.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from mcp.shared.exceptions import MCPError

from macaw.gateway.callers import Caller
from macaw.gateway.declared import TOOL_SECONDS
from macaw.gateway.fail_open import FailOpen, LogAwayError, OpenRule, decoy_of, right_to
from macaw.gateway.gap_journal import GapJournal, GapPart, JournalError
from macaw.gateway.outcomes import marked_undecided, without_decision
from macaw.gateway.upstream import UpstreamLostError
from producers.agent.lasting import LastingAgent
from producers.home.clock import clock_ms
from producers.home.home import Home
from producers.kafka.outcomes import RefusedError
from schemas.errors import MacawError

log = logging.getLogger(__name__)

GAP_EVENT: Final = "mcp.gap"
LOOK_SECONDS: Final = 2.0  # between two looks at the brokers
ANSWER_SECONDS: Final = 3.0  # of a broker
AWAY_LOOKS: Final = 2  # in vain
HEAR_SECONDS: Final = 30.0  # between two questions to the log, what may run
SESSIONS_ASKED_MAX: Final = 256  # in one round


class BrokerLook:
    """Whether any broker answers, over a connection of its own."""

    def __init__(self, home: Home) -> None:
        settings: dict[str, Any] = {
            **home.security,
            "bootstrap.servers": home.bootstrap,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
        self._admin = AdminClient(settings)

    def __call__(self) -> bool:
        """Ask the brokers. Blocks for ANSWER_SECONDS at most."""
        try:
            self._admin.list_topics(timeout=ANSWER_SECONDS)
        except KafkaException:
            return False
        return True


class Gaps:
    """The calls of one server without a decision. All but the looks and the reports runs in the event loop."""

    def __init__(
        self, server: str, agent: LastingAgent, journal: GapJournal, settings: FailOpen | None, look: Callable[[], bool]
    ) -> None:
        """With `settings` of None no call runs without a decision; a gap of an earlier process is told all the same."""
        self._server, self._agent, self._journal, self._look = server, agent, journal, look
        self._is_on = settings is not None
        self.rule = OpenRule(settings or FailOpen(calls=0))
        self.resources: Callable[[], Collection[str]] = tuple  # that the server has now
        self._callers: weakref.WeakValueDictionary[bytes, Caller] = weakref.WeakValueDictionary()
        self._vain = 0
        self._heard_at = float("-inf")

    @property
    def is_away(self) -> bool:
        """Whether the brokers are away, and calls are not sent to the log."""
        return self._is_on and self.rule.away_since is not None

    def hear(self, caller: Caller, asked: Collection[str], allowed: Collection[str], asked_at: float) -> None:
        """Take in the resources that the log lets a caller call; `asked_at` is by time.monotonic."""
        if self._is_on:
            self._callers[caller.session_id] = caller
            self.rule.hear_caller(caller.session_id, asked, allowed, asked_at)

    async def run(
        self, caller: Caller, resource: str, digest: str, ask: Callable[[int], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        """Return the result of a call that may run without a decision; `ask` executes it.

        Raises:
            LogAwayError: it may not, and nothing was executed.
            UpstreamLostError: the server gave no answer in time.
            MCPError, CredentialError, ExchangeError: as `ask`.
        """
        number = await self._begin(caller, resource, digest)
        how = "not known"
        try:
            async with asyncio.timeout(TOOL_SECONDS - 5):
                result = without_decision(await ask(number))
            how = "an error of the server" if result.get("isError") else "a result"
        except MCPError:
            how = "an error of the server"
            raise
        except TimeoutError:
            raise UpstreamLostError("the server gave no answer in time; whether it has acted is not known") from None
        finally:
            await asyncio.shield(self._end(number, how))
        return marked_undecided(result, number)

    async def _begin(self, caller: Caller, resource: str, digest: str) -> int:
        """Return the number of a call that may begin now: its line is on the disk. Raises LogAwayError."""
        why = "the caller's session has ended"
        if caller.seconds_left != 0:
            session_id, now = caller.session_id, time.monotonic()
            why = self.rule.why_closed(session_id, caller.principal_id, resource, digest, now)
        if why:
            raise LogAwayError(f"the log is away, and {why}; nothing was executed")
        line = {
            "kind": "begun",
            "at": clock_ms(),
            "resource": resource,
            "principal": caller.principal_id,
            "session": caller.session_id.hex(),
            "parameters": digest,
        }
        try:
            number = await asyncio.to_thread(self._journal.write, line)
        except JournalError as exc:
            log.error("no call runs without a decision: %s", exc)  # noqa: TRY400 - expected, said in full
            raise LogAwayError("the log is away, and the journal takes no call; nothing was executed") from exc
        log.warning("call %d of %s runs without a decision, for %s", number, resource, caller.principal_id)
        return number

    async def _end(self, number: int, how: str) -> None:
        """Write down how a call has ended."""
        line = {"kind": "done", "at": clock_ms(), "call": number, "outcome": how}
        try:
            await asyncio.to_thread(lambda: self._journal.write(line, room_for=1))
        except JournalError as exc:  # that it has begun is on the disk
            log.error("how call %d has ended is not written down: %s", number, exc)  # noqa: TRY400

    # --- looking, hearing, telling

    async def watch(self) -> None:
        """Look at the brokers until cancelled; while they answer, ask for resources that may run, and tell of gaps."""
        while True:
            if await asyncio.to_thread(self._look):
                self._vain = 0
                if self.rule.away_since is not None:
                    log.warning("the brokers answer again: calls to %s are decided", self._server)
                    self.rule.regain()
                await self._while_there()
            else:
                self._vain += 1
                if self._vain == AWAY_LOOKS and self._is_on:
                    log.error("no broker answers: calls to %s that may run without a decision do so", self._server)
                    self.rule.lose(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)

    async def _while_there(self) -> None:
        try:
            if self._journal.untold:
                await asyncio.to_thread(self._tell)
            if self._is_on and time.monotonic() - self._heard_at > HEAR_SECONDS:
                self._heard_at = time.monotonic()
                await self._ask()
        except (MacawError, OSError) as exc:
            log.warning("the log was not asked or told about calls without a decision to %s: %s", self._server, exc)

    async def _ask(self) -> None:
        """Ask which resources may run without a decision, and which of them each session may call still."""
        asked, asked_at = list(self.resources()), time.monotonic()
        questions = [name for one in asked for name in (right_to(one), decoy_of(one))]
        self.rule.hear_open(asked, await asyncio.to_thread(self._agent.client.callable, questions), asked_at)
        for session_id, resources in list(self.rule.heard().items())[-SESSIONS_ASKED_MAX:]:
            caller = self._callers.get(session_id)
            if caller is None or caller.session_id != session_id:
                self.rule.forget(session_id, time.monotonic())
                continue
            asked_at = time.monotonic()
            try:
                told = await asyncio.to_thread(caller.client.client.callable, resources)
            except RefusedError:
                self.rule.forget(session_id, time.monotonic())
            else:
                self.rule.hear_caller(session_id, resources, told, asked_at)

    def _tell(self) -> None:
        """Tell the log of every call that it does not know. Raises MacawError, OSError."""
        while (part := self._journal.next_part()) is not None:
            self._agent.client.log_event(
                GAP_EVENT,
                action="ran without a decision",
                target=self._server,
                signed=True,
                category="mcp",
                metadata=metadata_of(self._server, part),
            )
            self._journal.note_told(part)
            log.warning("the log has lines %d to %d of the gap of %s", part.first, part.last, self._server)

    def close(self) -> None:
        """Close the journal; the next process tells the rest of it."""
        self._journal.close()


def metadata_of(server: str, part: GapPart) -> dict[str, object]:
    """Return the content of the record of a gap."""
    return {
        "server": server,
        "first": part.first,
        "last": part.last,
        "before": part.before,
        "head": part.head,
        "lines": [dict(one) for one in part.lines],
    }
