"""Tokens kept fresh in the background: one thread of the process renews every login that it is given, before its end.

A login is renewed at about two thirds of its token's life. A provider that does not answer is asked again with growing
pauses, until the token has ended. A provider that is away is asked for one login at a time, so that the logins at
other providers do not wait for it.
"""

from __future__ import annotations

import heapq
import logging
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from producers.home.process import ForkedError, OfOneProcess
from producers.identity.errors import LoginError, LoginSettingsError, ProviderUnavailableError
from producers.identity.login import Login
from producers.identity.pace import SYSTEM_PACE, Pace
from producers.identity.provider import RemoteIdentityProvider
from schemas.errors import MacawError, MisuseError

log = logging.getLogger(__name__)

AT_PART = 2 / 3  # of the life of a token it is renewed
JITTER_PART = 0.1  # of the life earlier, at random: logins of one minute do not come back in one second
PAUSE_SECONDS = 5.0  # after the first failure; doubled after each
PAUSE_SECONDS_MAX = 60.0
RENEWALS_SECONDS_MIN = 1.0  # between two renewals of one login, whatever its provider says
SLICE_SECONDS = 30.0  # after a sleep of the machine the thread looks at the clock within this time
CLOSE_SECONDS = 25.0  # longer than a renewal takes: metadata and token, 10 s each

OnToken = Callable[[Login], object]
OnLost = Callable[[MacawError], object]
Renew = Callable[[Login], Login]


@dataclass(slots=True, eq=False)
class KeptLogin:
    """A login in a keeper's care. `login` is the newest."""

    login: Login
    on_token: OnToken = field(repr=False)
    on_lost: OnLost = field(repr=False)
    renew: Renew = field(repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False)

    def stop(self) -> None:
        """Renew it no more. A renewal that is under way ends without a call of `on_token`."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """True after `stop`, and after the login was lost."""
        return self._stopped.is_set()


@dataclass(slots=True)
class _Away:
    """A provider that did not answer: until when it is not asked, the pause before that, and the error."""

    until: float
    pause: float
    why: ProviderUnavailableError


class TokenKeeper(OfOneProcess):
    """Renews logins on one thread, which runs while there is a login to keep. Thread-safe.

    The callbacks run on that thread, one after the other: they return soon, and an error in one is logged by its class
    alone. After a fork the child's logins are not kept: it logs in by itself, and has a keeper of its own.
    """

    def __init__(self, *, pace: Pace = SYSTEM_PACE, chance: Callable[[], float] = random.random) -> None:
        """`pace` and `chance`, a number from 0 up to 1, are for tests."""
        self._pace, self._chance = pace, chance
        self._lock = threading.Lock()
        self._queue: list[tuple[float, int, KeptLogin]] = []
        self._away: dict[str, _Away] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._number = 0

    @classmethod
    def shared(cls) -> TokenKeeper:
        """Return the keeper of this process. Use it unless there is a reason for a thread of one's own."""
        return _Shared.keeper()

    def keep(
        self,
        provider: RemoteIdentityProvider,
        login: Login,
        on_token: OnToken,
        on_lost: OnLost,
        *,
        renew: Renew | None = None,
    ) -> KeptLogin:
        """Keep a login fresh: `on_token(login)` gets each new one, `on_lost(error)` is called once, if it cannot go on.

        `renew` returns a later login, by default `provider.refresh`; for a kept login see `stored.refresh_login`.

        Raises:
            MisuseError: the login cannot be renewed without a person, or the keeper is closed.
            ForkedError: the keeper or the login is of another process.
        """
        self.check_process()
        login.line.check_process()
        if not login.can_renew:
            raise MisuseError(
                "the provider gave no refresh token, so the login ends with its token: ask for `offline_access`"
            )
        kept = KeptLogin(login, on_token, on_lost, renew or provider.refresh)
        with self._lock:
            if self._is_closed:
                raise MisuseError("the keeper is closed: make another one")
            self._push(self._due(login), kept)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="identity-keeper", daemon=True)
                self._thread.start()
        self._wake.set()
        return kept

    def close(self) -> None:
        """Stop keeping, and wait until a renewal that is under way has ended. A second call does nothing."""
        if self.is_elsewhere:
            return  # the thread is the parent's
        with self._lock:
            self._is_closed, thread = True, self._thread
            self._queue.clear()
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS)

    def check_process(self) -> None:
        """Raise ForkedError in another process than that of the keeper."""
        if self.is_elsewhere:
            raise ForkedError("this keeper was made before a fork: log in and keep logins in each process after it")

    def _due(self, login: Login) -> float:
        """Return when to renew a login."""
        part = AT_PART - JITTER_PART * self._chance()
        return max(login.ends_at - login.expires_in * (1 - part), self._pace.now() + RENEWALS_SECONDS_MIN)

    def _push(self, due: float, kept: KeptLogin) -> None:
        self._number += 1  # so that two of one time are never compared
        heapq.heappush(self._queue, (due, self._number, kept))

    def _run(self) -> None:
        while (kept := self._next()) is not None:
            if not kept.is_stopped:
                self._renew(kept)

    def _next(self) -> KeptLogin | None:
        """Return the next login that is due; None once there is none to keep, which ends the thread."""
        while True:
            with self._lock:
                self._wake.clear()
                self._queue = [one for one in self._queue if not one[2].is_stopped]
                heapq.heapify(self._queue)
                if not self._queue:
                    self._thread = None
                    return None
                due, _, kept = self._queue[0]
                left = due - self._pace.now()
                if left <= 0:
                    heapq.heappop(self._queue)
                    return kept
            self._pace.wait(self._wake, min(left, SLICE_SECONDS))

    def _renew(self, kept: KeptLogin) -> None:
        login, now = kept.login, self._pace.now()
        away = self._away.get(login.issuer)
        if away is not None and now < away.until:
            self._put_off(kept, away, now)
            return
        try:
            renewed = kept.renew(login)
        except ProviderUnavailableError as exc:
            self._is_away(kept, exc)
        except (LoginError, LoginSettingsError, ForkedError) as exc:
            self._lose(kept, exc)
        except Exception as exc:  # noqa: BLE001 - the thread keeps other logins too; the error is told by its class
            self._lose(kept, MisuseError(f"the login could not be renewed: {type(exc).__name__}"))
        else:
            self._away.pop(login.issuer, None)
            kept.login = renewed
            self._again(self._due(renewed), kept)
            if not kept.is_stopped:
                _called(lambda: kept.on_token(renewed), "on_token")

    def _is_away(self, kept: KeptLogin, exc: ProviderUnavailableError) -> None:
        now, before = self._pace.now(), self._away.get(kept.login.issuer)
        pause = PAUSE_SECONDS if before is None else min(2 * before.pause, PAUSE_SECONDS_MAX)
        away = self._away[kept.login.issuer] = _Away(now + pause, pause, exc)
        self._put_off(kept, away, now)

    def _put_off(self, kept: KeptLogin, away: _Away, now: float) -> None:
        """Renew a login when its provider is asked again, or at the end of its token; at its end it is lost."""
        if now >= kept.login.ends_at:
            self._lose(kept, away.why)
        else:
            self._again(min(away.until, kept.login.ends_at), kept)

    def _lose(self, kept: KeptLogin, exc: MacawError) -> None:
        was_stopped = kept.is_stopped
        kept.stop()
        if not was_stopped:
            _called(lambda: kept.on_lost(exc), "on_lost")

    def _again(self, due: float, kept: KeptLogin) -> None:
        with self._lock:
            if not self._is_closed:
                self._push(due, kept)


def _called(callback: Callable[[], object], name: str) -> None:
    try:
        callback()
    except Exception as exc:  # noqa: BLE001 - the program's own; it may quote a token, so its class alone is logged
        log.error(  # noqa: TRY400 - a traceback shows the message
            "a callback %s of a kept login raised %s", name, type(exc).__name__
        )


class _Shared:
    """The one keeper of this process."""

    _lock = threading.Lock()
    _keeper: TokenKeeper | None = None

    @classmethod
    def keeper(cls) -> TokenKeeper:
        with cls._lock:
            if cls._keeper is None:
                cls._keeper = TokenKeeper()
            return cls._keeper

    @classmethod
    def forget(cls) -> None:
        """Be as new in a child: its lock may have been held by a thread that it does not have."""
        cls._lock, cls._keeper = threading.Lock(), None


os.register_at_fork(after_in_child=_Shared.forget)
