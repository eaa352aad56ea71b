"""Sessions that live on: each new token of a kept login renews the session that it opened."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from producers.identity import KeptLogin, Login, RemoteIdentityProvider, TokenKeeper
from schemas.errors import MacawError, UnavailableError

log = logging.getLogger(__name__)

ATTEMPTS = 3  # of one renewal, while no bridge answers
PAUSE_SECONDS = 5.0


def keep_renewing(
    renew: Callable[[str], object],
    provider: RemoteIdentityProvider,
    login: Login,
    on_lost: Callable[[Exception], object] | None = None,
) -> KeptLogin:
    """Keep a login, and call `renew` with each new token, on a thread of its own: a bridge may take its time.

    `on_lost` is called once, with the reason, when either of them cannot go on. Raises as `TokenKeeper.keep`.
    """
    renewing = _Renewing(renew, on_lost or (lambda _: None))
    renewing.kept = TokenKeeper.shared().keep(provider, login, renewing.on_token, renewing.lose)
    return renewing.kept


class _Renewing:
    """The renewals of one session."""

    kept: KeptLogin | None = None

    def __init__(self, renew: Callable[[str], object], on_lost: Callable[[Exception], object]) -> None:
        self._renew, self._on_lost = renew, on_lost
        self._over = threading.Event()

    def on_token(self, newer: Login) -> None:
        threading.Thread(target=self._use, args=(newer,), name="renewal", daemon=True).start()

    def _use(self, newer: Login) -> None:
        """Renew the session with a new token; while no bridge answers, again after a pause."""
        for _ in range(ATTEMPTS):
            try:
                self._renew(newer.access_token)
            except UnavailableError as exc:
                log.warning("a session was not renewed yet: %s", exc)
                if self._over.wait(PAUSE_SECONDS):
                    return
            except MacawError as exc:
                self.lose(exc)
                return
            else:
                return

    def lose(self, exc: Exception) -> None:
        """End the renewals, and tell why; a second call does nothing."""
        if self._over.is_set():
            return
        self._over.set()
        if self.kept is not None:
            self.kept.stop()
        log.warning("a session is not renewed any more, and ends at its time: %s", exc)
        self._on_lost(exc)
