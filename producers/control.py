"""One key that speaks: it publishes events and waits for the log's answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processors.proof import jcs
from producers.answers import Answer, Answers, MonitorSigned
from producers.clock import LogClock, clock_ms
from producers.home import Home, TenantHome
from producers.keys import KeyPair
from producers.outcomes import MalformedReplyError, RefusedError, no_answer, sentence_of
from producers.publisher import Publisher
from producers.registry_view import RegistryView
from producers.sent import Sent
from schemas import limits
from schemas.attributes import Attributes
from schemas.reasons import Reason
from schemas.records import Body, SessionOpened
from schemas.words import Outcome, Role
from schemas.workflow import StateQueried

CONTROL_SECONDS = 20.0
SESSION_TTL_MS = 3_600_000
PAGES_MAX = 2000  # of one list, with those that were read twice; the longest has half as many


@dataclass(frozen=True, slots=True)
class Speaker:
    """What publishes with one key, and what hears the answers to it."""

    publisher: Publisher
    answers: Answers

    def tell(self, body: Body, *, on_behalf_of: bytes | None = None, seconds: float = CONTROL_SECONDS) -> Answer:
        """Publish one event and return its accepting answer.

        Raises:
            RefusedError: the log refused it.
            NoAnswerError: no answer came; is a monitor running?
            PublishError: the broker did not take it.
        """
        answer = ask(self.publisher, self.answers, body, on_behalf_of=on_behalf_of, seconds=seconds)
        if answer.result.outcome != Outcome.ACCEPTED:
            what = f"{type(body).__name__} was refused"
            raise RefusedError(sentence_of(answer, what), reason=answer.result.reason, answer=answer)
        return answer

    def question(self, what: str, argument: jcs.JSONValue = None) -> dict[str, Any]:
        """Ask what the log knows. Raises as `tell`, and MalformedReplyError."""
        body = StateQueried(what=what, argument=jcs.canonical(argument).decode())
        return told_in(self.tell(body))

    def pages(self, what: str) -> list[dict[str, Any]]:
        """Ask what the log knows, and on with each `next`; return every page. At most PAGES_MAX questions.

        A list of which a page's end has left meanwhile is read again from its beginning. Raises as `question`.
        """
        told: list[dict[str, Any]] = []
        argument: jcs.JSONValue = None
        for _ in range(PAGES_MAX):
            try:
                page = self.question(what, argument)
            except RefusedError as exc:
                if not told or exc.reason != Reason.QUERY_INVALID:
                    raise
                told, argument = [], None
                continue
            following = page.get("next")
            if following is not None and any(one.get("next") == following for one in told):
                raise MalformedReplyError(f"the log's pages of {what} do not go on")
            told.append(page)
            if following is None:
                return told
            argument = following
        raise MalformedReplyError(f"{what} do not end within {PAGES_MAX} questions")


def rows_in(pages: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the rows that pages hold under a name. Raises MalformedReplyError."""
    rows: list[dict[str, Any]] = []
    for page in pages:
        told = page.get(name)
        if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
            raise MalformedReplyError(f"the log's reply holds no list {name!r}")
        rows += told
    return rows


def told_in(answer: Answer) -> dict[str, Any]:
    """Return the JSON object that came sealed with an answer. Raises MalformedReplyError."""
    try:
        value = jcs.parse_strict((answer.body or "").encode(), nodes_max=limits.OUTPUT_PAYLOAD_BYTES_MAX)
    except (jcs.MalformedJSONError, UnicodeEncodeError) as exc:
        raise MalformedReplyError("the log's reply is no strict JSON", answer=answer) from exc
    if not isinstance(value, dict):
        raise MalformedReplyError("the log's reply is no JSON object", answer=answer)
    return value


class Control(AbstractContextManager["Control"]):
    """Publishes control events with one registered key and waits for their answers."""

    def __init__(
        self,
        home: Home,
        tenant: TenantHome,
        key: KeyPair,
        principal_id: str,
        *,
        answers_from: Mapping[int, int] | None = None,
        heads_path: Path | None = None,
    ) -> None:
        """Speak with a key; `heads_path` is where what is seen of the vault is kept, None for nowhere."""
        self.home, self.tenant, self.key, self.principal_id = home, tenant, key, principal_id
        self.heads_path = heads_path
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
        self.answers = self.answers_for(key, answers_from)
        self.clock = LogClock()

    def answers_for(self, key: KeyPair, start: Mapping[int, int] | None = None) -> Answers:
        """Return what listens for answers to another key; `start` gives offsets to read from, by partition."""
        return Answers(self.home.bootstrap, self.trusted, {key.kid: key}, security=self.security, start=start)

    def tell(self, body: Body, *, seconds: float = CONTROL_SECONDS) -> Answer:
        """Publish one event and return its accepting answer; raises as `Speaker.tell`."""
        sent_ms = clock_ms()
        answer = Speaker(self.publisher, self.answers).tell(body, seconds=seconds)
        self.clock.note(sent_ms, answer.result.at, clock_ms())
        return answer

    def close(self) -> None:
        self.publisher.close()
        self.answers.close()
        self.registry.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def control_of(tenant: str | None, kind: str, name: str, principal_id: str, home: Home | None) -> Control:
    """Return the connection of a key that is kept here. Raises HomeError, KeyFileError."""
    found = home or Home.find()
    folder = found.tenant(tenant)
    _ = folder.genesis  # an unknown tenant is named before its key is looked for
    path = folder.key_file(kind, name)
    return Control(found, folder, KeyPair.load(path), principal_id, heads_path=path.with_suffix(".heads"))


def open_session(
    control: Control,
    session: KeyPair,
    *,
    principal_id: str,
    ttl_ms: int = SESSION_TTL_MS,
    attributes: Attributes | None = None,
    issuer: str | None = None,
) -> None:
    """Open a session for the control key's own principal, or for a person with what a bridge says of one.

    Raises:
        RefusedError, NoAnswerError, PublishError: it was not opened.
    """
    offer = session.offer(Role.SESSION, principal_id, control.tenant.genesis)
    control.tell(
        SessionOpened(principal_id=principal_id, key=offer, ttl_ms=ttl_ms, attributes=attributes, issuer=issuer)
    )


def ask(
    publisher: Publisher,
    answers: Answers,
    body: Body,
    *,
    on_behalf_of: bytes | None = None,
    seconds: float,
) -> Answer:
    """Publish an event and wait for its answer. Raises NoAnswerError, PublishError, ForkedError, LogSetBackError."""
    sent = Sent(answers).publish(publisher, body, on_behalf_of=on_behalf_of)
    try:
        return sent.answer.result(seconds)
    except FutureTimeoutError:
        if not sent.give_up():
            return sent.answer.result()
        raise no_answer(type(body).__name__, seconds, sent.settle(), sent.event_id.hex()) from None
    except BaseException:
        sent.give_up()
        raise
