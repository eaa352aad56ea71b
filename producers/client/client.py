"""The client of an agent: it opens a session, asks for operations, and gets verified answers.

    with Client.connect("acme", "shopper") as client:
        print(client.invoke("tool:bank/get_balance", {}))

Every error names the next step. A call that is not answered in time is not known to have run: it raises
`NoAnswerError`, it never returns a guess. A call that people must approve blocks until they have. A call that is left
without its answer is written down here (`kept_calls`), so that `Client.resume` can fetch its result, after a restart
too.

A client belongs to the process that connected it: used after a fork it raises ForkedError at once.
"""

from __future__ import annotations

import logging
from concurrent.futures import wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, Unpack

from processors.policy.names import PERSON_PREFIX
from producers.client import kept_calls
from producers.client.calls import Calls
from producers.client.open_call import CallPatience, OpenCall, Waiting
from producers.client.workflow import Workflow
from producers.home.home import Home
from producers.home.keys import KeyPair
from producers.kafka.appending import Fate, PublishError
from producers.kafka.connection import SESSION_TTL_MS, Connection
from producers.kafka.sent import Sent
from schemas.records import SessionClosed

log = logging.getLogger(__name__)

END_SECONDS = 2.0  # for the log to take the end of a session; it ends by itself too


class Client(Workflow, Calls, AbstractContextManager["Client"]):
    """One agent, service or person with one open session. Thread-safe: any number of calls may be under way."""

    def __init__(self, connection: Connection, *, heads_path: Path | None = None, ends_session: bool = False) -> None:
        """Speak with the key of an open session or of a registered approver; `connection` is closed with the client.

        `heads_path` is the file that keeps the heads of the vault (`producers.home.heads`), None for no file. With
        `ends_session` the session was opened for this client alone, and ends with it.

        Raises:
            HeadsError: the file of heads cannot be read; the connection is closed.
        """
        Calls.__init__(self, connection)
        Workflow.__init__(self, connection)
        self._ends_session = ends_session
        try:
            connection.answers.newest = self._vault.keep_heads(heads_path)
        except BaseException:
            connection.close()
            raise

    @classmethod
    def connect(
        cls, tenant: str | None, name: str, *, home: Home | None = None, session_ttl_ms: int = SESSION_TTL_MS
    ) -> Self:
        """Open a session for a registered agent or service. It ends with the client, or after `session_ttl_ms`.

        Raises:
            HomeError, KeyAccessError: the installation, tenant or key is not here.
            ConnectError: the brokers do not answer.
            RefusedError, NoAnswerError, PublishError: the session was not opened.
        """
        registered, heads_path = _connection(tenant, "agent", name, name, home)
        try:
            session = KeyPair.generate()
            registered.open_session(session, principal_id=name, ttl_ms=session_ttl_ms)
            connection = registered.of_session(session)
        except BaseException:
            registered.close()
            raise
        return cls(connection, heads_path=heads_path, ends_session=True)

    @classmethod
    def for_person(cls, tenant: str | None, name: str, *, home: Home | None = None) -> Self:
        """Speak for a person, with a session that a bridge has opened and a key that is kept here.

        Raises:
            HomeError, KeyAccessError: the installation, tenant or key is not here.
            ConnectError: the brokers do not answer.
        """
        principal_id = f"{PERSON_PREFIX}{name}"
        connection, heads_path = _connection(tenant, "session", name, principal_id, home, is_session=True)
        return cls(connection, heads_path=heads_path)

    @classmethod
    def for_approver(cls, tenant: str | None, name: str, *, home: Home | None = None) -> Self:
        """Speak with the key of a registered approver: it answers requests, and can do nothing else.

        Raises:
            HomeError, KeyAccessError: the installation, tenant or key is not here.
            ConnectError: the brokers do not answer.
        """
        connection, heads_path = _connection(tenant, "approver", name, name, home)
        return cls(connection, heads_path=heads_path)

    @classmethod
    def resume(cls, tenant: str | None, event_id: str, *, home: Home | None = None, **how: Unpack[Waiting]) -> Any:
        """Come back for the result of a call that was left, after a restart too, until the result was given out.

        Raises:
            WaitingCallError: no such call is kept here.
            HomeError, KeyAccessError; and as `invoke`.
        """
        patience = CallPatience(**how)
        client, call = cls.come_back(tenant, event_id, home=home)
        with client:
            return call.finish(patience)

    @classmethod
    def come_back(cls, tenant: str | None, event_id: str, *, home: Home | None = None) -> tuple[Self, OpenCall]:
        """Return a client with the session of a call that was left, and the call, for `finish`. Raises as `resume`."""
        found = home or Home.find()
        folder = found.tenant(tenant)
        kept, key = kept_calls.load(folder, event_id)
        ends = kept.ends_session and kept_calls.is_last(folder, kept)
        connection = Connection(found, folder, key, kept.principal_id, is_session=True, answers_from=kept.start)
        client = cls(connection, ends_session=ends)
        call = OpenCall(Sent(connection.answers, kept.resource), client._book, connection.clock)
        call.take_up(kept)
        return client, call

    @property
    def session_id(self) -> bytes:
        """The id of the open session: the kid of its key."""
        return self._connection.key.kid

    def close_session(self, *, reason: str = "closed") -> None:
        """End the session on the log, now; its waiting calls are over, and events that it signs later are refused."""
        super().close_session(reason=reason)
        self._ends_session = False  # it has

    def close(self) -> None:
        """End the connections, and the session that `connect` opened; calls under way are left, and written down.

        A session with a call that has no final answer yet lives on: `resume` ends it, or its time to live.
        """
        if self._connection.is_elsewhere:
            return  # another process: its connections are not ours to close, and its session is not ours to end
        self.leave()
        if self._ends_session:
            self._end_session()
        self._connection.close()
        self._vault.save_heads(self._connection.answers.newest)

    def _end_session(self) -> None:
        if self._book.left:
            self._book.entrust()
            return
        try:
            ended = self._connection.publisher.publish(SessionClosed(reason="closed"))
            wait({ended}, END_SECONDS)
            ended.give_up()  # or the end of the connections would wait for it once more
            fate = ended.fate
        except PublishError:  # closed before
            return
        if fate is not Fate.APPENDED:
            log.warning("no broker answered, so the session %s may last until its time is over", self.session_id.hex())

    def __exit__(self, *_: object) -> None:
        self.close()


def _connection(
    tenant: str | None, kind: str, name: str, principal_id: str, home: Home | None, *, is_session: bool = False
) -> tuple[Connection, Path]:
    """Return the connection of a key that is kept here, and the file of its heads. Raises HomeError, KeyAccessError."""
    found = home or Home.find()
    folder = found.tenant(tenant)
    _ = folder.genesis  # an unknown tenant is named before its key is looked for
    path = folder.key_file(kind, name)
    connection = Connection(found, folder, folder.keys.load(path), principal_id, is_session=is_session)
    return connection, path.with_suffix(".heads")
