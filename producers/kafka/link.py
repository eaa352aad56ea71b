"""A link to one tenant, which all clients of a process share: a registry view, a producer, a consumer of answers.

The first connection makes it, and the last one that closes ends it. A link that can do no more, because its thread was
ended or a log was set back, is given to no further connection: connecting again makes a new one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from producers.home.clock import LogClock
from producers.home.home import Home, TenantHome
from producers.home.keys import KeyPair
from producers.home.process import OfOneProcess
from producers.kafka.bodies import Bodies
from producers.kafka.decision_hearing import DecisionHearing
from producers.kafka.hearing import Hearing
from producers.kafka.intake import Intake
from producers.kafka.logins import Logins
from producers.kafka.offers import OfferBook
from producers.kafka.pulse import Pulse
from producers.kafka.registry_view import RegistryView
from producers.kafka.sessions_view import SessionsView
from producers.kafka.verified import MonitorSigned
from schemas import topics


class TenantLink(OfOneProcess):
    """The shared part of all connections of this process to one tenant of one installation. Thread-safe.

    `registry` and `trusted` verify for every reader of the tenant; `clock` is log time, learnt from all answers;
    `logins` asks bridges for sessions, and `bodies` sends and fetches bodies; each connects when it is first used.
    `offers` are those that were told.
    """

    def __init__(self, home: Home, tenant: TenantHome) -> None:
        """Make the link; `of` shares one. No broker is asked yet. Raises HomeError, SecurityError."""
        bootstrap, security, genesis = home.bootstrap, home.security, tenant.genesis
        self._shares = 0
        self.clock = LogClock()
        with ExitStack() as opened:
            self.registry = RegistryView.of(home, tenant)
            opened.callback(self.registry.close)
            self.trusted = MonitorSigned(self.registry, tenant=tenant.tenant, genesis=genesis)
            self.intake = Intake(bootstrap, tenant=tenant.tenant, genesis=genesis, security=security)
            opened.callback(self.intake.close)
            self.hearing = Hearing(bootstrap, tenant.tenant, self.registry.ends, security=security)
            opened.callback(self.hearing.close)
            self.offers = OfferBook(self.registry, tenant=tenant.tenant, genesis=genesis)
            self.bodies = Bodies(bootstrap, tenant=tenant.tenant, security=security)
            opened.callback(self.bodies.close)
            self.logins = Logins(
                bootstrap,
                self.registry,
                tenant=tenant.tenant,
                genesis=genesis,
                security=security,
                session_key=self.session_key,
            )
            opened.callback(self.logins.close)
            self.decisions = DecisionHearing(bootstrap, tenant.tenant, self.registry.ends, security=security)
            opened.callback(self.decisions.close)
            self.pulse = Pulse()
            self._sessions: SessionsView | None = None
            self._make_sessions = partial(
                SessionsView, self.registry, bootstrap, tenant=tenant.tenant, security=security
            )
            opened.callback(self._close_sessions)
            self._opened = opened.pop_all()  # in the opposite order, and all of them

    @classmethod
    def of(cls, home: Home, tenant: TenantHome) -> TenantLink:
        """Take a share in the link to a tenant: the one of this process, or a new one. `release` gives it back.

        Raises:
            HomeError, SecurityError: the configuration is missing or wrong.
        """
        place = _place_of(home, tenant)
        with _SHARED.lock:
            link = _SHARED.links.get(place)
            if link is None or not link.is_usable:
                link = _SHARED.links[place] = cls(home, tenant)
            link._shares += 1
        return link

    @property
    def is_usable(self) -> bool:
        """Whether a further connection may use it."""
        return self.intake.is_running and self.hearing.deaf is None and not self.registry.is_set_back

    def release(self) -> None:
        """Give a share back. With the last one the connections end."""
        if self.is_elsewhere:
            return
        with _SHARED.lock:
            self._shares -= 1
            if self._shares:
                return
            for place, link in list(_SHARED.links.items()):
                if link is self:
                    del _SHARED.links[place]
        self._opened.close()

    @property
    def sessions(self) -> SessionsView:
        """The ends of sessions, for those that execute calls; they are followed once the first one asks."""
        with _SHARED.lock:
            if self._sessions is None:
                self._sessions = self._make_sessions()
            return self._sessions

    def _close_sessions(self) -> None:
        if self._sessions is not None:
            self._sessions.close()

    def session_key(self) -> KeyPair:
        """Return a fresh key for a session, of which the answers come on a partition that is heard already, if any is.

        So a connection with this key asks the brokers for no place to begin at. A partition is two bits of the key id.
        """
        heard = self.hearing.reached()
        while True:
            key = KeyPair.generate()
            if not heard or topics.keyed_partition(key.kid) in heard:
                return key


@contextmanager
def logins_of(home: Home, tenant: TenantHome) -> Iterator[Logins]:
    """Give the logins of a tenant for the length of a block. Raises HomeError, SecurityError."""
    link = TenantLink.of(home, tenant)
    try:
        yield link.logins
    finally:
        link.release()


class _Shared:
    """The links of this process, by place."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin without a link, and with a lock that no thread holds."""
        self.lock = threading.Lock()
        self.links: dict[Hashable, TenantLink] = {}


_SHARED = _Shared()
# A child of a fork opens its own links; those of its parent are kept alive by `OfOneProcess`.
os.register_at_fork(after_in_child=_SHARED.begin)


def _place_of(home: Home, tenant: TenantHome) -> Hashable:
    """Return the key of a link: everything that its parts are made from. Raises HomeError, SecurityError."""
    settings = tuple(sorted(home.security.items()))
    return home.path.resolve(), tenant.tenant, tenant.genesis, home.deployment, home.bootstrap, settings
