"""The identity provider as programs know it: a login gives a token and its principal, as a pair or by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, Self

from producers.identity import Login, RemoteIdentityProvider, UnverifiedPrincipal
from schemas.errors import MisuseError


class Principal(dict[str, Any]):
    """The principal that a token claims to be of, for display: `principal["user_id"]` and `principal.user_id`.

    The token's signature was not checked.
    """

    def __init__(self, found: UnverifiedPrincipal) -> None:
        super().__init__(
            user_id=found.user_id,
            roles=list(found.roles),
            groups=list(found.groups),
            department=found.department,
            issuer=found.issuer,
            expires_at=found.expires_at,
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class LoginResult(tuple[str, Principal]):  # noqa: SLOT001 - a tuple has no slots for the login
    """The pair (token, principal), with the provider's answer by name: `result["access_token"]`.

    Its repr has no token, and it is not pickled. The provider object renews its `login`.
    """

    login: Login

    def __new__(cls, login: Login) -> Self:
        """Make the pair of a login."""
        made = super().__new__(cls, (login.access_token, Principal(login.principal)))
        made.login = login
        return made

    def __getitem__(self, name: Any) -> Any:
        return self.login[name] if isinstance(name, str) else super().__getitem__(name)

    def get(self, name: str, default: object = None) -> object:
        """Return a member of the provider's answer, or the default."""
        return self.login.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self.login or tuple.__contains__(self, name)

    def __repr__(self) -> str:
        return repr(self.login)

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise MisuseError("a login is not copied into other processes or files: hand over the token alone")


class PairingProvider:
    """A person's own identity provider. `endpoint` is its issuer; without it the configuration names it and the client.

    `api_key` belongs to the original's hosted service; it is neither kept nor sent.
    """

    def __init__(self, endpoint: str | None = None, api_key: str | None = None, **more: Any) -> None:
        self.provider = RemoteIdentityProvider(endpoint, api_key, **more)

    def __repr__(self) -> str:
        return repr(self.provider)

    def login(self, username: str, password: str, scopes: Iterable[str] | str | None = None) -> LoginResult:
        """Log a person in with a password. Raises LoginError, ProviderUnavailableError, LoginSettingsError.

        The text of the last has "Local provider does not support" where no provider is configured.
        """
        return LoginResult(self.provider.login(username, password, scopes))

    def login_device(self, **how: Any) -> LoginResult:
        """Log a person in on any device with a browser, as `producers.identity.RemoteIdentityProvider` does."""
        return LoginResult(self.provider.login_device(**how))

    def login_browser(self, **how: Any) -> LoginResult:
        """Log a person in with the browser of this machine, as `producers.identity.RemoteIdentityProvider` does."""
        return LoginResult(self.provider.login_browser(**how))

    def validate(self, jwt: str) -> Principal:
        """Return the principal that a token claims to be of, for display: `register()` has it verified.

        Raises:
            LoginError: the text is not a token of this issuer, or it has expired.
        """
        return Principal(self.provider.validate(jwt))
