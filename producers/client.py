"""The client of an agent: it opens a session, asks for operations, and gets verified answers.

    with Client.connect("acme", "shopper") as client:
        print(client.invoke("tool:bank/get_balance", {}))

Whatever goes wrong says what to do next. A call that is not answered in time is not known to have run: it raises
`NoAnswerError`, it never returns a guess. A call that people must approve blocks until they have. A call that is left
without its answer is written down here (`waiting`), so that `Client.resume` can fetch its result, after a restart too.

A client belongs to the process that connected it: used after a fork it raises ForkedError at once.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import wait
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any

from processors.policy.names import PERSON_PREFIX
from producers import waiting
from producers.appending import Fate, PublishError
from producers.approving import Desk
from producers.async_calls import AsyncCalls
from producers.calling import ANSWER_SECONDS, OpenCall
from producers.calls import Asking, Calls, Give, OnPending
from producers.consuming import LogSetBackError
from producers.context import ContextVault
from producers.control import CONTROL_SECONDS, SESSION_TTL_MS, Control, Speaker, control_of, open_session
from producers.home import Home
from producers.keys import KeyPair
from producers.outcomes import (
    AlreadyCalledError,
    CallError,
    DeniedError,
    FailedError,
    NoAnswerError,
    RefusedError,
    UnknownOutcomeError,
    explain,
    result_of,
)
from producers.process import ForkedError
from producers.publisher import Publisher
from producers.sent import Sent
from producers.waiting import Book, WaitingCall
from producers.workflow import AsyncWorkflow, Workflow
from producers.written import Log
from schemas.records import SessionClosed

__all__ = [
    "ANSWER_SECONDS",
    "CONTROL_SECONDS",
    "AlreadyCalledError",
    "Asking",
    "AsyncClient",
    "CallError",
    "Client",
    "Control",
    "DeniedError",
    "FailedError",
    "ForkedError",
    "LogSetBackError",
    "NoAnswerError",
    "OpenCall",
    "PublishError",
    "RefusedError",
    "UnknownOutcomeError",
    "WaitingCall",
    "explain",
    "open_session",
    "result_of",
]

log = logging.getLogger(__name__)

END_SECONDS = 2.0  # for the log to take the end of a session; it ends by itself too


class Client(Workflow, Calls, AbstractContextManager["Client"]):
    """One agent, service or person with one open session. Thread-safe: any number of calls may be under way."""

    def __init__(
        self, control: Control, session: KeyPair, *, as_registered: bool = False, ends_session: bool = False
    ) -> None:
        """Speak with an open session's key; `control` is closed with the client.

        `as_registered`: the key is no session's, it speaks for a registered approver. `ends_session`: the session was
        opened for this client alone, and ends with it.
        """
        self._control = control
        self._session = session
        self._session_id = session.kid
        self._principal_id = control.principal_id
        self._ends_session = ends_session
        self._calls: set[OpenCall] = set()
        self._book = Book(control.tenant, session, control.principal_id)
        self._publisher = control.publisher if as_registered else _publisher_of(control, session)
        self._answers = control.answers if session is control.key else control.answers_for(session)
        self._speaker = Speaker(self._publisher, self._answers)
        self._desk = Desk(self._speaker, Log(control.tenant.tenant, control.tenant.genesis), control.registry)
        self._vault = ContextVault(self._speaker, control.tenant.genesis, session.kid, control.registry)
        self._answers.newest = self._vault.keep_heads(control.heads_path)

    @classmethod
    def connect(
        cls, tenant: str | None, name: str, *, home: Home | None = None, session_ttl_ms: int = SESSION_TTL_MS
    ) -> Client:
        """Open a session for a registered agent or service. It ends with the client, or after `session_ttl_ms`.

        Raises:
            HomeError, KeyFileError: the installation, tenant or key is not here.
            RefusedError, NoAnswerError, PublishError: the session was not opened.
        """
        control = control_of(tenant, "agent", name, name, home)
        try:
            session = KeyPair.generate()
            open_session(control, session, principal_id=name, ttl_ms=session_ttl_ms)
            return cls(control, session, ends_session=True)
        except BaseException:
            control.close()
            raise

    @classmethod
    def for_person(cls, tenant: str | None, name: str, *, home: Home | None = None) -> Client:
        """Speak for a person with the session that a bridge opened and whose key is kept here.

        Raises:
            HomeError, KeyFileError: the installation, tenant or key is not here.
        """
        control = control_of(tenant, "session", name, f"{PERSON_PREFIX}{name}", home)
        return cls(control, control.key)

    @classmethod
    def for_approver(cls, tenant: str | None, name: str, *, home: Home | None = None) -> Client:
        """Speak with the key of a registered approver: it answers requests, and can do nothing else.

        Raises:
            HomeError, KeyFileError: the installation, tenant or key is not here.
        """
        control = control_of(tenant, "approver", name, name, home)
        return cls(control, control.key, as_registered=True)

    @classmethod
    def resume(
        cls,
        tenant: str | None,
        event_id: str,
        *,
        home: Home | None = None,
        seconds: float = ANSWER_SECONDS,
        approval_seconds: float | None = None,
        on_pending: OnPending | None = None,
        give: Give | None = None,
    ) -> Any:
        """Come back for the result of a call that was left, after a restart. It may be fetched until it was given out.

        `seconds` and `approval_seconds` are as with `invoke`, `give` as with `finish`.

        Raises:
            WaitingCallError: no such call is kept here.
            HomeError, KeyFileError; and as `invoke`.
        """
        found = home or Home.find()
        folder = found.tenant(tenant)
        call, key = waiting.load(folder, event_id)
        control = Control(found, folder, key, call.principal_id, answers_from=call.start)
        ends = call.ends_session and waiting.is_last(folder, call)
        with cls(control, key, ends_session=ends) as client:
            sent = Sent(client._answers, call.resource).listen(bytes.fromhex(call.event_id), bytes.fromhex(call.event))
            under_way = client._taken_up(sent, call)
            return client.finish(
                under_way, seconds=seconds, approval_seconds=approval_seconds, on_pending=on_pending, give=give
            )

    @property
    def session_id(self) -> bytes:
        """The id of the open session: the kid of its key."""
        return self._session.kid

    def close_session(self, *, reason: str = "closed") -> None:
        """End the session on the log, now; calls of it that wait are over, and nothing it signs later is heard."""
        super().close_session(reason=reason)
        self._ends_session = False  # it has

    def close(self) -> None:
        """End the connections, and the session that `connect` opened; calls under way are left, and written down.

        While a call of the session is without its final answer it lives on: `resume` ends it, or its time to live.
        """
        if self._publisher.is_elsewhere:
            return  # another process: its connections are not ours to close, and its session is not ours to end
        self.leave()
        if self._ends_session:
            self._end_session()
        if self._publisher is not self._control.publisher:
            self._publisher.close()
        if self._answers is not self._control.answers:
            self._answers.close()
        self._control.close()
        self._vault.save_heads(self._answers.newest)

    def _end_session(self) -> None:
        if self._book.left:
            self._book.entrust()
            return
        try:
            ended = self._publisher.publish(SessionClosed(reason="closed"))
            wait({ended}, END_SECONDS)
            ended.give_up()  # or the end of the connections would wait for it once more
            fate = ended.fate
        except PublishError:  # closed before
            return
        if fate is not Fate.APPENDED:
            log.warning("the session %s may end with its time to live only: no broker answered", self._session_id.hex())

    def __exit__(self, *_: object) -> None:
        self.close()


def _publisher_of(control: Control, session: KeyPair) -> Publisher:
    return Publisher(
        control.home.bootstrap,
        tenant=control.tenant.tenant,
        genesis=control.tenant.genesis,
        key=session,
        principal_id=control.principal_id,
        session_id=session.kid,
        security=control.security,
    )


class AsyncClient(AsyncWorkflow, AsyncCalls, AbstractAsyncContextManager["AsyncClient"]):
    """The asyncio twin of `Client`: no call blocks the event loop."""

    def __init__(self, client: Client) -> None:
        self._client = self._workflow = self._calling = client

    @classmethod
    async def connect(
        cls, tenant: str | None, name: str, *, home: Home | None = None, session_ttl_ms: int = SESSION_TTL_MS
    ) -> AsyncClient:
        """Open a session, as `Client.connect`."""
        connect = partial(Client.connect, tenant, name, home=home, session_ttl_ms=session_ttl_ms)
        return cls(await asyncio.to_thread(connect))

    @classmethod
    async def for_person(cls, tenant: str | None, name: str, *, home: Home | None = None) -> AsyncClient:
        """Speak for a person, as `Client.for_person`."""
        return cls(await asyncio.to_thread(Client.for_person, tenant, name, home=home))

    @classmethod
    async def for_approver(cls, tenant: str | None, name: str, *, home: Home | None = None) -> AsyncClient:
        """Speak for a registered approver, as `Client.for_approver`."""
        return cls(await asyncio.to_thread(Client.for_approver, tenant, name, home=home))

    @classmethod
    async def resume(
        cls,
        tenant: str | None,
        event_id: str,
        *,
        home: Home | None = None,
        seconds: float = ANSWER_SECONDS,
        approval_seconds: float | None = None,
        on_pending: OnPending | None = None,
        give: Give | None = None,
    ) -> Any:
        """Come back for a result, as `Client.resume`. `on_pending` and `give` are called in another thread."""
        come_back = partial(
            Client.resume, seconds=seconds, approval_seconds=approval_seconds, on_pending=on_pending, give=give
        )
        return await asyncio.to_thread(come_back, tenant, event_id, home=home)

    @property
    def session_id(self) -> bytes:
        """The id of the open session, as `Client.session_id`."""
        return self._client.session_id

    async def close(self) -> None:
        """End the connections and the session, as `Client.close`."""
        await asyncio.to_thread(self._client.close)

    async def __aexit__(self, *_: object) -> None:
        await self.close()
