"""The Faust application of the views: it folds each source topic into its table, and decides nothing.

Every view has the same parts with another description (`view.View`): one agent, one table, one changelog.

**A Table in a group of its own, not a GlobalTable.** A views process answers for every tenant, so it needs every
partition. With a GlobalTable all members of one group follow a changelog; Faust itself warns that several members may
recover it for ever, and a killed member holds its partitions until its session ends (on the embedded broker a minute or
more). So each process is a consumer group of its own, with a fresh name at each start. It does not wait for a dead
member, any number of processes run side by side, and each holds every row.

**Rows after a restart.** A fresh group reads the sources, which are compacted, from their beginning; an older audit
index never replaces a row. The changelog of Faust only shortens the start. If it is behind, damaged or written by
several processes at once, the source corrects the rows before a view is shown.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, cast

import faust
import faust.types
from mode.supervisors import CrashingSupervisor
from yarl import URL

from producers.home.clock import clock_ms
from producers.home.security import UNSECURED, Security
from schemas.codec import SchemaError
from schemas.topics import VIEWS_GROUP_PREFIX
from streams.views.catalogue import VIEWS
from streams.views.committed import CommittedTransport
from streams.views.credentials import credentials_of
from streams.views.progress import Place, Progress
from streams.views.view import C, Deadlines, View, fold_change

log = logging.getLogger(__name__)

POISON_LOGGED_MAX = 100  # a flood of malformed records must not fill a disk; the count goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsSettings:
    """The brokers of a views process, its consumer group and its directory.

    `instance` names the consumer group and must be new at each start. Faust creates a directory below `data_dir` and
    keeps nothing there.
    """

    bootstrap: str
    instance: str
    data_dir: Path
    security: Security = UNSECURED


def build_app(settings: ViewsSettings, progress: Progress | None = None) -> faust.App:
    """Return an application that keeps every view's table and reports to `progress` how far they are."""
    progress = progress or Progress()
    brokers = [URL(f"kafka://{address.strip()}") for address in settings.bootstrap.split(",")]
    app = faust.App(
        f"{VIEWS_GROUP_PREFIX}{settings.instance}",
        broker=brokers,
        broker_credentials=credentials_of(settings.security),
        store="memory://",
        datadir=settings.data_dir / "faust",
        autodiscover=False,
        processing_guarantee="at_least_once",
        # Faust's web server would show every tenant's rows to any client, on all interfaces.
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        reply_create_topic=False,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=10.0,
        broker_heartbeat_interval=3.0,
        broker_request_timeout=15.0,
        broker_commit_interval=1.0,
        stream_wait_empty=False,
    )
    sources = frozenset(view.source.of("") for view in VIEWS)
    app.transport = CommittedTransport(brokers, app, sources=sources, progress=progress)
    for view in VIEWS:
        _add_view(app, view, progress)
    return app


def rows_of(app: faust.App) -> dict[str, faust.types.TableT[bytes, bytes]]:
    """Return the tables by view. A key is `<tenant>/<id>`, its value the newest change, framed as on the log."""
    return {view.name: cast(faust.types.TableT[bytes, bytes], app.tables[view.table]) for view in VIEWS}


def _add_view(app: faust.App, view: View[C], progress: Progress) -> None:
    source = app.topic(
        view.source.of(""),
        partitions=view.source.partitions,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        allow_empty=True,
    )
    changelog = app.topic(
        view.changelog.of(""),
        partitions=view.changelog.partitions,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        compacting=True,
        acks=False,
        internal=True,
        allow_empty=True,
        maxsize=131_072,  # Faust's own for changelogs
    )
    table = app.Table(
        view.table, key_type=bytes, value_type=bytes, partitions=view.changelog.partitions, changelog_topic=changelog
    )
    folding = Folding(view, table, progress)
    app.agent(source, name=view.agent, supervisor_strategy=CrashingSupervisor)(folding.run)
    table.on_recover(folding.on_recovered)


class Folding(Generic[C]):
    """Folds records into a view's table. Each record first removes rows of its partition that are past their time."""

    def __init__(
        self,
        view: View[C],
        table: MutableMapping[bytes, bytes],
        progress: Progress,
        clock_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._view = view
        self._table = table
        self._progress = progress
        self._clock_ms = clock_ms
        self._deadlines: defaultdict[int, Deadlines[C]] = defaultdict(lambda: Deadlines(view))

    async def run(self, stream: faust.types.StreamT[bytes]) -> None:
        """Fold every record of the source. An exception in our code crashes the process; malformed bytes do not."""
        async for event in stream.events():
            message = event.message
            self.fold(message.key, message.value, message.partition, message.offset)
            self._progress.note_folded(message.tp, message.offset)

    def fold(self, key: bytes | None, value: bytes | None, partition: int, offset: int) -> None:
        """Fold one record. Bytes that are not a change of this view are counted, logged at level error and skipped."""
        now = self._clock_ms()
        # A deletion goes to the changelog partition of the present record, so only rows of that partition are deleted.
        for due in self._deadlines[partition].due(self._table, now):
            del self._table[due]
        if value is None:
            self._forget(key)
            return
        try:
            change = self._view.read_change(key, value, partition)
        except SchemaError as exc:
            self._say_poison(exc, (self._view.source.of(""), partition), offset)
            return
        assert key is not None
        self._put(key, value, change, now)

    def _put(self, key: bytes, value: bytes, change: C, now: int) -> None:
        current = self._view.read_row(self._table.get(key))
        if fold_change(current, change) is not change:
            return
        # The row is past its time when it is first read. At a start this holds for most of the source.
        if current is None and self._view.shown_until(change) <= now:
            return
        # At each start the source is read again from its beginning: an equal row is not written again.
        if self._table.get(key) != value:
            self._table[key] = value
        self._note(key, change)

    def _note(self, key: bytes, row: C) -> None:
        self._deadlines[self._view.partition_of(row)].note(key, row)

    def _forget(self, key: bytes | None) -> None:
        if key is not None and key in self._table:
            del self._table[key]

    def _say_poison(self, exc: SchemaError, place: Place, offset: int) -> None:
        self._progress.poison_records += 1
        if self._progress.poison_records <= POISON_LOGGED_MAX:
            log.error("the record at offset %d of %s is skipped: %s: %s", offset, place, exc.code, exc)

    async def on_recovered(self) -> None:
        """Note the deadlines of rows from the changelog; without this the rows of a silent tenant would stay."""
        for key, value in list(self._table.items()):
            row = self._view.read_row(value)
            if row is not None:
                self._note(key, row)
