"""The client of an agent: it opens a session, asks for operations, and gets verified answers.

    with Client.connect("acme", "shopper") as client:
        print(client.invoke("tool:bank/get_balance", {}))

Whatever goes wrong says what to do next. A call that is not answered in time is not known to have run: it raises
`NoAnswerError`, it never returns a guess.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from processors import jcs
from processors.authoring import Draft
from processors.intake import SESSION_ROLE
from processors.registry import PERSON_PREFIX
from producers.answers import Answer, Answers, MonitorSigned
from producers.home import Home, TenantHome
from producers.keys import KeyPair
from producers.publisher import Publisher
from producers.registry_view import RegistryView
from schemas.reasons import EXPLAINED, Reason
from schemas.records import Body, InvocationRequested, SessionOpened

ANSWER_SECONDS = 100.0  # longer than a call may stay open with a tool of the default timeout
CONTROL_SECONDS = 20.0
SESSION_TTL_MS = 3_600_000


class CallError(RuntimeError):
    """A call did not give a result. `reason` is the stable code, `answer` the signed record where there is one."""

    def __init__(self, message: str, *, reason: str = "", answer: Answer | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.answer = answer


class DeniedError(CallError):
    """The call was denied by a decision on the log."""


class RefusedError(CallError):
    """The event was refused: it had no effect."""


class FailedError(CallError):
    """The tool ran and failed, and signed that it did."""


class UnknownOutcomeError(CallError):
    """The call was allowed, and nobody can say whether it ran to its end. Look before you ask again."""


class NoAnswerError(CallError):
    """No answer came in time."""


def explain(reason: str) -> str:
    """Return what a reason code means, for people."""
    return EXPLAINED.get(Reason(reason), "") if reason in Reason.__members__ else ""


def _sentence(answer: Answer, what: str) -> str:
    result = answer.result
    parts = [f"{what}: {result.reason}" if result.reason else what, explain(result.reason), result.detail]
    return "; ".join(p for p in parts if p)


class Control(AbstractContextManager["Control"]):
    """Publishes control events with one registered key and waits for their answers."""

    def __init__(self, home: Home, tenant: TenantHome, key: KeyPair, principal_id: str) -> None:
        self.home, self.tenant, self.key, self.principal_id = home, tenant, key, principal_id
        genesis = tenant.genesis
        deployment = home.config.get("deployment", "local")
        bootstrap, self.security = home.bootstrap, home.security
        self.registry = RegistryView(
            bootstrap, tenant=tenant.tenant, genesis=genesis, deployment=deployment, security=self.security
        )
        self.trusted = MonitorSigned(self.registry, tenant=tenant.tenant, genesis=genesis)
        self.publisher = Publisher(
            bootstrap,
            tenant=tenant.tenant,
            genesis=genesis,
            key=key,
            principal_id=principal_id,
            security=self.security,
        )
        self.answers = self.answers_for(key)

    def answers_for(self, key: KeyPair) -> Answers:
        """Return what listens for answers to another key."""
        return Answers(self.home.bootstrap, self.trusted, {key.kid: key}, security=self.security)

    def tell(self, body: Body, *, seconds: float = CONTROL_SECONDS) -> Answer:
        """Publish one event and return its accepting answer.

        Raises:
            RefusedError: the log refused it.
            NoAnswerError: no answer came; is a monitor running?
            PublishError: the broker did not take it.
        """
        answer = ask(self.publisher, self.answers, body, seconds=seconds)
        if answer.result.outcome != "accepted":
            what = f"{type(body).__name__} was refused"
            raise RefusedError(_sentence(answer, what), reason=answer.result.reason, answer=answer)
        return answer

    def close(self) -> None:
        self.publisher.close()
        self.answers.close()
        self.registry.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def _control(tenant: str | None, kind: str, name: str, principal_id: str, home: Home | None) -> Control:
    found = home or Home.find()
    folder = found.tenant(tenant)
    _ = folder.genesis  # an unknown tenant is named before its key is looked for
    return Control(found, folder, KeyPair.load(folder.key_file(kind, name)), principal_id)


def open_session(
    control: Control,
    session: KeyPair,
    *,
    principal_id: str,
    ttl_ms: int = SESSION_TTL_MS,
    attributes: str | None = None,
    issuer: str | None = None,
) -> None:
    """Open a session for the control key's own principal, or for a person with what a bridge says of one.

    Raises:
        RefusedError, NoAnswerError, PublishError: it was not opened.
    """
    offer = session.offer(SESSION_ROLE, principal_id, control.tenant.genesis)
    control.tell(
        SessionOpened(principal_id=principal_id, key=offer, ttl_ms=ttl_ms, attributes=attributes, issuer=issuer)
    )


def submit(publisher: Publisher, answers: Answers, body: Body, resource: str | None = None) -> Future[Answer]:
    """Publish an event and return the future of its answer; it carries PublishError where the broker refuses."""
    outcome: Future[Answer] = Future()

    def on_drafted(draft: Draft) -> None:
        waiting = answers.expect(draft.leaf, resource)
        outcome.add_done_callback(lambda _: answers.forget(draft.leaf))
        waiting.add_done_callback(lambda done: None if outcome.done() else outcome.set_result(done.result()))

    def on_appended(appended: Future[int]) -> None:
        if (exc := appended.exception()) is not None and not outcome.done():
            outcome.set_exception(exc)

    publisher.publish(body, on_drafted=on_drafted).add_done_callback(on_appended)
    return outcome


def ask(publisher: Publisher, answers: Answers, body: Body, *, resource: str | None = None, seconds: float) -> Answer:
    """Publish an event and wait for its answer. Raises NoAnswerError, PublishError."""
    future = submit(publisher, answers, body, resource)
    try:
        return future.result(seconds)
    except FutureTimeoutError:
        future.cancel()
        raise _no_answer(body, seconds) from None


def _no_answer(body: Body, seconds: float) -> NoAnswerError:
    return NoAnswerError(
        f"{type(body).__name__} was not answered within {seconds:g} s: is a monitor running for this tenant, and is "
        "the key registered there? `macaw log --follow` shows what the log made of it",
        reason="NO_ANSWER",
    )


class Client(AbstractContextManager["Client"]):
    """One agent or service with one open session. Thread-safe: any number of calls may be under way."""

    def __init__(self, control: Control, session: KeyPair) -> None:
        """Speak with an open session's key; `control` is closed with the client."""
        self._control = control
        self._session = session
        self._publisher = Publisher(
            control.home.bootstrap,
            tenant=control.tenant.tenant,
            genesis=control.tenant.genesis,
            key=session,
            principal_id=control.principal_id,
            session_id=session.kid,
            security=control.security,
        )
        self._answers = control.answers if session is control.key else control.answers_for(session)

    @classmethod
    def connect(
        cls, tenant: str | None, name: str, *, home: Home | None = None, session_ttl_ms: int = SESSION_TTL_MS
    ) -> Client:
        """Open a session for a registered agent or service.

        Raises:
            HomeError, KeyFileError: the installation, tenant or key is not here.
            RefusedError, NoAnswerError, PublishError: the session was not opened.
        """
        control = _control(tenant, "agent", name, name, home)
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
        control = _control(tenant, "session", name, f"{PERSON_PREFIX}{name}", home)
        return cls(control, control.key)

    @property
    def session_id(self) -> bytes:
        """The id of the open session: the kid of its key."""
        return self._session.kid

    def submit(self, resource: str, parameters: Mapping[str, Any]) -> Future[Answer]:
        """Ask for an operation and return the future of its verified answer, whatever the outcome.

        Raises:
            ValueError: the parameters are not JSON that the log would take.
        """
        text = jcs.canonical(dict(parameters)).decode()
        body = InvocationRequested(resource=resource, parameters=text, intents=(), prompts=())
        return submit(self._publisher, self._answers, body, resource)

    def invoke(self, resource: str, parameters: Mapping[str, Any], *, seconds: float = ANSWER_SECONDS) -> Any:
        """Ask for an operation and return its result.

        Raises:
            DeniedError, RefusedError, FailedError, UnknownOutcomeError, NoAnswerError, PublishError.
        """
        future = self.submit(resource, parameters)
        try:
            return result_of(future.result(seconds))
        except FutureTimeoutError:
            future.cancel()
            raise _no_answer_call(resource, seconds) from None

    def close(self) -> None:
        """End the connections; the session ends with its time to live."""
        self._publisher.close()
        if self._answers is not self._control.answers:
            self._answers.close()
        self._control.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(AbstractAsyncContextManager["AsyncClient"]):
    """The asyncio twin of `Client`: no call blocks the event loop."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    async def connect(cls, tenant: str | None, name: str, *, home: Home | None = None) -> AsyncClient:
        """Open a session, as `Client.connect`."""
        return cls(await asyncio.to_thread(Client.connect, tenant, name, home=home))

    async def invoke(self, resource: str, parameters: Mapping[str, Any], *, seconds: float = ANSWER_SECONDS) -> Any:
        """Ask for an operation and return its result; raises as `Client.invoke`."""
        future = self._client.submit(resource, parameters)
        try:
            return result_of(await asyncio.wait_for(asyncio.wrap_future(future), seconds))
        except TimeoutError:
            raise _no_answer_call(resource, seconds) from None

    async def close(self) -> None:
        """End the connections."""
        await asyncio.to_thread(self._client.close)

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def result_of(answer: Answer) -> Any:
    """Return the tool's result, or raise what the answer says. Raises CallError."""
    result = answer.result
    kinds: dict[str, tuple[type[CallError], str]] = {
        "denied": (DeniedError, "the call was denied"),
        "refused": (RefusedError, "the event was refused"),
    }
    if result.outcome == "ok" and answer.body is not None:
        return json.loads(answer.body)
    kind, what = kinds.get(result.outcome, (UnknownOutcomeError, "the outcome is unknown"))
    # Without the tool's own words only the monitor says how the call ended.
    if result.outcome == "failed" and answer.body is not None:
        kind, what = FailedError, f"the tool failed: {answer.body}"
    raise kind(_sentence(answer, what), reason=result.reason, answer=answer)


def _no_answer_call(resource: str, seconds: float) -> NoAnswerError:
    return NoAnswerError(
        f"{resource} was not answered within {seconds:g} s; it may still run. `macaw log decisions` shows whether it "
        "was decided",
        reason="NO_ANSWER",
    )
