"""The key sets of identity providers as values, kept for the process that judges logins.

The caller never waits here: `known` looks, `request` gives a future, and a few threads fetch. The rules:

- Keys belong to terms: the issuer with the private hosts that the trust names. Under other terms they are not known.
- A set counts as fresh for `max-age`, bounded; for a grace after that it is still given while a fetch is under way.
  Later it is given only if a fetch was tried since and failed, and never beyond the hard age. So no key that the
  provider has withdrawn is used unasked, and an outage of the provider does not end logins at once.
- One fetch for an issuer is under way at a time, and all that wait share it. After a failure further ones wait, longer
  each time; requests meanwhile get the last good set, or fail at once with the last reason.
- An unknown `kid` causes a fetch, but not within KID_SECONDS of the last such fetch of the issuer, and not if a fetch
  has just shown it to be unknown. So a flood of invented kids costs the provider one fetch in that time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from processors.identity.tokens.key_sets import KeySet, parse_key_set
from processors.identity.tokens.reasons import KeySetError
from processors.text.characters import quoted
from schemas import limits
from schemas.rows import ProviderRow
from streams.bridge.fetching import FETCH_SECONDS, Document, Fetcher
from streams.bridge.reasons import FetchError, FetchReason

log = logging.getLogger(__name__)

FRESH_SECONDS_MIN = 300.0
FRESH_SECONDS = 600.0  # without `max-age`
FRESH_SECONDS_MAX = 3600.0
GRACE_SECONDS = (
    60.0  # a set that was fresh until then is given while the next is fetched, so a busy issuer has no pause
)
HARD_SECONDS = 24 * 3600.0
BACKOFF_SECONDS_MIN = 5.0
BACKOFF_SECONDS_MAX = 60.0
KID_SECONDS = 10.0
UNKNOWN_SECONDS = 30.0
UNKNOWN_KIDS_MAX = 64  # remembered of one issuer
ROUND_SECONDS = 8.0  # for the documents of one fetch together
THREADS_MAX = 8  # 64 dead providers, each asked for 8 s and left alone for 60 s, keep 7.5 busy
CLOSE_SECONDS = 0.5

_OPENID = "/.well-known/openid-configuration"
_OAUTH = "/.well-known/oauth-authorization-server"


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """An issuer, and the hosts at which its keys may lie although their addresses are not public."""

    issuer: str
    private_hosts: frozenset[str] = frozenset()


def terms_of(issuer: str, row: ProviderRow) -> KeyTerms:
    """Return the terms on which a tenant trusts an issuer."""
    return KeyTerms(issuer, frozenset(row.private_hosts))


@dataclass(slots=True)
class _Flight:
    """One fetch, queued or under way. On failure `loaded` may still give the last good set, `for_kid` does not."""

    loaded: Future[KeySet] = field(default_factory=Future)
    for_kid: Future[KeySet] = field(default_factory=Future)
    kids: set[str] = field(default_factory=set)  # those whose requests came before it began
    has_begun: bool = False


@dataclass(slots=True)
class _Issuer:
    """Everything known of one issuer under one set of terms. All times are those of the clock."""

    keys: KeySet | None = None
    fetched_at: float = 0.0
    fresh_until: float = 0.0
    flight: _Flight | None = None
    failure: FetchError | None = None  # of the last fetch, None if it succeeded
    failures: int = 0
    retry_at: float = 0.0
    kid_at: float | None = None
    unknown: OrderedDict[str, float] = field(default_factory=OrderedDict)


class KeyCache:
    """Key sets by terms. Every method may be called from any thread, and none waits for the network.

    `clock` gives seconds and never runs backwards. The cache closes its `fetcher`.
    """

    def __init__(
        self,
        *,
        hard_seconds: float = HARD_SECONDS,
        issuers_max: int = limits.PROVIDERS_MAX,
        clock: Callable[[], float] = time.monotonic,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._fetcher = Fetcher() if fetcher is None else fetcher
        self._hard_seconds = hard_seconds
        self._issuers_max = issuers_max
        self._clock = clock
        self._changed = threading.Condition()
        self._issuers: OrderedDict[KeyTerms, _Issuer] = OrderedDict()  # the least recently used first
        self._queue: deque[KeyTerms] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._is_closed = False
        with self._changed:
            self._start_thread()

    def known(self, terms: KeyTerms) -> KeySet | None:
        """Return the key set to judge tokens of an issuer by now, or None: then `request` it.

        A set that is no longer fresh is fetched again in the background.
        """
        with self._changed:
            issuer = self._issuers.get(terms)
            if issuer is None or self._is_closed:
                return None
            self._issuers.move_to_end(terms)
            now = self._clock()
            if now >= issuer.fresh_until and now >= issuer.retry_at:
                self._launch(terms, issuer)
            return self._usable(issuer, now)

    def request(self, terms: KeyTerms, *, unknown_kid: str | None = None) -> Future[KeySet]:
        """Return a future of the key set of an issuer; it may be done already. Cancelling it has no effect.

        The terms come from a row of the tenant, never from a token. With the `kid` of a token that the known set lacks,
        the future gives the newest set that may be had for it now: if that lacks the kid too, the token is refused for
        good. The future raises FetchError if no set may be used: the login fails with its reason. Callbacks of the
        future run on a thread of the cache, or at once on the caller's, and must not wait.
        """
        with self._changed:
            if self._is_closed:
                return _failed(FetchError(FetchReason.FETCH_STOPPED))
            issuer = self._entry(terms)
            if issuer is None:
                return _failed(FetchError(FetchReason.FETCH_BUSY, "issuers"))
            now = self._clock()
            if unknown_kid is None:
                return self._current(terms, issuer, now)
            return self._for_kid(terms, issuer, unknown_kid, now)

    def close(self) -> None:
        """End every fetch and every wait (FETCH_STOPPED). Returns within a second."""
        with self._changed:
            self._is_closed = True
            self._queue.clear()
            flights = [issuer.flight for issuer in self._issuers.values() if issuer.flight is not None]
            self._issuers.clear()
            threads = list(self._threads)
            self._changed.notify_all()
        self._fetcher.close()
        for flight in flights:
            stopped = FetchError(FetchReason.FETCH_STOPPED)
            _settle(flight, stopped, stopped)
        until = time.monotonic() + CLOSE_SECONDS
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    # ---- under the lock

    def _current(self, terms: KeyTerms, issuer: _Issuer, now: float) -> Future[KeySet]:
        keys = self._usable(issuer, now)
        if keys is not None:
            if now >= issuer.fresh_until and now >= issuer.retry_at:
                self._launch(terms, issuer)
            return _done(keys)
        if issuer.flight is None and issuer.failure is not None and now < issuer.retry_at:
            return _failed(issuer.failure)
        return self._launch(terms, issuer).loaded

    def _for_kid(self, terms: KeyTerms, issuer: _Issuer, kid: str, now: float) -> Future[KeySet]:
        keys = self._usable(issuer, now)
        if keys is None:
            return self._current(terms, issuer, now)
        if len(kid) > limits.KEY_ID_CHARS_MAX or _has(keys, kid) or now < issuer.unknown.get(kid, now):
            return _done(keys)
        if issuer.flight is None:
            if issuer.failure is not None and now < issuer.retry_at:
                return _failed(issuer.failure)
            if issuer.kid_at is not None and now < issuer.kid_at + KID_SECONDS:
                return _done(keys)
            issuer.kid_at = now
        flight = self._launch(terms, issuer)
        if not flight.has_begun and len(flight.kids) < UNKNOWN_KIDS_MAX:
            flight.kids.add(kid)
        return flight.for_kid

    def _usable(self, issuer: _Issuer, now: float) -> KeySet | None:
        """Return the set that may be given now: it is fresh or nearly so, or a fetch has just failed."""
        is_tried = issuer.failure is not None and now < issuer.retry_at + GRACE_SECONDS
        is_given = (
            is_tried or now < issuer.fresh_until + GRACE_SECONDS
        ) and now < issuer.fetched_at + self._hard_seconds
        return issuer.keys if is_given else None

    def _entry(self, terms: KeyTerms) -> _Issuer | None:
        """Return the entry of an issuer, a new one if need be; None if every entry waits for a fetch."""
        issuer = self._issuers.get(terms)
        if issuer is None:
            if len(self._issuers) >= self._issuers_max:
                idle = next((key for key, one in self._issuers.items() if one.flight is None), None)
                if idle is None:
                    return None
                del self._issuers[idle]
            issuer = self._issuers[terms] = _Issuer()
        self._issuers.move_to_end(terms)
        return issuer

    def _launch(self, terms: KeyTerms, issuer: _Issuer) -> _Flight:
        """Return the fetch under way for an issuer, a new one if there is none."""
        if issuer.flight is None:
            issuer.flight = _Flight()
            issuer.flight.loaded.set_running_or_notify_cancel()
            issuer.flight.for_kid.set_running_or_notify_cancel()
            self._queue.append(terms)
            if len(self._queue) > self._idle and len(self._threads) < THREADS_MAX:
                with suppress(RuntimeError):  # the system has no thread left: the first one does all the work
                    self._start_thread()
            self._changed.notify()
        return issuer.flight

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="fetch keys", daemon=True)
        thread.start()
        self._threads.append(thread)

    # ---- on the threads of the cache

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._queue and not self._is_closed:
                    self._changed.wait()
                self._idle -= 1
                if self._is_closed:
                    return
                terms = self._queue.popleft()
                issuer = self._issuers[terms]
                flight = issuer.flight
                assert flight is not None
                flight.has_begun = True
            outcome = self._load(terms)
            with self._changed:
                if self._is_closed:
                    return  # `close` has told those who wait
                kept = self._note(issuer, flight, outcome)
            _settle(flight, kept, outcome if isinstance(outcome, FetchError) else outcome[0])

    def _load(self, terms: KeyTerms) -> tuple[KeySet, float] | FetchError:
        """Fetch a key set, and the seconds for which it is fresh."""
        try:
            return self._round(terms)
        except FetchError as exc:
            failure = exc.again()
        except Exception as exc:  # noqa: BLE001 - a thread that ends would leave every login of the issuer waiting
            log.error("the keys of %s: %s", quoted(terms.issuer), type(exc).__name__)  # noqa: TRY400 - no traceback
            failure = FetchError(FetchReason.FETCH_FAILED)
        if not self._is_closed:
            log.warning("the keys of %s are not fetched: %s", quoted(terms.issuer), failure)
        return failure

    def _note(
        self, issuer: _Issuer, flight: _Flight, outcome: tuple[KeySet, float] | FetchError
    ) -> KeySet | FetchError:
        """Keep the outcome of a fetch; return that for requests without a kid."""
        now = self._clock()
        issuer.flight = None
        if isinstance(outcome, FetchError):
            issuer.failure = outcome
            issuer.failures += 1
            wait = min(BACKOFF_SECONDS_MIN * 2.0 ** min(issuer.failures - 1, 16), BACKOFF_SECONDS_MAX)
            issuer.retry_at = now + wait
            return self._usable(issuer, now) or outcome
        keys, fresh_seconds = outcome
        issuer.keys, issuer.fetched_at, issuer.fresh_until = keys, now, now + fresh_seconds
        issuer.failure, issuer.failures, issuer.retry_at = None, 0, now
        for kid in sorted(flight.kids):
            issuer.unknown.pop(kid, None)
            if not _has(keys, kid):
                issuer.unknown[kid] = now + UNKNOWN_SECONDS
        while len(issuer.unknown) > UNKNOWN_KIDS_MAX:
            issuer.unknown.popitem(last=False)
        return keys

    def _round(self, terms: KeyTerms) -> tuple[KeySet, float]:
        """Fetch the metadata of an issuer and its key set. Raises FetchError."""
        until = time.monotonic() + ROUND_SECONDS

        def fetch(url: str, document: str) -> Document:
            seconds = min(FETCH_SECONDS, until - time.monotonic())
            try:
                return self._fetcher.fetch(url, terms.private_hosts, seconds=seconds)
            except FetchError as exc:
                raise exc.within(document) from None

        openid, oauth = metadata_urls(terms.issuer)
        try:
            metadata = fetch(openid, "metadata").value
        except FetchError as exc:
            if exc.status != HTTPStatus.NOT_FOUND:
                raise
            metadata = fetch(oauth, "metadata").value
        issuer, address = metadata.get("issuer"), metadata.get("jwks_uri")
        if not isinstance(issuer, str) or not isinstance(address, str):
            raise FetchError(FetchReason.FETCH_METADATA)
        if issuer != terms.issuer:
            raise FetchError(FetchReason.FETCH_ISSUER)
        document = fetch(address, "key set")
        try:
            keys = parse_key_set(document.data)
        except KeySetError as exc:
            raise FetchError(exc.reason, exc.detail) from None
        seconds = FRESH_SECONDS if document.max_age_s is None else float(document.max_age_s)
        return keys, min(max(seconds, FRESH_SECONDS_MIN), FRESH_SECONDS_MAX)


def metadata_urls(issuer: str) -> tuple[str, str]:
    """Return the two addresses of an issuer's metadata: OpenID Connect Discovery 1.0, 4, and RFC 8414, 3.1."""
    base = issuer.removesuffix("/")
    scheme, _, rest = base.partition("://")
    host, slash, path = rest.partition("/")
    return f"{base}{_OPENID}", f"{scheme}://{host}{_OAUTH}{slash}{path}"


def _has(keys: KeySet, kid: str) -> bool:
    return any(key.kid == kid for key in keys.usable) or any(key.kid == kid for key in keys.unusable)


def _done(keys: KeySet) -> Future[KeySet]:
    future: Future[KeySet] = Future()
    future.set_result(keys)
    return future


def _failed(failure: FetchError) -> Future[KeySet]:
    future: Future[KeySet] = Future()
    future.set_exception(failure.again())
    return future


def _settle(flight: _Flight, loaded: KeySet | FetchError, for_kid: KeySet | FetchError) -> None:
    """End the waits. Callbacks run here, so the caller holds no lock."""
    for future, outcome in ((flight.loaded, loaded), (flight.for_kid, for_kid)):
        if isinstance(outcome, FetchError):
            future.set_exception(outcome.again())
        else:
            future.set_result(outcome)
