"""Events of the application on the log. An unsigned one is on its way when `write` returns, and is not waited for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from hashlib import sha256
from typing import Any

from macaw_client.values import shown_json_of
from processors.proof import jcs
from producers.client import Client, PublishError
from schemas import limits
from schemas.errors import InputError
from schemas.events.workflow import ApplicationEventLogged
from schemas.words import NotedOutcome

log = logging.getLogger(__name__)

PENDING_MAX = 1000  # events on their way; the next one waits
DIGEST_CHARS = 16
LEAF_CHARS_MAX = 512  # of one text in metadata that are too large as a whole
_OTHER_OUTCOMES = {"error": NotedOutcome.FAILURE, "failed": NotedOutcome.FAILURE, "ok": NotedOutcome.SUCCESS}


class EventFormError(InputError):
    """An event names an outcome that there is not; nothing was sent."""


def cut(text: object, chars_max: int = limits.APPLICATION_TEXT_CHARS_MAX) -> str:
    """Return a text that is not longer than `chars_max`: its beginning, and the start of the digest of the whole."""
    whole = "" if text is None else str(text).encode("utf-8", "replace").decode()
    if len(whole) <= chars_max:
        return whole
    mark = f"… sha256:{sha256(whole.encode()).hexdigest()[:DIGEST_CHARS]}"
    return whole[: chars_max - len(mark)] + mark


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """Return metadata as JSON that the log takes. Texts that are too long for it are cut, with their digest."""
    told = shown_json_of(metadata)
    text = _json(told)
    if len(text.encode()) <= limits.APPLICATION_METADATA_BYTES_MAX:
        return text
    digest = sha256(text.encode()).hexdigest()
    shorter = _json({**{cut(name): _cut(one) for name, one in told.items()}, "truncated_sha256": digest})
    if len(shorter.encode()) <= limits.APPLICATION_METADATA_BYTES_MAX:
        return shorter
    return _json({"truncated_sha256": digest, "bytes": len(text.encode()), "members": [cut(n, 64) for n in told][:64]})


def _json(value: object) -> str:
    try:
        return jcs.canonical(value).decode()
    except ValueError:  # half a surrogate pair, or a number beyond 2^53: it is a remark, and is told as a text
        return jcs.canonical({"text": cut(repr(value), 4096)}).decode()


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return cut(value, LEAF_CHARS_MAX)
    if isinstance(value, list | dict):
        text = _json(value)
        return value if len(text) <= LEAF_CHARS_MAX else cut(text, LEAF_CHARS_MAX)
    return value


def event_of(
    event_type: str,
    *,
    source: str,
    action: str | None,
    target: str | None,
    outcome: str | None,
    signed: bool,
    category: str | None,
    metadata: object,
) -> ApplicationEventLogged:
    """Return the event as the log takes it. An outcome of another vocabulary is kept in the metadata.

    Raises:
        EventFormError: the event has no type, or its outcome is not one that is known.
    """
    if not event_type:
        raise EventFormError("event_type must not be empty")
    noted = dict(metadata) if isinstance(metadata, Mapping) else {} if metadata is None else {"value": metadata}
    if outcome in _OTHER_OUTCOMES:
        noted = {**noted, "outcome": outcome}
    known = {one.value: one for one in NotedOutcome} | _OTHER_OUTCOMES
    if outcome is not None and outcome not in known:
        raise EventFormError(f"outcome must be one of {', '.join(sorted(known))}, got {str(outcome)[:40]!r}")
    return ApplicationEventLogged(
        event_type=cut(event_type),
        source=cut(source),
        action=cut(action),
        target=cut(target),
        outcome=known[outcome] if outcome is not None else NotedOutcome.SUCCESS,
        category=cut(category or "custom"),
        signed=signed,
        metadata=metadata_text(noted),
    )


class Notes:
    """The events of one client that are on their way. Thread-safe."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._pending: set[Future[int]] = set()

    def write(self, event: ApplicationEventLogged) -> None:
        """Send an event: one that is signed for is waited for, any other is on its way.

        Raises:
            RefusedError, NoAnswerError: of a signed event alone.
            PublishError, ForkedError: nothing was sent.
        """
        if event.signed:
            self._client.connection.ask(event)
            return
        with self._lock:
            full = set(self._pending) if len(self._pending) >= PENDING_MAX else None
        if full:
            wait(full, return_when=FIRST_COMPLETED)
        sent = self._client.connection.publisher.publish(event)
        with self._lock:
            self._pending.add(sent)
        sent.add_done_callback(self._end)

    def _end(self, sent: Future[int]) -> None:
        with self._lock:
            self._pending.discard(sent)
        if not sent.cancelled() and isinstance(exc := sent.exception(), PublishError):
            log.warning("an event of the application is not on the log: %s", exc)

    def on_their_way(self) -> list[Future[int]]:
        """Return the events that are not on the log yet."""
        with self._lock:
            return list(self._pending)

    def flush(self, seconds: float) -> bool:
        """Wait until the events are on the log, at most for `seconds`; return whether all of them are."""
        return not wait(self.on_their_way(), seconds).not_done
