"""The process of `macaw approvals serve`: it watches the log, asks in one channel, and hears the answers of Slack.

It looks at the log when an entry of the audit log may concern an approval, when a call of a question is over, and every
POLL_SECONDS. The audit log is only a hint that a look is due. Where it may not be read, the looks by time are left.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException

from producers.client import Client
from producers.home.clock import clock_ms
from producers.home.home import Home, TenantHome
from schemas.errors import OutcomeError, StoppedError, UnavailableError
from schemas.topics import AUDIT
from schemas.words import Outcome
from streams.address import Address, AddressError, address_of, check_listen
from streams.approvals.answering import Answering
from streams.approvals.channels import Channel, SlackChannel
from streams.approvals.delivery import Delivery
from streams.approvals.desk import QuestionDesk
from streams.approvals.interactions import InteractionsAPI
from streams.approvals.log_side import LogSide
from streams.approvals.notebook import Notebook
from streams.history.records import entry_in
from streams.history.topics import TopicReader
from streams.http import serve, server_of

log = logging.getLogger(__name__)

POLL_SECONDS = 30.0
SETTLE_SECONDS = 0.5  # calls that come together go into one message
RETRY_SECONDS = 5.0
JOIN_SECONDS = 6.0


class ChannelEndedError(StoppedError):
    """A thread of the process ended unasked."""


class ApprovalsProcess:
    """Asks about the calls that wait for one registered approver, in one channel."""

    def __init__(self, home: Home, folder: TenantHome, approver: str, channel: Channel, kind: str) -> None:
        """`kind` names the channel in the file of open questions. Raises NotebookError."""
        self._home, self._folder, self._channel = home, folder, channel
        self._log = LogSide(lambda: Client.for_approver(folder.tenant, approver, home=home))
        self._delivery = Delivery(channel)
        notebook = Notebook(folder.key_file("approver", approver).with_suffix(f".{kind}.json"))
        shows = channel.shows_parameters
        self._desk = QuestionDesk(self._log, notebook, self._delivery.mark, shows_parameters=shows)
        self._hint, self._stop = threading.Event(), threading.Event()
        self._current_at: float | None = None
        self._doors: list[SlackDoor] = []
        self._watching = threading.Thread(target=self._watch, name="watching", daemon=True)

    def door(self, host: str, port: int, url: str | None) -> SlackDoor:
        """Listen for Slack; answered once the process runs. Requires a SlackChannel. Raises AddressError."""
        assert isinstance(self._channel, SlackChannel)
        answering = Answering(self._desk, self._log, self._channel)
        door = SlackDoor(self._channel, answering, lambda: self.is_current, host, port, url)
        self._doors.append(door)
        return door

    @property
    def is_current(self) -> bool:
        """Whether the log has answered within two of the looks by time."""
        return self._current_at is not None and time.monotonic() - self._current_at < 2 * POLL_SECONDS

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stop.set()
        self._hint.set()

    def run(self) -> None:
        """Serve until `stop`.

        Raises:
            ChannelEndedError: a thread of the process has ended.
            EvidenceError, NotebookError: the log's answer proves a forgery; the questions cannot be kept.
        """
        self._watching.start()
        self._delivery.start(self._desk)
        for door in self._doors:
            door.start()
        try:
            while not self._stop.is_set():
                self._hint.clear()
                self._look()
                self._check()
                self._hint.wait(self._pause())
                self._stop.wait(SETTLE_SECONDS)
        finally:
            self._close()

    def _look(self) -> None:
        try:
            self._desk.look()
        except (UnavailableError, OutcomeError) as exc:
            log.warning("the log does not answer, so nothing is asked now: %s", exc)
            self._stop.wait(RETRY_SECONDS)
            self._hint.set()
        else:
            self._current_at = time.monotonic()

    def _pause(self) -> float:
        end = self._desk.next_end()
        left = POLL_SECONDS if end is None else (end - clock_ms()) / 1000 + SETTLE_SECONDS
        # A call that is over by this machine's clock and not by the log's is looked at again in a while.
        return min(left if left > 0 else RETRY_SECONDS, POLL_SECONDS)

    def _check(self) -> None:
        is_whole = self._watching.is_alive() and self._delivery.is_alive and all(one.is_alive for one in self._doors)
        if not is_whole and not self._stop.is_set():
            raise ChannelEndedError("a part of this process ended unasked: see the log above; start it again")

    def _close(self) -> None:
        for door in self._doors:
            door.close()
        self._delivery.close()
        self._watching.join(JOIN_SECONDS)
        self._log.close()

    def _watch(self) -> None:
        """Read the audit log from its end, for hints."""
        while not self._stop.is_set():
            try:
                with TopicReader(
                    self._home.bootstrap, AUDIT, self._folder.tenant, security=self._home.security
                ) as reader:
                    for message in reader.follow({}):
                        if self._stop.is_set():
                            return
                        if message is not None and _concerns_approvals(message.value()):
                            self._hint.set()
            except (KafkaException, UnavailableError) as exc:
                log.warning("the audit log cannot be followed, so looks are by time: %s", type(exc).__name__)
                self._stop.wait(POLL_SECONDS)


def _concerns_approvals(value: bytes | None) -> bool:
    """Return whether an entry is about a call that waits, an answer, or the end of a call."""
    entry = entry_in(value)
    return entry is not None and (
        entry.outcome == Outcome.PENDING or entry.kind.startswith("Attestation") or "Cancel" in entry.kind
    )


class SlackDoor:
    """A socket at which Slack tells of pressed buttons, and the thread that answers there.

    Raises:
        AddressError: the host is not loopback and `url` is not an `https` URL, or nothing can listen there.
    """

    def __init__(
        self,
        channel: SlackChannel,
        answering: Answering,
        is_current: Callable[[], bool],
        host: str,
        port: int,
        url: str | None,
    ) -> None:
        check_listen(host, url)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listening = socket.create_server((host, port), family=family)
        except OSError as exc:
            raise AddressError(f"nothing can listen at {host}, port {port}: {exc.strerror}; give another one") from exc
        self.address: Address = address_of(host, self._listening.getsockname()[1], url)
        self._answering = answering
        api = InteractionsAPI(channel.settings, channel.buttons, answering, is_current, self.address)
        self._front = api.front()
        self._stop: Callable[[], Any] = lambda: None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Answer from now on, on a thread of its own."""
        server = server_of(self._front)
        self._stop = lambda: setattr(server, "should_exit", True)
        heard = f"{self.address.url}/slack/interactions"

        def run() -> None:
            asyncio.run(serve(server, self._listening, lambda: log.info("Slack is heard at %s", heard)))

        self._answering.start()
        self._thread = threading.Thread(target=run, name="slack", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether Slack is answered."""
        return self._thread is not None and self._thread.is_alive() and self._answering.is_alive

    def close(self) -> None:
        """Answer no more, and release the port."""
        self._stop()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)
        self._listening.close()
        self._answering.close()
