"""The desk for logout tokens of one tenant: each from its text to the log's word that the login has ended.

    text ── issuer trusted? ── keys ── verified (tokens/logout.py) ──> LoginEnded on intake ── the log's answer

Anybody may send texts, so each costs little until a signature of a trusted provider is there, and the work under way is
bounded in number and in time. A token that was accepted is not said again while it lives; to say it twice would do no
harm, since a login that has ended ends no further.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from processors.identity import bridging
from processors.identity.bridging import BridgeIdentity, LoginReason, LoginRefusedError
from processors.identity.tokens.jose import parse_compact
from processors.identity.tokens.key_sets import KeySet
from processors.identity.tokens.logout import LogoutToken, verify_logout_token
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.identity.tokens.verify import claimed_issuer
from producers.kafka.answers import Answer
from schemas.errors import MacawError, OutcomeError, UnavailableError
from schemas.events.logins import LoginEnded
from schemas.rows import ProviderRow
from schemas.words import Outcome
from streams.bridge.desk import Trust
from streams.bridge.key_cache import KeyTerms, terms_of
from streams.bridge.reasons import FetchError

ANSWER_SECONDS = 5.0  # for keys and the log together
UNDER_WAY_MAX = 32  # tokens of one tenant that wait for keys or for the log
WAITING_FOR_KEYS_MAX = 8  # of them; those that wait for the log have a provider's signature
REMEMBERED_MAX = 4096  # accepted tokens of one tenant, each for at most six minutes

_Named = tuple[str, str, str | None, str | None]  # a provider that uses a `jti` twice for two logins ends both


class LogoutUnansweredError(UnavailableError):
    """Nothing is known of a logout token yet: it may be sent again. The text has no part of the token."""


class LogoutRefusedError(OutcomeError):
    """The log refused the end of a login. `reason` is the log's code."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the log refused the end of a login: {reason}")
        self.reason = reason


class Saying(Protocol):
    """An event on its way to the log's answer (`producers.kafka.sent.Sent`)."""

    answer: Future[Answer]

    def give_up(self) -> bool:
        """Listen no longer."""


class KeySource(Protocol):
    """The key sets of issuers (`key_cache.KeyCache`)."""

    def known(self, terms: KeyTerms) -> KeySet | None:
        """Return the key set that counts now, None if it must be requested."""

    def request(self, terms: KeyTerms, *, unknown_kid: str | None = None) -> Future[KeySet]:
        """Return a future of the key set."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A bridge that is connected, and can say for its tenant that a login has ended."""

    identity: BridgeIdentity
    trust: Trust
    publish: Callable[[LoginEnded], Saying]


class LogoutDesk:
    """Ends the logins of one tenant. Every method runs in one event loop."""

    def __init__(self, keys: KeySource, clock: Callable[[], int]) -> None:
        """`clock` gives the time in ms since the epoch."""
        self._keys, self._clock = keys, clock
        self._under_way = 0
        self._waiting_for_keys = 0
        self._saying: dict[_Named, asyncio.Task[None]] = {}
        self._said: OrderedDict[_Named, int] = OrderedDict()  # until when, the first accepted first

    @property
    def remembered(self) -> int:
        """The number of accepted tokens that are remembered."""
        return len(self._said)

    async def take(self, text: str, voices: Sequence[Voice]) -> None:
        """Return once the log has accepted the end of the login that a logout token names.

        Raises:
            TokenRefusedError: the token is refused.
            LoginRefusedError: the tenant does not trust its issuer.
            LogoutRefusedError: the log refused its event.
            LogoutUnansweredError: too much is under way, or keys or log did not answer in ANSWER_SECONDS.
        """
        if self._under_way >= UNDER_WAY_MAX:
            raise LogoutUnansweredError("too many logouts are under way")
        self._under_way += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                issuer = claimed_issuer(text)
                voice, row = _voice_for(issuer, voices)
                token = await self._verified(text, issuer, row)
                await self._say_once(token, voice)
        except TimeoutError:
            raise LogoutUnansweredError("the provider's keys or the log did not answer in time") from None
        finally:
            self._under_way -= 1

    async def _verified(self, text: str, issuer: str, row: ProviderRow) -> LogoutToken:
        """Return a token that counts, after a look at newer keys if need be. Raises as `take`."""
        rules, terms = bridging.rules_of(issuer, row), terms_of(issuer, row)
        keys = self._keys.known(terms) or await self._requested(terms, None)
        try:
            return verify_logout_token(text, rules, keys, self._clock())
        except TokenRefusedError as exc:
            if exc.reason is not TokenReason.TOKEN_KEY_UNKNOWN:
                raise
        keys = await self._requested(terms, parse_compact(text).kid)
        return verify_logout_token(text, rules, keys, self._clock())

    async def _requested(self, terms: KeyTerms, kid: str | None) -> KeySet:
        if self._waiting_for_keys >= WAITING_FOR_KEYS_MAX:
            raise LogoutUnansweredError("too many logouts wait for keys")
        self._waiting_for_keys += 1
        try:
            return await asyncio.wrap_future(self._keys.request(terms, unknown_kid=kid))
        except FetchError as exc:
            raise LogoutUnansweredError(str(exc)) from None
        finally:
            self._waiting_for_keys -= 1

    async def _say_once(self, token: LogoutToken, voice: Voice) -> None:
        """Have the log told, unless it was told of this token before. Raises as `take`."""
        named = (token.issuer, token.token_id, token.session, token.subject)
        if self._said.get(named, 0) > self._clock():
            return
        saying = self._saying.get(named)
        if saying is None:
            saying = self._saying[named] = asyncio.ensure_future(self._say(named, token, voice))
            saying.add_done_callback(lambda done: self._ended(named, done))
        await asyncio.shield(saying)  # others that sent the same token wait for it too

    def _ended(self, named: _Named, done: asyncio.Task[None]) -> None:
        del self._saying[named]
        if not done.cancelled():
            done.exception()  # or asyncio logs it where all that waited have gone

    async def _say(self, named: _Named, token: LogoutToken, voice: Voice) -> None:
        events = bridging.ends_of(voice.identity.ref_secret, token)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answers = await _answers(voice, events)
        except (TimeoutError, MacawError):  # the connection is closed, or hears no answers any more
            raise LogoutUnansweredError("the log did not answer") from None
        for answer in answers:
            if answer.result.outcome != Outcome.ACCEPTED:
                raise LogoutRefusedError(answer.result.reason)
        self._said[named] = token.ends_at_ms
        self._said.move_to_end(named)
        self._forget()

    def _forget(self) -> None:
        """Forget tokens that have ended, and the oldest above the bound."""
        now = self._clock()
        while self._said and (len(self._said) > REMEMBERED_MAX or next(iter(self._said.values())) <= now):
            self._said.popitem(last=False)


def _voice_for(issuer: str, voices: Sequence[Voice]) -> tuple[Voice, ProviderRow]:
    """Return a bridge that speaks for an issuer, and the trust in it. Raises as `LogoutDesk.take`."""
    if not voices:
        raise LogoutUnansweredError("no bridge of this tenant is connected")
    for voice in voices:
        row = voice.trust.row(issuer)
        if row is not None:
            return voice, row
    raise LoginRefusedError(LoginReason.LOGIN_ISSUER)


async def _answers(voice: Voice, events: Sequence[LoginEnded]) -> list[Answer]:
    """Publish events and return the log's answers; if one fails, the others are given up."""
    sayings: list[Saying] = []
    try:
        sayings += map(voice.publish, events)
        return await asyncio.gather(*(asyncio.wrap_future(one.answer) for one in sayings))
    finally:
        for one in sayings:
            if not one.answer.done():
                one.give_up()
