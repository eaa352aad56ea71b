"""A login: the tokens of one person or workload, as they are now, and the one lock under which they are renewed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from producers.home.process import ForkedError, OfOneProcess
from producers.identity.errors import LoginCode, LoginError
from producers.identity.principal import UnverifiedPrincipal
from schemas.errors import MisuseError

LIFE_SECONDS_DEFAULT = 300.0  # of a token whose life neither the provider nor the token tells
_MEMBERS = ("access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope")


class LoginLine(OfOneProcess):
    """The logins that come one from the other by refreshing. One request at a time, and the newest login counts.

    It belongs to the process that logged in: a provider that rotates refresh tokens takes the second use of one for a
    theft and ends the whole login.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.newest: Login | None = None
        self.is_over = False

    def renewed(self, login: Login, renew: Callable[[Login], Login], now: float) -> Login:
        """Return the login after `login`: one that another thread has made meanwhile, or a new one by `renew`.

        `now` is the present on the clock of the logins: one that has ended is not returned.

        Raises:
            ForkedError: the login was made before a fork.
            LoginError: LOGIN_OVER after a logout; or as `renew` raises.
        """
        self.check_process()
        with self.lock:
            if self.is_over:
                raise LoginError(LoginCode.LOGIN_OVER, "this login has ended: log in again")
            newest = self.newest or login
            if newest is not login and newest.ends_at > now:
                return newest
            self.newest = renew(newest)
            return self.newest

    def end(self) -> None:
        """Let nothing be renewed any more; wait for a request that is under way. Raises ForkedError."""
        self.check_process()
        with self.lock:
            self.is_over = True

    def check_process(self) -> None:
        """Raise ForkedError in another process than that of the login."""
        if self.is_elsewhere:
            raise ForkedError("this login was made before a fork: log in, and refresh, in each process after the fork")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Login:
    """The tokens that a provider gave, and the principal that they claim to be of, unverified.

    It serves both published forms: `result["access_token"]`, and `token, principal = result`. Its repr has no token,
    and it cannot be pickled. `expires_in` is the life of the token in seconds at the time of the login.
    """

    issuer: str
    client_id: str
    access_token: str
    refresh_token: str | None
    id_token: str | None
    scope: str | None
    expires_in: float
    ends_at: float  # on the clock of `pace`
    principal: UnverifiedPrincipal
    is_workload: bool = False  # by client credentials: a new token is asked for, not refreshed
    token_type: str = "Bearer"  # noqa: S105 - the type, not a token
    line: LoginLine = field(default_factory=LoginLine)

    @property
    def can_renew(self) -> bool:
        """True if a later token can be had without a person."""
        return self.is_workload or self.refresh_token is not None

    def __getitem__(self, name: str | int) -> object:
        if isinstance(name, int):
            return (self.access_token, self.principal)[name]
        if (value := getattr(self, name) if name in _MEMBERS else None) is None:
            raise KeyError(name)
        return value

    def get(self, name: str, default: object = None) -> object:
        """Return a member of the provider's answer, or the default."""
        return self[name] if name in self else default  # noqa: SIM401 - this is that method

    def __contains__(self, name: object) -> bool:
        return name in _MEMBERS and getattr(self, str(name)) is not None

    def __iter__(self) -> Iterator[object]:
        return iter((self.access_token, self.principal))

    def __len__(self) -> int:
        return 2

    def __repr__(self) -> str:
        return f"<Login of {self.principal.user_id!r} at {self.issuer}, not verified>"

    def __reduce__(self) -> NoReturn:
        raise MisuseError("a login is not copied into other processes or files: hand over the token alone")
