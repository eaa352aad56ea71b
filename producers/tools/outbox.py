"""Reports of calls on their way to the log. One that cannot be sent is kept on disk for any later process to send.

While a report is late, or kept, its host executes nothing more: it must not do work that it could not report.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import asdict, replace
from typing import Any

from producers.kafka.publisher import EventTooLargeError, Publisher, PublishError, UnsignableError
from producers.tools.executed import ExecutedCalls
from producers.tools.result_text import lost_report
from schemas import limits
from schemas.events.bodies import BodyReference
from schemas.records import Attestation, ResultReported

log = logging.getLogger(__name__)

LATE_SECONDS = 2.0
SEND_SECONDS = 60.0  # a publisher is done sooner: it gives an event up itself


class Outbox:
    """Sends reports, and keeps those that could not be sent. Thread-safe."""

    def __init__(self, publisher: Publisher, memory: ExecutedCalls) -> None:
        self._publisher, self._memory = publisher, memory
        self._lock = threading.Lock()
        self._under_way: dict[object, float] = {}
        self._kept = {event: _read(text) for event, text in memory.reports().items()}

    @property
    def kept(self) -> int:
        """How many reports are kept."""
        return len(self._kept)

    @property
    def can_send(self) -> bool:
        """Whether the publisher still runs."""
        return self._publisher.is_running

    @property
    def is_late(self) -> bool:
        """Whether a report is kept, or was not taken within LATE_SECONDS."""
        with self._lock:
            began = min(self._under_way.values(), default=None)
            return bool(self._kept) or (began is not None and time.monotonic() - began > LATE_SECONDS)

    def send(self, event: bytes, report: ResultReported) -> bool:
        """Send the report of a call, or keep it; return True if it was sent."""
        this = object()
        with self._lock:
            self._under_way[this] = time.monotonic()
        try:
            self._publish(event, report)
        except PublishError as exc:
            self._keep(event, report, exc)
            return False
        finally:
            with self._lock:
                del self._under_way[this]
        return True

    def send_kept(self) -> None:
        """Send the kept reports, one after the other. Raises PublishError if that does not work yet."""
        for event, report in list(self._kept.items()):
            self._publish(event, report)
            log.warning("the report of the call %s is sent late: outcome %s", event.hex(), report.outcome)
            with self._lock:
                self._kept.pop(event, None)
            try:
                self._memory.forget_report(event)
            except sqlite3.Error:
                log.exception("it will be sent once more, without effect: %s cannot be written", self._memory.path)

    def _publish(self, event: bytes, report: ResultReported) -> None:
        try:
            self._append(event, report)
        except (EventTooLargeError, UnsignableError) as exc:
            # Sent again it would fail again. The shortened report still tells the outcome.
            log.error("the report of the call %s is shortened: %s", event.hex(), exc)  # noqa: TRY400 - said in full
            self._append(event, replace(report, body=lost_report(str(exc)), attestations=(), bodies=()))

    def _append(self, event: bytes, report: ResultReported) -> None:
        appended = self._publisher.publish(report, causation_id=event)
        try:
            appended.result(SEND_SECONDS)
        except FutureTimeoutError:
            appended.cancel()  # a second one, should this still come, has no effect on the log
            raise PublishError(f"the broker has not answered within {SEND_SECONDS:g} s") from None
        ahead_ms = self._publisher.ahead_ms or 0
        if not -limits.ISSUED_BEHIND_MS_MAX <= ahead_ms <= limits.ISSUED_AHEAD_MS_MAX:
            # It is appended, and the log refuses it. With the right time it is taken.
            way = "ahead of" if ahead_ms > 0 else "behind"
            raise PublishError(
                f"this machine's clock is {abs(ahead_ms) / 1000:.0f} s {way} the brokers', so the log refuses its"
                " events: set the clock"
            )

    def _keep(self, event: bytes, report: ResultReported, why: PublishError) -> None:
        log.error(
            "the outcome %s of the call %s cannot be reported: %s; it is kept, and nothing more is executed until it is"
            " sent",
            *(report.outcome, event.hex(), why),
        )
        with self._lock:
            self._kept[event] = report
        try:
            self._memory.keep_report(event, _text(report))
        except sqlite3.Error:
            log.exception("the report is kept in memory only: %s cannot be written", self._memory.path)


def _text(report: ResultReported) -> str:
    """Return the report as it is kept. The bodies that it names were sent before."""
    kept = {
        "outcome": report.outcome,
        "body": report.body,
        "attestations": [asdict(one) for one in report.attestations],
        "bodies": [_named(one) for one in report.bodies],
        "stream": None if report.stream is None else _named(report.stream),
    }
    return json.dumps({**kept, "decision": report.decision.hex()})


def _read(text: str) -> ResultReported:
    given: dict[str, Any] = json.loads(text)
    return ResultReported(
        decision=bytes.fromhex(given["decision"]),
        outcome=given["outcome"],
        body=given["body"],
        attestations=tuple(Attestation(**one) for one in given["attestations"]),
        bodies=tuple(_body(one) for one in given.get("bodies", ())),
        stream=_body(given["stream"]) if given.get("stream") else None,
    )


def _named(one: BodyReference) -> dict[str, Any]:
    return {"digest": one.digest.hex(), "size": one.size, "chunks": one.chunks}


def _body(given: dict[str, Any]) -> BodyReference:
    return BodyReference(digest=bytes.fromhex(given["digest"]), size=given["size"], chunks=given["chunks"])
