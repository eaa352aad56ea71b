"""The log as an approver's service speaks with it: one client, opened again after its answers have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from producers.client import Client
from producers.client.approvals import Answered, ShownCall
from producers.kafka.hearing import AnswersEndedError
from streams.approvals.questions import Choice, ListedCall, waiting_in

T = TypeVar("T")


class LogSide:
    """Lists, shows and answers the requests of one registered approver. Thread-safe.

    Each method raises UnavailableError or OutcomeError where the log does not answer or refuses, and EvidenceError for
    an answer that proves a forgery.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._lock = threading.Lock()

    def waiting(self) -> list[ListedCall]:
        """Return the requests that wait for this approver. Raises MalformedReplyError too."""
        return [waiting_in(row) for row in self._asked(lambda client: client.list_attestations())]

    def shown(self, request: str) -> ShownCall:
        """Return a call that waits, as its caller signed it."""
        return self._asked(lambda client: client.show_call(request))

    def approve(self, rows: Sequence[Any], choice: Choice, said_by: str, reason: str) -> list[Answered]:
        """Sign a yes to each row in the words of a person, and return the outcome of each."""
        return self._asked(
            lambda client: client.approve_all(rows, reason=reason, said_by=said_by, **dict(choice.arguments))
        )

    def deny(self, rows: Sequence[Any], said_by: str, reason: str) -> list[Answered]:
        """Sign a no to each row in the words of a person, and return the outcome of each."""
        return self._asked(lambda client: client.deny_all(rows, reason=reason, said_by=said_by))

    def close(self) -> None:
        """End the connection."""
        self._drop(self._client)

    def _asked(self, ask: Callable[[Client], T]) -> T:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            client = self._client
        try:
            return ask(client)
        except AnswersEndedError:
            self._drop(client)
            raise

    def _drop(self, client: Client | None) -> None:
        with self._lock:
            if client is None or client is not self._client:
                return
            self._client = None
        client.close()
