"""The desk of a bridge: each login of one tenant from its sealed record to its answer. It reads and writes no topic.

    sealed login ── opened, judged (processors/identity/bridging.py) ──> event on intake ── the log's answer ──> answer

A login waits while keys are fetched for it, and the others go on. Every login ends: with the log's word, with a reason,
or with the end of its own time. Reasons of refusals go to the log as well (`refusals.py`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from processors.identity import bridging
from processors.identity.bridging import BridgeIdentity, LoginReason, LoginRefusedError
from processors.identity.claims.model import ClaimsMapping
from processors.identity.tokens.jose import parse_compact
from processors.identity.tokens.key_sets import KeySet
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.proof.sealing import Opens, SealingError, open_sealed
from producers.kafka.answers import Answer
from producers.kafka.sent import Sent
from schemas.events.logins import LoginAnswer, LoginRequested, SealedLogin, SessionRenewed
from schemas.reasons import ReasonCode
from schemas.records import SessionOpened
from schemas.rows import ProviderRow
from schemas.words import Outcome
from streams.bridge.key_cache import KeyCache, KeyTerms, terms_of
from streams.bridge.reasons import FetchError
from streams.meters import Tally

log = logging.getLogger(__name__)

WAITING_MAX = 1024  # logins that wait for keys, and as many that wait for the log
WAITING_PER_ISSUER_MAX = 512  # so that a provider that is slow or down leaves room for the others

Publish = Callable[[SessionOpened | SessionRenewed], Sent]


class GivesAnswers(Protocol):
    """The way on which answers go (`answering.LoginAnswers`)."""

    def give(self, session: bytes, x25519: bytes, login: bytes, answer: LoginAnswer) -> None:
        """Send one answer."""


class NotesRefusals(Protocol):
    """The way on which refusals come to the log (`refusals.RefusedLogins`)."""

    def note(self, issuer: str | None, reason: str, login: bytes) -> None:
        """Take note of one refusal."""


class Trust(Protocol):
    """The tenant's trust as the registry has it now."""

    def row(self, issuer: str) -> ProviderRow | None:
        """Return the row of an issuer that this bridge may speak for, None for another one."""

    def rows(self) -> Mapping[str, ProviderRow]:
        """Return every row."""


@dataclass(slots=True, eq=False)
class _Open:
    """A login that has no answer yet."""

    digest: bytes
    session: bytes
    login: LoginRequested
    issuer: str | None = None
    trust: ProviderRow | None = None
    kid_was_asked: bool = False
    sent: Sent | None = None
    is_answered: bool = False
    waits_in: _Room | None = None


class _Room:
    """The places of logins that wait for one thing. A lock of the desk guards it.

    Keys and the log have a room each: a login with an invented `kid` waits for keys, and takes no place from one whose
    token is verified.
    """

    def __init__(self) -> None:
        self._by_issuer: dict[str, int] = {}
        self._count = 0

    def enter(self, one: _Open, issuer: str) -> bool:
        """Give a login a place; return False if there is none."""
        of_issuer = self._by_issuer.get(issuer, 0)
        if self._count >= WAITING_MAX or of_issuer >= WAITING_PER_ISSUER_MAX:
            return False
        self._count += 1
        self._by_issuer[issuer] = of_issuer + 1
        one.waits_in = self
        return True

    def leave(self, one: _Open, issuer: str) -> None:
        """Take the place of a login back. Requires that it has one."""
        one.waits_in = None
        self._count -= 1
        self._by_issuer[issuer] -= 1
        if not self._by_issuer[issuer]:
            del self._by_issuer[issuer]


class LoginDesk:
    """Judges logins and answers them. `take` and `tend` are called by one thread; the rest runs in callbacks too."""

    def __init__(
        self,
        identity: BridgeIdentity,
        *,
        halves: Callable[[], Iterable[Opens]],
        trust: Trust,
        keys: KeyCache,
        publish: Publish,
        answers: GivesAnswers,
        refusals: NotesRefusals,
        clock: Callable[[], int],
        mapping: Callable[[], ClaimsMapping | None] = lambda: None,
    ) -> None:
        """`halves` gives the X25519 halves that open, the present one first; `clock` the time in ms since the epoch."""
        self._identity, self._halves, self._trust = identity, halves, trust
        self._keys, self._publish, self._answers, self._refusals = keys, publish, answers, refusals
        self._clock, self._mapping = clock, mapping
        self._open: dict[bytes, _Open] = {}
        self._for_keys, self._for_log = _Room(), _Room()
        self._lock = threading.Lock()
        self.tally = Tally()  # answered logins by outcome and reason

    @property
    def waiting(self) -> int:
        """The number of logins without an answer."""
        return len(self._open)

    def take(self, sealed: SealedLogin, value: bytes, header: bytes, *, is_old: bool = False) -> None:
        """Take one record of the topic of logins that is sealed to this bridge.

        A record that was there before the bridge began (`is_old`) and is over had its answer, or nobody waits for it.
        """
        digest = sha256(value).digest()
        try:
            payload = self._opened(sealed, header)
            login = bridging.read_login(payload, sealed.session, self._identity)
        except LoginRefusedError as exc:
            self._refusals.note(None, exc.reason, digest)  # nobody proved a key to answer to
            return
        one = _Open(digest, sealed.session, login)
        if digest in self._open or (is_old and login.proof.expires_at <= self._clock()):
            return  # the same record once more, or one of the past
        try:
            bridging.check_time(login, self._clock())
            self._admit(one)
        except (LoginRefusedError, TokenRefusedError) as exc:
            self._refuse(one, exc.reason, exc.detail)
            return
        self._judge(one)

    def tend(self, *, at_once: bool = False) -> None:
        """End the logins that are over; with `at_once` all."""
        now = self._clock()
        over = [one for one in list(self._open.values()) if at_once or now >= one.login.proof.expires_at]
        for one in over:
            self._refuse(one, LoginReason.LOGIN_LATE if one.sent is None else LoginReason.LOGIN_SILENT)
            if one.sent is not None:
                one.sent.give_up()

    # ---- from the record to the event

    def _opened(self, sealed: SealedLogin, header: bytes) -> bytes:
        """Return the payload of a login. Raises LoginRefusedError."""
        for half in self._halves():
            try:
                return open_sealed(header, self._identity.kid, half, header[:32], sealed.payload_sha256)
            except SealingError:
                continue  # it may be sealed to a half from around a rotation
        raise LoginRefusedError(LoginReason.LOGIN_SEALED)

    def _admit(self, one: _Open) -> None:
        """Find the trust in a login's issuer and keep the login. Raises LoginRefusedError, TokenRefusedError."""
        issuer = bridging.issuer_of(one.login)
        one.trust = self._trust.row(issuer)
        if one.trust is None:
            raise LoginRefusedError(LoginReason.LOGIN_ISSUER)
        one.issuer = issuer
        with self._lock:
            self._open[one.digest] = one

    def _waits(self, one: _Open, room: _Room | None) -> bool:
        """Let a login wait in a room, None for none; return False if it is answered, or is refused for want of room."""
        assert one.issuer is not None
        with self._lock:
            if one.waits_in is not None:
                one.waits_in.leave(one, one.issuer)
            if one.is_answered:
                return False
            if room is None or room.enter(one, one.issuer):
                return True
        self._refuse(one, LoginReason.LOGIN_BUSY)
        return False

    def _judge(self, one: _Open, keys: KeySet | None = None) -> None:
        """Judge a login with its issuer's keys, or ask for them first."""
        assert one.issuer is not None
        assert one.trust is not None
        terms = terms_of(one.issuer, one.trust)
        keys = keys or self._keys.known(terms)
        if keys is None:
            self._ask(one, terms, None)
            return
        try:
            body = bridging.judge_login(
                one.login,
                one.issuer,
                one.trust,
                keys,
                self._identity,
                self._clock(),
                mapping=self._mapping(),
                others=self._trust.rows(),
            )
        except TokenRefusedError as exc:
            if exc.reason is TokenReason.TOKEN_KEY_UNKNOWN and not one.kid_was_asked:
                one.kid_was_asked = True
                self._ask(one, terms, parse_compact(one.login.token).kid)
            else:
                self._refuse(one, exc.reason, exc.detail)
        except LoginRefusedError as exc:
            self._refuse(one, exc.reason, exc.detail)
        else:
            self._say(one, body)

    def _ask(self, one: _Open, terms: KeyTerms, kid: str | None) -> None:
        """Judge a login once its issuer's keys are there."""
        if not self._waits(one, self._for_keys):
            return

        def have(found: Future[KeySet]) -> None:
            exc = found.exception()
            if exc is None:
                if self._waits(one, None):
                    self._judge(one, found.result())
            elif isinstance(exc, FetchError):
                self._refuse(one, exc.reason, exc.detail)
            else:
                log.error("the keys of an issuer are not known: %s", type(exc).__name__)

        # If `have` fails, the library logs it, and the login ends with its time.
        self._keys.request(terms, unknown_kid=kid).add_done_callback(have)

    # ---- from the event to the answer

    def _say(self, one: _Open, body: SessionOpened | SessionRenewed) -> None:
        if not self._waits(one, self._for_log):
            return
        sent = one.sent = self._publish(body)

        def heard(answer: Future[Answer]) -> None:
            if answer.cancelled():
                return
            if (exc := answer.exception()) is not None:
                log.warning("the log did not take a login: %s", exc)
                self._refuse(one, LoginReason.LOGIN_SILENT)
                return
            self._conclude(one, body, answer.result())

        sent.answer.add_done_callback(heard)

    def _conclude(self, one: _Open, body: SessionOpened | SessionRenewed, answer: Answer) -> None:
        """Answer a login as the log has answered its event. A refusal stands on the log already."""
        result = answer.result
        if result.outcome == Outcome.ACCEPTED:
            told = LoginAnswer(
                outcome=Outcome.ACCEPTED,
                reason="",
                detail="",
                principal_id=body.principal_id,
                expires_at=result.at + body.ttl_ms,
            )
        else:
            told = LoginAnswer(outcome=Outcome.REFUSED, reason=result.reason, detail=result.detail)
        self._answer(one, told)

    def _refuse(self, one: _Open, reason: ReasonCode, detail: str = "") -> None:
        """Answer a login with a refusal of the bridge's own, and have the log told."""
        sentence = f"{detail or reason.meaning}; {reason.step}"
        told = LoginAnswer(outcome=Outcome.REFUSED, reason=reason, detail=sentence)
        if self._answer(one, told):
            self._refusals.note(one.issuer, reason, one.digest)

    def _answer(self, one: _Open, told: LoginAnswer) -> bool:
        """Answer a login, once; return False if it has its answer already."""
        with self._lock:
            if one.is_answered:
                return False
            one.is_answered = True
            self._open.pop(one.digest, None)
            if one.waits_in is not None:
                assert one.issuer is not None
                one.waits_in.leave(one, one.issuer)
            self.tally.add(1, told.outcome, told.reason)
        self._answers.give(one.session, one.login.x25519, one.digest, told)
        return True
