"""The views process: the Faust application and its query API in one event loop, with the count of calls beside them.

None works without the others, so the end of one ends the process with an error. Its supervisor starts it again,
and it reads the topics again from their beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import faust
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from producers.home.clock import clock_ms
from producers.home.home import Home
from schemas.errors import StoppedError
from streams.address import LOOPBACK
from streams.http import Server, serve, server_of
from streams.views import committed
from streams.views.api import QueryAPI
from streams.views.app import ViewsSettings, build_app, rows_of
from streams.views.catalogue import VIEWS
from streams.views.counting.counts import Counts
from streams.views.counting.reader import DecisionsReader
from streams.views.progress import Phase, Progress
from streams.views.sessions import SESSIONS
from streams.views.topics import create_view_topics

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.25
FOLLOW_SECONDS = 1.0
# Longer than one request may take. With less, checks would pile up in the consumer's thread while a broker is away.
CHECK_SECONDS_MAX = 20.0
WAITING_SAID_SECONDS = 5.0
# Joining and reading take seconds. After this time Faust is stuck, perhaps without a log line.
STALLED_SECONDS = 120.0
STOP_SECONDS = 5.0
CLIENT_LOGGERS = ("aiokafka", "aiokafka.consumer.fetcher", "aiokafka.consumer.group_coordinator")
CLIENT_RECORDS_MAX = 20
CLIENT_RECORDS_SECONDS = 60.0

OnListening = Callable[[int], None]
Watching = Callable[[Progress], AbstractContextManager[None]]


@contextlib.contextmanager
def unwatched(_: Progress) -> Iterator[None]:
    """Watch nothing."""
    yield


class ViewsEndedError(StoppedError):
    """The query API or the Faust application ended unasked."""


class ViewsStalledError(StoppedError):
    """The views have not caught up with the log for too long."""


def run_views(
    bootstrap: str,
    home: Home,
    *,
    port: int = 0,
    replication: int = 1,
    on_listening: OnListening | None = None,
    watching: Watching = unwatched,
) -> None:
    """Serve the views on loopback until SIGTERM or SIGINT.

    `port` 0 takes a free port; `on_listening` is called with the port. The server listens before the tables are
    complete, and answers 503 until they are. `watching` is open while the views run, with their progress.

    Raises:
        ViewTopicsError: the topics of the views do not exist and cannot be created.
        OSError: the port is taken.
        ViewsEndedError, ViewsStalledError: the process must be started again.
    """
    security = home.security
    create_view_topics(bootstrap, replication=replication, security=security)
    with (
        socket.create_server((LOOPBACK, port)) as listening,
        tempfile.TemporaryDirectory(prefix="macaw-views-") as directory,
    ):
        settings = ViewsSettings(
            bootstrap=bootstrap, instance=secrets.token_hex(6), data_dir=Path(directory), security=security
        )
        progress = Progress()
        with watching(progress):
            asyncio.run(_run(settings, home, listening, on_listening, progress))


async def _run(
    settings: ViewsSettings, home: Home, listening: socket.socket, on_listening: OnListening | None, progress: Progress
) -> None:
    app = build_app(settings, progress)
    rows, counts = rows_of(app), Counts()
    server = server_of(QueryAPI(home, rows, progress, counts=counts).front())
    reader = DecisionsReader(settings.bootstrap, counts, rows[SESSIONS.name], progress, security=settings.security)
    stopped = asyncio.Event()
    _stop_on_signals(stopped)
    logging.getLogger(committed.__name__).setLevel(logging.WARNING)  # Faust logs there how its services start
    for name in CLIENT_LOGGERS:
        logging.getLogger(name).addFilter(Seldom())
    halves = {
        "the query API": _serve(server, listening, on_listening),
        "the Faust application": _work(app),
        "the check of its progress": Watch(app, progress).run(),
        "the count of calls": reader.run(),
    }
    try:
        await _until_first(halves, stopped)
    finally:
        await _stop(app, server)


async def _until_first(halves: dict[str, Coroutine[None, None, None]], stopped: asyncio.Event) -> None:
    """Return once `stopped` is set. Raises the error of a half that ended, ViewsEndedError if it ended without one."""
    names = {asyncio.create_task(work): name for name, work in halves.items()}
    until_stopped = asyncio.create_task(stopped.wait())
    done, _ = await asyncio.wait([*names, until_stopped], return_when=asyncio.FIRST_COMPLETED)
    if until_stopped in done:
        return
    ended = next(iter(done))
    error = ended.exception()
    raise error or ViewsEndedError(f"{next(name for task, name in names.items() if task is ended)} ended by itself")


def _stop_on_signals(stopped: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)


async def _serve(server: Server, listening: socket.socket, on_listening: OnListening | None) -> None:
    def tell() -> None:
        port: int = listening.getsockname()[1]
        log.info("the views listen on http://%s:%d", LOOPBACK, port)
        if on_listening is not None:
            on_listening(port)

    await serve(server, listening, tell)


async def _work(app: faust.App) -> None:
    """Run the application until it stops. Raises ViewsEndedError from the exception that crashed it."""
    app.finalize()
    await app.start()
    await app.wait_until_stopped()
    if app.crash_reason is not None:
        raise ViewsEndedError(f"the Faust application crashed: {app.crash_reason!r}") from app.crash_reason


async def _stop(app: faust.App, server: Server) -> None:
    """Stop both halves within STOP_SECONDS, so that a stop that hangs does not delay the next start."""
    server.should_exit = True
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(app.stop(), STOP_SECONDS)


class Seldom(logging.Filter):
    """Passes at most `CLIENT_RECORDS_MAX` log records a minute. aiokafka logs a missing broker 100 times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: deque[float] = deque(maxlen=CLIENT_RECORDS_MAX)

    def filter(self, record: logging.LogRecord) -> bool:
        full = len(self._said) == CLIENT_RECORDS_MAX
        if full and record.created - self._said[0] < CLIENT_RECORDS_SECONDS:
            return False
        self._said.append(record.created)
        return True


class Watch:
    """Measures how far the tables are, about once a second, and updates `progress`."""

    def __init__(self, app: faust.App, progress: Progress) -> None:
        self._app = app
        self._progress = progress
        self._places = [TP(view.source.of(""), number) for view in VIEWS for number in range(view.source.partitions)]
        self._started = self._good = self._said = time.monotonic()

    async def run(self) -> None:
        """Check for ever. Raises ViewsStalledError."""
        while True:
            before = self._progress.as_of
            await self._check()
            if self._progress.as_of != before:
                self._note_good(first=before is None)
            self._say_waiting()
            await asyncio.sleep(FOLLOW_SECONDS if self._progress.phase is Phase.FOLLOWING else CHECK_SECONDS)

    async def _check(self) -> None:
        waiting = self._waiting_in()
        if waiting is not None:
            self._progress.wait_in(waiting)
            return
        consumer = self._app.consumer
        now = clock_ms()
        try:
            async with asyncio.timeout(CHECK_SECONDS_MAX):
                ends = await consumer.highwaters(*self._places)
                self._progress.aim(now, {(tp.topic, tp.partition): end for tp, end in ends.items()})
                positions = {(tp.topic, tp.partition): await consumer.position(tp) or 0 for tp in self._places}
                # Records that a position has passed are noted as pulled in this loop, a turn or two later.
                await asyncio.sleep(0.02)
        except TimeoutError:
            return
        self._progress.settle(positions)

    def _waiting_in(self) -> Phase | None:
        """Return the phase that must end before offsets can be compared; None if there is none."""
        app = self._app
        try:
            assigned = app.consumer.assignment()
        except ConsumerNotStarted:
            return Phase.STARTING
        if not assigned.issuperset(self._places):
            return Phase.JOINING
        if app.rebalancing or app.in_recovery or not app.tables.actives_ready:
            return Phase.RECOVERING
        return None

    def _note_good(self, *, first: bool) -> None:
        self._good = self._said = time.monotonic()
        if first:
            log.info("%s after %.1f s", self._progress.phase.value, self._good - self._started)

    def _say_waiting(self) -> None:
        now = time.monotonic()
        waited = now - self._good
        sentence = self._progress.sentence(clock_ms())
        if waited > STALLED_SECONDS:
            raise ViewsStalledError(f"{sentence}; waited {waited:.0f} s: start the views again")
        if waited > WAITING_SAID_SECONDS and now - self._said > WAITING_SAID_SECONDS:
            self._said = now
            log.warning("%s; waited %.0f s", sentence, waited)
