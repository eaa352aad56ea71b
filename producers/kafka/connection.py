"""One key that speaks for a principal in one tenant: it sends events, asks questions, and hears the log's answers.

For example:

    with Connection.registered(home, folder, folder.key("admin"), "admin") as connection:
        connection.ask(PrincipalRevoked(principal_id="shopper", kid=None, reason="left"))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from confluent_kafka import KafkaException

from processors.proof import jcs
from producers.home.clock import LogClock, clock_ms
from producers.home.home import Home, TenantHome
from producers.home.keys import KeyPair
from producers.kafka.answers import Answer, Answers
from producers.kafka.hearing import Hearing
from producers.kafka.intake import Author
from producers.kafka.link import TenantLink
from producers.kafka.outcomes import MalformedReplyError, RefusedError, no_answer, sentence_of
from producers.kafka.publisher import Publisher
from producers.kafka.registry_view import RegistryView
from producers.kafka.sent import Sent
from producers.kafka.verified import MonitorSigned
from schemas import limits
from schemas.errors import UnavailableError
from schemas.events.attributes import Attributes
from schemas.events.workflow import StateQueried
from schemas.reasons import Reason
from schemas.records import Body, SessionOpened
from schemas.words import Outcome, Role

CONTROL_SECONDS = 20.0
SESSION_TTL_MS = 3_600_000
PAGES_MAX = 2000  # of one list, pages that were read twice included; the longest list has half as many


class ConnectError(UnavailableError):
    """No connection was made: the brokers do not answer, or do not show the answers of this tenant."""


class Connection(AbstractContextManager["Connection"]):
    """Sends the events of one key and hears the answers to them. Thread-safe.

    `registry` and `trusted` verify for every reader of this tenant; `clock` is log time, learnt from the answers. They
    are shared with the other connections of the process (`link`), as are the producer and the consumer of answers.
    """

    def __init__(
        self,
        home: Home,
        tenant: TenantHome,
        key: KeyPair,
        principal_id: str,
        *,
        is_session: bool = False,
        answers_from: Mapping[int, int] | None = None,
        opened_by: Connection | None = None,
    ) -> None:
        """Connect with a key: a registered principal's, or with `is_session` that of an open session.

        `answers_from` gives offsets of `results` to read from, by partition; without it only later answers are heard.
        `opened_by` is the connection that opened the session: it is closed with this one.

        Raises:
            HomeError, SecurityError: the configuration is missing or wrong.
            ConnectError: the brokers do not say where the answers end. Nothing stays open then, but `opened_by`.
        """
        self.home, self.tenant, self.key, self.principal_id = home, tenant, key, principal_id
        self.is_session = is_session
        self._opened_by = opened_by
        with ExitStack() as opened:
            self.link = TenantLink.of(home, tenant)
            opened.callback(self.link.release)
            self.genesis = self.link.trusted.genesis
            hearing = self.link.hearing
            if answers_from is not None:  # the others do not wait until the answers from before are read
                ends, security = self.registry.ends, home.security
                hearing = Hearing(home.bootstrap, tenant.tenant, ends, security=security, start=answers_from)
                opened.callback(hearing.close)
            try:
                self.answers = Answers(hearing, self.link.trusted, {key.kid: key}, self.link.bodies)
            except KafkaException as exc:
                raise ConnectError(
                    f"the brokers at {home.bootstrap} do not say where the answers of {tenant.tenant} end: "
                    f"{exc.args[0].str()}; see whether they run"
                ) from exc
            self._shared = opened.pop_all()
        self.publisher = Publisher(self.link.intake, Author(key, principal_id, key.kid if is_session else None))

    @property
    def registry(self) -> RegistryView:
        """The registry of the tenant, as followed by this process."""
        return self.link.registry

    @property
    def trusted(self) -> MonitorSigned:
        """The check of the monitor's records."""
        return self.link.trusted

    @property
    def clock(self) -> LogClock:
        """Log time, as far as the answers to this process tell it."""
        return self.link.clock

    @classmethod
    def registered(cls, home: Home, tenant: TenantHome, key: KeyPair, otherwise: str) -> Connection:
        """Connect as the principal that the registry has for a key, or as `otherwise` while it does not have the key.

        Raises:
            HomeError, SecurityError, ConnectError, RegistryError.
        """
        with _share_of(home, tenant) as link:
            row = link.registry.key(key.kid)
            return cls(home, tenant, key, otherwise if row is None else row.principal_id)

    @classmethod
    def of_fresh_session(cls, home: Home, tenant: TenantHome, principal_id: str) -> Connection:
        """Connect with a fresh key for a session that another party, as a bridge, opens: no registered key is needed.

        Its `key` is offered to that party. Until the session is open, the log refuses the events of this connection.

        Raises:
            HomeError, SecurityError, ConnectError.
        """
        with _share_of(home, tenant) as link:
            return cls(home, tenant, link.session_key(), principal_id, is_session=True)

    def send(
        self, body: Body, *, on_behalf_of: bytes | None = None, within: bytes | None = None, sent: Sent | None = None
    ) -> Sent:
        """Publish an event and return it with the futures of its answers.

        `within` is the event of the call that is executed meanwhile; `sent` is the event where the caller has made it
        before, so as to hold it when the event leaves.

        Raises:
            PublishError: the connection is closed; nothing was sent.
            ForkedError: it was opened in another process; nothing was sent.
        """
        return (sent or Sent(self.answers)).publish(self.publisher, body, on_behalf_of=on_behalf_of, within=within)

    def ask(self, body: Body, *, on_behalf_of: bytes | None = None, seconds: float = CONTROL_SECONDS) -> Answer:
        """Publish an event and return its accepting answer.

        Raises:
            RefusedError: the log refused the event.
            NoAnswerError: no answer came within `seconds`.
            PublishError: the broker did not take the event.
            ForkedError, LogSetBackError.
        """
        return self.accepted(self.send(body, on_behalf_of=on_behalf_of), type(body).__name__, seconds=seconds)

    def accepted(self, sent: Sent, what: str, *, seconds: float = CONTROL_SECONDS) -> Answer:
        """Return the accepting answer to an event that was sent; `what` names it in errors. Raises as `ask`."""
        answer = self._answer(sent, what, seconds)
        if answer.result.outcome != Outcome.ACCEPTED:
            raise RefusedError(sentence_of(answer, f"{what} was refused"), reason=answer.result.reason, answer=answer)
        return answer

    def _answer(self, sent: Sent, what: str, seconds: float) -> Answer:
        try:
            answer = sent.answer.result(seconds)
        except FutureTimeoutError:
            if sent.give_up():
                raise no_answer(what, seconds, sent.settle(), sent.event_id.hex()) from None
            answer = sent.answer.result()
        except BaseException:
            sent.give_up()
            raise
        self.clock.note(sent.sent_ms, answer.result.at, clock_ms())
        return answer

    def query(self, what: str, argument: jcs.JSONValue = None) -> dict[str, Any]:
        """Return the log's answer to a question, as JSON. Raises as `ask`, and MalformedReplyError."""
        return reply_in(self.ask(StateQueried(what=what, argument=jcs.canonical(argument).decode())))

    def pages(self, what: str) -> list[dict[str, Any]]:
        """Return every page of a list that the log keeps: the query is repeated with the `next` of each page.

        If the row at which a page ended has left the list, the list is read again from its beginning. At most
        PAGES_MAX queries are sent. Raises as `query`.
        """
        read: list[dict[str, Any]] = []
        argument: jcs.JSONValue = None
        for _ in range(PAGES_MAX):
            try:
                page = self.query(what, argument)
            except RefusedError as exc:
                if not read or exc.reason != Reason.QUERY_INVALID:
                    raise
                read, argument = [], None
                continue
            following = page.get("next")
            if following is not None and any(one.get("next") == following for one in read):
                raise MalformedReplyError(f"the log's pages of {what} do not go on: two name the same next page")
            read.append(page)
            if following is None:
                return read
            argument = following
        raise MalformedReplyError(f"the log's pages of {what} do not end within {PAGES_MAX} questions")

    def open_session(
        self,
        session: KeyPair,
        *,
        principal_id: str,
        ttl_ms: int = SESSION_TTL_MS,
        attributes: Attributes | None = None,
        issuer: str | None = None,
    ) -> None:
        """Open a session for the key's own principal, or for a person with the attributes that a bridge gives.

        Raises:
            RefusedError, NoAnswerError, PublishError: the session was not opened, as far as is known.
        """
        offer = session.offer(Role.SESSION, principal_id, self.genesis)
        self.ask(
            SessionOpened(principal_id=principal_id, key=offer, ttl_ms=ttl_ms, attributes=attributes, issuer=issuer)
        )

    def of_session(self, session: KeyPair, principal_id: str | None = None) -> Connection:
        """Return the connection of a session that was opened here, for this principal or, by a bridge, for another one.

        Closing it closes this one.
        """
        name = self.principal_id if principal_id is None else principal_id
        return Connection(self.home, self.tenant, session, name, is_session=True, opened_by=self)

    @property
    def is_elsewhere(self) -> bool:
        """Whether it was opened in another process, before a fork: then there is nothing to close here."""
        return self.publisher.is_elsewhere

    def close(self) -> None:
        """Wait until the events that are queued are sent, and end the connection; those of other clients go on."""
        with ExitStack() as closing:  # in the opposite order, and all of them
            if self._opened_by is not None:
                closing.callback(self._opened_by.close)
            closing.callback(self._shared.close)
            closing.callback(self.answers.close)
            closing.callback(self.publisher.close)

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _share_of(home: Home, tenant: TenantHome) -> Iterator[TenantLink]:
    """Keep the link of this process open until the block ends. Raises HomeError, SecurityError."""
    link = TenantLink.of(home, tenant)
    try:
        yield link
    finally:
        link.release()


def rows_in(pages: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the rows that pages hold under a name. Raises MalformedReplyError."""
    rows: list[dict[str, Any]] = []
    for page in pages:
        found = page.get(name)
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise MalformedReplyError(f"the log's reply holds no list {name!r}")
        rows += found
    return rows


def reply_in(answer: Answer) -> dict[str, Any]:
    """Return the JSON object that came sealed with an answer. Raises MalformedReplyError."""
    try:
        value = jcs.parse_strict((answer.body or "").encode(), nodes_max=limits.OUTPUT_PAYLOAD_BYTES_MAX)
    except (jcs.MalformedJSONError, UnicodeEncodeError) as exc:
        raise MalformedReplyError("the log's reply is not strict JSON", answer=answer) from exc
    if not isinstance(value, dict):
        raise MalformedReplyError("the log's reply is not a JSON object", answer=answer)
    return value
