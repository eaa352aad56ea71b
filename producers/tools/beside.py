"""Texts beside the calls of a host: bodies are fetched before a call is executed, large results sent after it.

A body that has not come is looked for again, until its call may not begin any more. That holds no thread and no memory,
and no other call: first looks go before further ones, and calls without bodies do not come here.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from processors.calls.bodies import TakesBodies, placed_bodies, with_leaves, written
from processors.proof import jcs
from processors.refusal import Refusal
from producers.home.clock import clock_ms
from producers.home.keys import KeyPair
from producers.kafka.bodies import Bodies, BodyMissingError, Wanted
from producers.kafka.body_records import Outgoing
from producers.kafka.publisher import PublishError
from producers.tools.admission import AdmittedCall
from producers.tools.execution import REPORT_BYTES_MAX, Ended
from producers.tools.result_text import lost_report
from schemas import limits
from schemas.words import Outcome

log = logging.getLogger(__name__)

FETCHERS = 4
HELD_BYTES_MAX = 256 * 1024 * 1024  # of the bodies of calls that run or wait for a thread; further ones wait
HELD_PER_CALLER_MAX = HELD_BYTES_MAX // 2
WAITING_MAX = 1024  # calls that wait for their bodies; each has its parameters in memory
WAITING_PER_CALLER_MAX = WAITING_MAX // 4
PAUSE_SECONDS = 0.1  # before the second look; each further pause is twice as long
PAUSE_SECONDS_MAX = 8.0

Filled = Callable[[AdmittedCall], None]
Missing = Callable[[AdmittedCall, str], None]


@dataclass(slots=True, eq=False)
class _Waiting:
    """A call that waits for its bodies."""

    call: AdmittedCall
    takes: TakesBodies
    on_filled: Filled = field(repr=False)
    on_missing: Missing = field(repr=False)
    pause: float = PAUSE_SECONDS
    is_waiting: bool = True

    @property
    def size(self) -> int:
        return sum(one.size for one in self.call.bodies)

    @property
    def seconds(self) -> float:
        return ((self.call.decision.execute_before or 0) - clock_ms()) / 1000


class BodyDesk:
    """Fetches the bodies of one host's calls. Thread-safe; its threads start with the first call that has a body."""

    def __init__(self, bodies: Bodies, key: KeyPair) -> None:
        self._bodies, self._key = bodies, key
        self._changed = threading.Condition()
        self._first: deque[_Waiting] = deque()
        self._second: deque[_Waiting] = deque()  # further looks that are due
        self._later: list[tuple[float, int, _Waiting]] = []  # by the time of the next look
        self._numbers = itertools.count()
        self._held: dict[bytes, tuple[int, str]] = {}  # bytes, and the caller, by the leaf of the decision
        self._waiting: Counter[str] = Counter()  # calls, by their caller
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def fetch(self, call: AdmittedCall, takes: TakesBodies, on_filled: Filled, on_missing: Missing) -> None:
        """Let `on_filled` have the call with its texts in their places, or `on_missing` the reason why it has none.

        One of them is called, in another thread, before the call's `execute_before` or soon after it. Its texts
        are held until `release`. A caller for whom too many calls wait has none at once.
        """
        caller = call.principal_id
        with self._changed:
            is_full = self._waiting.total() >= WAITING_MAX or self._waiting[caller] >= WAITING_PER_CALLER_MAX
        if is_full:
            on_missing(call, "too many calls wait for their bodies")
            return
        with self._changed:
            self._waiting[caller] += 1
            if not self._threads:
                self._threads = [
                    threading.Thread(target=self._run, name="bodies", daemon=True) for _ in range(FETCHERS)
                ]
                for one in self._threads:
                    one.start()
            self._first.append(_Waiting(call, takes, on_filled, on_missing))
            self._changed.notify()

    def release(self, call: AdmittedCall) -> None:
        """Take note that a call has ended: others may have its room."""
        if call.bodies:
            with self._changed:
                self._held.pop(call.leaf, None)
                self._changed.notify_all()

    def stop(self) -> None:
        """Look a last time for each body that is still missing, and end then."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and wait for the end."""
        self.stop()
        for one in self._threads:
            one.join()

    def _run(self) -> None:
        while (waiting := self._next()) is not None:
            try:
                self._look(waiting)
            except Exception:  # other calls go on
                self._leave(waiting)
                self.release(waiting.call)
                log.exception("the bodies of the call %s were not fetched", waiting.call.decision.event.hex())

    def _next(self) -> _Waiting | None:
        """Wait for a call to look for, and hold room for its bodies. None once everything is done after `close`."""
        with self._changed:
            while True:
                now = time.monotonic()
                while self._later and (self._is_closed or self._later[0][0] <= now):
                    self._second.append(heapq.heappop(self._later)[2])
                for queue in (self._first, self._second):  # nobody waits behind a caller that has no room
                    found = next((one for one in queue if self._has_room(one)), None)
                    if found is not None:
                        queue.remove(found)
                        return self._taken(found)
                if self._is_closed and not self._first and not self._second and not self._later:
                    return None
                until = self._later[0][0] - now if self._later else PAUSE_SECONDS_MAX
                self._changed.wait(max(PAUSE_SECONDS, until))

    def _has_room(self, waiting: _Waiting) -> bool:
        """Whether the bodies fit beside those that are held, its caller's too; past its time a call needs none."""
        if waiting.seconds <= 0:
            return True
        for bound, held in (
            (HELD_BYTES_MAX, [size for size, _ in self._held.values()]),
            (HELD_PER_CALLER_MAX, [size for size, who in self._held.values() if who == waiting.call.principal_id]),
        ):
            if held and sum(held) + waiting.size > bound:
                return False
        return True

    def _taken(self, waiting: _Waiting) -> _Waiting:
        self._held[waiting.call.leaf] = waiting.size, waiting.call.principal_id
        return waiting

    def _look(self, waiting: _Waiting) -> None:
        call, seconds = waiting.call, waiting.seconds
        try:
            filled = self._filled(call, waiting.takes, seconds) if seconds > 0 else None
        except Refusal as refusal:
            self._end(waiting, f"{refusal.reason}: {refusal.detail}")
        except BodyMissingError as exc:
            self._again(waiting, str(exc))
        except UnicodeDecodeError:
            self._end(waiting, "a body is not a text")
        else:
            if filled is None:
                self._again(waiting, "a body that the call names is not there, or not as the caller named it")
            else:
                self._leave(waiting)
                waiting.on_filled(filled)

    def _filled(self, call: AdmittedCall, takes: TakesBodies, seconds: float) -> AdmittedCall | None:
        """Return the call with its texts, None while one is missing. Raises Refusal, BodyMissingError."""
        placed = placed_bodies(call.bodies, call.parameters, takes)
        wanted = Wanted(references=call.bodies, key=self._key, sender=call.caller, since_ms=call.issued_at)
        found = self._bodies.look(wanted, until=time.monotonic() + seconds)
        if len(found) < len(call.bodies):
            return None
        texts = {one.steps: found.pop(one.reference.digest).decode() for one in placed}
        return replace(call, parameters=with_leaves(call.parameters, texts))

    def _again(self, waiting: _Waiting, why: str) -> None:
        """Look again after a pause, unless it is too late."""
        if self._is_closed or waiting.seconds <= waiting.pause:
            self._end(waiting, why)
            return
        with self._changed:
            self._held.pop(waiting.call.leaf, None)
            heapq.heappush(self._later, (time.monotonic() + waiting.pause, next(self._numbers), waiting))
            waiting.pause = min(2 * waiting.pause, PAUSE_SECONDS_MAX)
            self._changed.notify_all()

    def _leave(self, waiting: _Waiting) -> None:
        """Take note that a call waits no longer. Nothing happens the second time."""
        with self._changed:
            if waiting.is_waiting:
                waiting.is_waiting = False
                self._waiting[waiting.call.principal_id] -= 1
                self._waiting += Counter()  # forgets those for whom none waits

    def _end(self, waiting: _Waiting, why: str) -> None:
        self._leave(waiting)
        self.release(waiting.call)
        log.warning("the call %s is not executed: %s", waiting.call.decision.event.hex(), why)
        waiting.on_missing(waiting.call, why)

    # ---- results

    def sent(self, call: AdmittedCall, ended: Ended) -> Ended:
        """Return the end of a call as it is reported: a large result is sent to its caller, and named by its digest."""
        if ended.outcome != Outcome.OK or len(ended.body) <= limits.BODY_RESULT_BYTES:
            return ended
        body = Outgoing.of(ended.body.encode())
        try:
            self._bodies.send([body], self._key, [(call.decision.session_id, call.caller)])
        except PublishError as exc:
            log.error("the result of the call %s was not sent: %s", call.decision.event.hex(), exc)  # noqa: TRY400
            room = REPORT_BYTES_MAX - limits.ATTESTATIONS_PER_REPORT_MAX * limits.ATTESTATION_VALUE_BYTES_MAX
            fits = len(body.content) <= room
            return ended if fits else replace(ended, body=lost_report(f"it is too large for the log, and {exc}"))
        return replace(ended, body=jcs.canonical(written(body.reference)).decode(), bodies=(body.reference,))
