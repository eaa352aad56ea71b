"""The client of an agent: it opens a session, asks for operations, and gets verified answers.

    with Client.connect("acme", "shopper") as client:
        print(client.invoke("tool:bank/get_balance", {}))

Whatever goes wrong says what to do next. A call that is not answered in time is not known to have run: it raises
`NoAnswerError`, it never returns a guess. A call that people must approve blocks until they have; it is written down
here (`waiting`), so that `Client.resume` can fetch its result after a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from processors import jcs
from processors.names import PERSON_PREFIX
from producers import waiting
from producers.answers import Answer
from producers.calling import ANSWER_SECONDS, OpenCall, waits
from producers.context import ContextVault
from producers.control import CONTROL_SECONDS, SESSION_TTL_MS, Control, Speaker, control_of, open_session, submit
from producers.delegating import delegation_id
from producers.home import Home
from producers.keys import KeyPair
from producers.outcomes import (
    CallError,
    DeniedError,
    FailedError,
    NoAnswerError,
    RefusedError,
    UnknownOutcomeError,
    explain,
    result_of,
)
from producers.prompting import AuthenticatedPrompt, records_for
from producers.publisher import Publisher
from producers.waiting import WaitingCall
from producers.workflow import AsyncWorkflow, Workflow
from schemas.records import InvocationRequested

__all__ = [
    "ANSWER_SECONDS",
    "CONTROL_SECONDS",
    "AsyncClient",
    "CallError",
    "Client",
    "Control",
    "DeniedError",
    "FailedError",
    "NoAnswerError",
    "RefusedError",
    "UnknownOutcomeError",
    "explain",
    "open_session",
    "result_of",
]

Intent = str | Mapping[str, Any]
Prompts = Sequence[AuthenticatedPrompt] | None
OnPending = Callable[[WaitingCall], None]


@dataclass(frozen=True, slots=True)
class _Sending:
    """A call that is ready to be sent."""

    body: InvocationRequested
    on_behalf_of: bytes | None


class Client(Workflow, AbstractContextManager["Client"]):
    """One agent, service or person with one open session. Thread-safe: any number of calls may be under way."""

    def __init__(self, control: Control, session: KeyPair, *, as_registered: bool = False) -> None:
        """Speak with an open session's key; `control` is closed with the client.

        `as_registered`: the key is no session's, it speaks for a registered approver.
        """
        self._control = control
        self._session = session
        self._session_id = session.kid
        self._principal_id = control.principal_id
        self._publisher = control.publisher if as_registered else _publisher_of(control, session)
        self._answers = control.answers if session is control.key else control.answers_for(session)
        self._speaker = Speaker(self._publisher, self._answers)
        self._vault = ContextVault(self._speaker, control.tenant.genesis, session.kid, control.registry)
        self._answers.newest = self._vault.keep_heads(control.heads_path)

    @classmethod
    def connect(
        cls, tenant: str | None, name: str, *, home: Home | None = None, session_ttl_ms: int = SESSION_TTL_MS
    ) -> Client:
        """Open a session for a registered agent or service.

        Raises:
            HomeError, KeyFileError: the installation, tenant or key is not here.
            RefusedError, NoAnswerError, PublishError: the session was not opened.
        """
        control = control_of(tenant, "agent", name, name, home)
        try:
            session = KeyPair.generate()
            open_session(control, session, principal_id=name, ttl_ms=session_ttl_ms)
            return cls(control, session)
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
    ) -> Any:
        """Come back for the result of a call that waited, after a restart. It may be fetched until it was given out.

        `seconds` and `approval_seconds` are as with `invoke`.

        Raises:
            WaitingCallError: no such call is kept here.
            HomeError, KeyFileError; and as `invoke`.
        """
        found = home or Home.find()
        folder = found.tenant(tenant)
        call, key = waiting.load(folder, event_id)
        control = Control(found, folder, key, call.principal_id, answers_from=call.start)
        with cls(control, key) as client:
            pending: Future[Answer] = Future()
            final = client._answers.expect(bytes.fromhex(call.event), call.resource, pending)
            under_way = OpenCall(call.resource, final, pending)
            return client._end(under_way, call.resource, seconds, approval_seconds, on_pending, call)

    @property
    def session_id(self) -> bytes:
        """The id of the open session: the kid of its key."""
        return self._session.kid

    def submit(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        intents: Sequence[Intent] = (),
        delegation: str | None = None,
        prompts: Prompts = None,
    ) -> Future[Answer]:
        """Ask for an operation and return the future of its verified final answer, whatever the outcome.

        Raises:
            ValueError: the parameters are not JSON that the log would take.
        """
        sending = self._prepare(resource, parameters, intents, delegation, prompts)
        return submit(self._publisher, self._answers, sending.body, resource, on_behalf_of=sending.on_behalf_of)

    def invoke(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        seconds: float = ANSWER_SECONDS,
        intents: Sequence[Intent] = (),
        delegation: str | None = None,
        prompts: Prompts = None,
        approval_seconds: float | None = None,
        on_pending: OnPending | None = None,
    ) -> Any:
        """Ask for an operation and return its result.

        `seconds` is for the monitor and the tool. While people are asked it waits until their time is over, or for
        `approval_seconds` where they are given, and `on_pending` is told so first. A tool's declared prompts become
        root prompts where none are given.

        Raises:
            DeniedError, RefusedError, FailedError, UnknownOutcomeError, NoAnswerError, PublishError.
            PromptMismatchError, ValueError: nothing was sent.
        """
        call = self.begin(resource, parameters, intents=intents, delegation=delegation, prompts=prompts)
        return self._end(call, resource, seconds, approval_seconds, on_pending)

    def start(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        seconds: float = ANSWER_SECONDS,
        intents: Sequence[Intent] = (),
        delegation: str | None = None,
        prompts: Prompts = None,
    ) -> WaitingCall | Answer:
        """Ask for an operation; return its final answer, or how to come back to it where people are asked first."""
        call = self.begin(resource, parameters, intents=intents, delegation=delegation, prompts=prompts)
        answer = call.first(seconds)
        if not waits(answer):
            return answer
        call.abandon()
        return self._kept(answer, resource)

    def begin(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        intents: Sequence[Intent] = (),
        delegation: str | None = None,
        prompts: Prompts = None,
    ) -> OpenCall:
        """Ask for an operation and return what waits for its answers. Raises ValueError."""
        sending = self._prepare(resource, parameters, intents, delegation, prompts)
        pending: Future[Answer] = Future()
        final = submit(
            self._publisher,
            self._answers,
            sending.body,
            resource,
            on_behalf_of=sending.on_behalf_of,
            pending=pending,
        )
        return OpenCall(resource, final, pending)

    def _prepare(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        intents: Sequence[Intent],
        delegation: str | None,
        prompts: Prompts,
    ) -> _Sending:
        declared = self._control.registry.prompts_of(resource) if prompts is None else ()
        values = dict(parameters)
        body = InvocationRequested(
            resource=resource,
            parameters=jcs.canonical(values).decode(),
            intents=tuple(one if isinstance(one, str) else jcs.canonical(dict(one)).decode() for one in intents),
            prompts=records_for(self._session.kid, values, prompts, declared),
        )
        return _Sending(body, None if delegation is None else delegation_id(delegation))

    def _kept(self, answer: Answer, resource: str) -> WaitingCall:
        """Write down that a call waits."""
        call = WaitingCall.of(answer, resource, self._principal_id)
        waiting.keep(self._control.tenant, call, self._session)
        return call

    def _end(
        self,
        call: OpenCall,
        resource: str,
        seconds: float,
        approval_seconds: float | None,
        on_pending: OnPending | None,
        kept: WaitingCall | None = None,
    ) -> Any:
        """Return the result of a call, waiting for people; then what was `kept` of it is not needed any more."""
        answer = call.first(seconds)
        if waits(answer):
            kept = self._kept(answer, resource)
            if on_pending is not None:
                on_pending(kept)
            answer = call.last(kept, seconds, approval_seconds)
        if kept is not None:
            waiting.forget(self._control.tenant, kept)
        return result_of(answer)

    def close(self) -> None:
        """End the connections; the session ends with its time to live, or by `close_session`."""
        if self._publisher is not self._control.publisher:
            self._publisher.close()
        if self._answers is not self._control.answers:
            self._answers.close()
        self._control.close()
        self._vault.save_heads(self._answers.newest)

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


class AsyncClient(AsyncWorkflow, AbstractAsyncContextManager["AsyncClient"]):
    """The asyncio twin of `Client`: no call blocks the event loop."""

    def __init__(self, client: Client) -> None:
        self._client = self._workflow = client

    @classmethod
    async def connect(cls, tenant: str | None, name: str, *, home: Home | None = None) -> AsyncClient:
        """Open a session, as `Client.connect`."""
        return cls(await asyncio.to_thread(Client.connect, tenant, name, home=home))

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
    ) -> Any:
        """Come back for a result, as `Client.resume`. `on_pending` is called in another thread."""
        come_back = partial(Client.resume, seconds=seconds, approval_seconds=approval_seconds, on_pending=on_pending)
        return await asyncio.to_thread(come_back, tenant, event_id, home=home)

    async def start(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        seconds: float = ANSWER_SECONDS,
        intents: Sequence[Intent] = (),
        delegation: str | None = None,
        prompts: Prompts = None,
    ) -> WaitingCall | Answer:
        """Ask without waiting for people, as `Client.start`."""
        start = partial(self._client.start, seconds=seconds, intents=intents, delegation=delegation, prompts=prompts)
        return await asyncio.to_thread(start, resource, parameters)

    async def invoke(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        seconds: float = ANSWER_SECONDS,
        intents: Sequence[Intent] = (),
        delegation: str | None = None,
        prompts: Prompts = None,
        approval_seconds: float | None = None,
        on_pending: OnPending | None = None,
    ) -> Any:
        """Ask for an operation and return its result; as `Client.invoke`. `on_pending` is called in the event loop."""
        client = self._client
        begin = partial(client.begin, intents=intents, delegation=delegation, prompts=prompts)
        known = prompts is not None or client._control.registry.knows(resource)  # noqa: SLF001 - its twin
        call = begin(resource, parameters) if known else await asyncio.to_thread(begin, resource, parameters)
        answer = await call.first_async(seconds)
        if waits(answer):
            kept = await asyncio.to_thread(client._kept, answer, resource)  # noqa: SLF001
            if on_pending is not None:
                on_pending(kept)
            answer = await call.last_async(kept, seconds, approval_seconds)
            await asyncio.to_thread(waiting.forget, client._control.tenant, kept)  # noqa: SLF001
        return result_of(answer)

    async def close(self) -> None:
        """End the connections."""
        await asyncio.to_thread(self._client.close)

    async def __aexit__(self, *_: object) -> None:
        await self.close()
