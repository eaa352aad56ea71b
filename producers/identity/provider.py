"""`RemoteIdentityProvider`: a token from the person's own identity provider, in each of the ways that it allows.

    idp = RemoteIdentityProvider("https://login.example.com/realms/staff", client_id="macaw")
    login = idp.login_browser()
    token = login["access_token"]

A provider object keeps no person: each login is a value of its own, so one object serves many people at a time. The
token is not verified here; the identity bridge does that (docs/identity.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from processors.identity.tokens.reasons import TokenRefusedError
from producers.home.home import Home
from producers.identity.browser import LOGIN_SECONDS, log_in_by_browser, open_in_browser
from producers.identity.device import DevicePrompt, log_in_by_device, show_on_stderr
from producers.identity.errors import LoginCode, LoginError, LoginSettingsError
from producers.identity.login import LIFE_SECONDS_DEFAULT, Login, LoginLine
from producers.identity.loopback import LoopbackRedirect
from producers.identity.metadata import (
    CLIENT,
    CODE,
    DEVICE,
    PASSWORD,
    REFRESH,
    ProviderMetadata,
    fetch_metadata,
)
from producers.identity.pace import SYSTEM_PACE, Pace
from producers.identity.principal import (
    UnverifiedPrincipal,
    number_in,
    principal_of,
    unverified_claims,
    unverified_principal,
)
from producers.identity.settings import LoginSettings, read_login_settings, settings_for
from producers.identity.token_endpoint import LoginClient, TokenAnswer, ask_tokens, tell

METADATA_SECONDS = 3600.0  # after which endpoints are looked up again
TEXT_CHARS_MAX = 1024  # of a user name or a password
_NEVER = threading.Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOut:
    """The things that a logout did. `end_session_page` is for the person's browser, where the provider offers it."""

    is_revoked: bool
    end_session_page: str | None


class RemoteIdentityProvider:
    """An OpenID provider, asked as one client. Thread-safe; it sends nothing before the first login."""

    def __init__(
        self,
        endpoint: str | None = None,
        api_key: str | None = None,  # noqa: ARG002 - of the original's hosted service: neither used nor kept
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        scopes: Iterable[str] | str | None = None,
        audience: str | None = None,
        resource: str | None = None,
        home: Home | None = None,
        pace: Pace = SYSTEM_PACE,
    ) -> None:
        """`endpoint` is the issuer. Without it the configuration names provider and client (`settings.py`).

        With an `endpoint` the configured client is used only if the configured issuer is the same. `audience` (Auth0)
        and `resource` (RFC 8707) ask for a token for that service.
        """
        self._endpoint, self._client_id, self._client_secret = endpoint, client_id, client_secret
        self._scopes = None if scopes is None else _listed(scopes)
        self._audience, self._resource = audience, resource
        self._home, self._pace = home, pace
        self._settings: LoginSettings | None = None
        self._metadata: tuple[float, ProviderMetadata] | None = None

    def __repr__(self) -> str:
        return f"<RemoteIdentityProvider {self._endpoint or 'as configured'}>"

    @property
    def settings(self) -> LoginSettings:
        """The issuer and the client, read once. Raises LoginSettingsError."""
        if self._settings is None:
            self._settings = self._read_settings()
        return self._settings

    @property
    def metadata(self) -> ProviderMetadata:
        """The provider's metadata, fetched when it is needed, and again after an hour.

        Raises:
            LoginSettingsError, ProviderUnavailableError: it cannot be had, or is not that of the issuer.
        """
        known, now = self._metadata, self._pace.now()
        if known is None or now - known[0] > METADATA_SECONDS:
            known = self._metadata = (now, fetch_metadata(self.settings.issuer))
        return known[1]

    def login(self, username: str, password: str, scopes: Iterable[str] | str | None = None) -> Login:
        """Log a person in with a password, where the provider allows that (RFC 6749 4.3).

        Returns a `Login`: `result["access_token"]`, and also `token, principal = result`.

        Raises:
            LoginError: FLOW_NOT_OFFERED before the password is sent, where the provider does not take passwords;
                CREDENTIALS_REFUSED; or another code.
            ProviderUnavailableError: the provider gave no usable answer.
            LoginSettingsError: no provider is configured, or it is configured wrongly.
        """
        for name, text in (("user name", username), ("password", password)):
            if not 0 < len(text) <= TEXT_CHARS_MAX:
                raise LoginError(
                    LoginCode.REQUEST_REFUSED, f"the {name} must be a text of 1 to {TEXT_CHARS_MAX} characters"
                )
        metadata = self.metadata
        if not metadata.offers(PASSWORD):
            raise LoginError(LoginCode.FLOW_NOT_OFFERED, f"{metadata.host} takes no passwords: {_others(metadata)}")
        form = {"grant_type": PASSWORD, "username": username, "password": password, **self._wanted(scopes)}
        try:
            answer = ask_tokens(metadata, self.settings.client, form, (password,))
        except LoginError as exc:
            if exc.code is LoginCode.FLOW_NOT_OFFERED:
                raise LoginError(
                    exc.code,
                    f"{metadata.host} takes no passwords for this client: {_others(metadata)}",
                    provider_error=exc.provider_error,
                ) from None
            raise
        return self._login(answer)

    def login_device(
        self,
        on_code: Callable[[DevicePrompt], object] = show_on_stderr,
        *,
        scopes: Iterable[str] | str | None = None,
        stop: threading.Event | None = None,
    ) -> Login:
        """Log a person in on any device with a browser (RFC 8628). `on_code` shows the prompt; `stop` cancels.

        Raises:
            LoginError: FLOW_NOT_OFFERED, ACCESS_REFUSED, LOGIN_TIMED_OUT, LOGIN_CANCELLED, or another code.
            ProviderUnavailableError, LoginSettingsError: as `login`.
        """
        metadata, client = self.metadata, self.settings.client
        answer = log_in_by_device(
            metadata, client, self._wanted(scopes), on_code=on_code, stop=stop or _NEVER, pace=self._pace
        )
        return self._login(answer)

    def login_browser(
        self,
        open_url: Callable[[str], object] = open_in_browser,
        *,
        scopes: Iterable[str] | str | None = None,
        port: int = 0,
        path: str = "/callback",
        seconds: float = LOGIN_SECONDS,
        stop: threading.Event | None = None,
    ) -> Login:
        """Log a person in with the browser of this machine (RFC 8252, RFC 7636). `stop` cancels.

        The browser comes back to `http://127.0.0.1:PORT/callback`, on a free port; give `port` and `path` for a
        provider that wants the very address registered. `open_url` gets the address and returns False if it could not
        show it. The address holds no secret of ours.

        Raises:
            LoginError: FLOW_NOT_OFFERED, ACCESS_REFUSED, LOGIN_TIMED_OUT, LOGIN_CANCELLED, ANSWER_FORGED, or another.
            ProviderUnavailableError, LoginSettingsError: as `login`; or the port is taken.
        """
        metadata, client = self.metadata, self.settings.client
        with LoopbackRedirect(path, port) as redirect:
            answer = log_in_by_browser(
                metadata,
                client,
                self._wanted(scopes),
                open_url=open_url,
                redirect=redirect,
                seconds=seconds,
                stop=stop or _NEVER,
            )
        return self._login(answer)

    def client_credentials(self, scopes: Iterable[str] | str | None = None) -> Login:
        """Return a token for this program itself (RFC 6749 4.4). Scopes are asked for only if they are given.

        Raises:
            LoginError, ProviderUnavailableError: as `login`.
            LoginSettingsError: also without a client secret.
        """
        return self._login(self._workload_tokens(self._workload_form(scopes)), is_workload=True)

    def resume(self, refresh_token: str) -> Login:
        """Return a login from a refresh token that was kept (`stored.py`). Raises as `login`."""
        return self._login(self._refreshed(refresh_token), kept=refresh_token)

    def refresh(self, login: Login, *, refresh_token: str | None = None) -> Login:
        """Return a login with a later token (RFC 6749 6). Threads that ask at the same time share one request.

        A provider that rotates refresh tokens ends the old one, so the returned login replaces `login`. If `login` was
        refreshed already, the newest login of its line is returned, as long as that has not ended.
        `refresh_token` is used instead of the login's own, if another process has renewed it (`stored.py`).

        Raises:
            LoginError: CREDENTIALS_REFUSED if the person has to log in again; LOGIN_OVER after `logout`, and without a
                refresh token; or another code.
            ProviderUnavailableError: try again later; the login is as it was.
            ForkedError: the login was made in another process.
        """
        self._check_own(login)
        return login.line.renewed(login, lambda newest: self._renew(newest, refresh_token), self._pace.now())

    def logout(
        self, login: Login, *, refresh_token: str | None = None, open_url: Callable[[str], object] | None = None
    ) -> LoggedOut:
        """End a login: nothing of its line is refreshed any more, and its tokens are revoked where possible (RFC 7009).

        The provider's own session lives in the person's browser. Its page for ending that is returned, and shown by
        `open_url` if that is given; it holds no token, so the provider may ask the person.
        `refresh_token` is as in `refresh`.

        Raises:
            LoginError, ProviderUnavailableError: the provider did not revoke; the login has ended here all the same.
        """
        self._check_own(login)
        login.line.end()
        newest = login.line.newest or login
        metadata, client = self.metadata, self.settings.client
        revoked = metadata.revocation_endpoint
        if revoked is not None:
            if (token := refresh_token or newest.refresh_token) is not None:
                tell(metadata, revoked, client, {"token": token, "token_type_hint": "refresh_token"}, (token,))
            _revoke_access(metadata, revoked, client, newest.access_token)
        page = _with_query(metadata.end_session_endpoint, {"client_id": client.client_id})
        if page is not None and open_url is not None:
            open_url(page)
        return LoggedOut(is_revoked=revoked is not None, end_session_page=page)

    def validate(self, jwt: str) -> UnverifiedPrincipal:
        """Return the principal that a token claims to be of, for display. The signature is NOT verified.

        Raises:
            LoginError: TOKEN_UNUSABLE for a text that is no signed token, for another issuer, and after its end.
        """
        try:
            claims = unverified_claims(jwt)
        except TokenRefusedError as exc:
            raise LoginError(LoginCode.TOKEN_UNUSABLE, f"the token cannot be read: {exc}") from None
        found = unverified_principal(claims)
        if claims.get("iss") != self.settings.issuer:
            raise LoginError(LoginCode.TOKEN_UNUSABLE, "the token is of another issuer than the configured one")
        if found.expires_at is None or found.expires_at <= time.time():
            raise LoginError(LoginCode.TOKEN_UNUSABLE, "the token has expired, or never would: log in again")
        return found

    def _check_own(self, login: Login) -> None:
        """Raise LoginSettingsError for a login of another issuer or client: its tokens are not sent to this one."""
        if (login.issuer, login.client_id) != (self.settings.issuer, self.settings.client.client_id):
            raise LoginSettingsError("the login is of another issuer or client: use the provider object of its making")

    def _renew(self, login: Login, refresh_token: str | None) -> Login:
        if login.is_workload:
            answer = self._workload_tokens(self._workload_form(login.scope))
            return self._login(answer, line=login.line, is_workload=True)
        token = refresh_token or login.refresh_token
        if token is None:
            raise LoginError(
                LoginCode.LOGIN_OVER,
                "the provider gave no refresh token: log in again, or ask for the scope `offline_access`",
            )
        renewed = self._login(self._refreshed(token), line=login.line, kept=token)
        return renewed if renewed.id_token is not None else replace(renewed, id_token=login.id_token)

    def _refreshed(self, refresh_token: str) -> TokenAnswer:
        form = {"grant_type": REFRESH, "refresh_token": refresh_token, **self._for_whom()}
        return ask_tokens(self.metadata, self.settings.client, form, (refresh_token,))

    def _workload_form(self, scopes: Iterable[str] | str | None) -> Mapping[str, str]:
        asked = {} if scopes is None else {"scope": " ".join(_listed(scopes))}
        return {"grant_type": CLIENT, **asked, **self._for_whom()}

    def _workload_tokens(self, form: Mapping[str, str]) -> TokenAnswer:
        if self.settings.client.client_secret is None:
            raise LoginSettingsError("a workload proves itself by its client secret: configure `client_secret_file`")
        if not self.metadata.offers(CLIENT):
            raise LoginError(LoginCode.FLOW_NOT_OFFERED, f"{self.metadata.host} does not offer client credentials")
        return ask_tokens(self.metadata, self.settings.client, form)

    def _wanted(self, scopes: Iterable[str] | str | None) -> Mapping[str, str]:
        return {"scope": " ".join(self.settings.scopes if scopes is None else _listed(scopes)), **self._for_whom()}

    def _for_whom(self) -> Mapping[str, str]:
        named = {"audience": self.settings.audience, "resource": self.settings.resource}
        return {name: value for name, value in named.items() if value}

    def _login(
        self,
        answer: TokenAnswer,
        *,
        line: LoginLine | None = None,
        is_workload: bool = False,
        kept: str | None = None,
    ) -> Login:
        """Return a login for an answer. `kept` is the refresh token to go on with if the answer has no new one."""
        life = _life(answer)
        made = Login(
            issuer=self.settings.issuer,
            client_id=self.settings.client.client_id,
            access_token=answer.access_token,
            refresh_token=answer.refresh_token or kept,
            id_token=answer.id_token,
            scope=answer.scope,
            expires_in=life,
            ends_at=self._pace.now() + life,
            principal=principal_of(answer.access_token, answer.id_token),
            is_workload=is_workload,
            line=line or LoginLine(),
        )
        if line is None:
            made.line.newest = made
        return made

    def _read_settings(self) -> LoginSettings:
        if self._endpoint is None:
            found = read_login_settings(self._home)
        else:
            configured = None if self._client_id else settings_for(self._home, self._endpoint)
            found = configured or LoginSettings(issuer=self._endpoint, client=LoginClient(self._client_id or ""))
        client = found.client
        if self._client_id is not None and self._client_id != client.client_id:
            client = LoginClient(self._client_id)  # INVARIANT: the secret of one client is not sent for another
        if self._client_secret is not None:
            client = replace(client, client_secret=self._client_secret)
        if not client.client_id:
            raise LoginSettingsError("`client_id` is missing: give the client that the provider knows this program by")
        for name, value in (("client_id", client.client_id), ("client_secret", client.client_secret or "-")):
            if not value.isprintable() or len(value) > TEXT_CHARS_MAX:
                raise LoginSettingsError(f"`{name}` must have at most {TEXT_CHARS_MAX} printable characters")
        return replace(
            found,
            client=client,
            scopes=found.scopes if self._scopes is None else self._scopes,
            audience=self._audience or found.audience,
            resource=self._resource or found.resource,
        )


def _listed(scopes: Iterable[str] | str) -> tuple[str, ...]:
    return tuple(scopes.split()) if isinstance(scopes, str) else tuple(scopes)


def _life(answer: TokenAnswer) -> float:
    """Return the life of a token in seconds: the shorter one of those that the provider and the token tell."""
    lives = [answer.life_seconds] if answer.life_seconds is not None else []
    try:
        claims = unverified_claims(answer.access_token)
    except TokenRefusedError:  # an opaque token tells nothing
        claims = {}
    ends, began = number_in(claims, "exp"), number_in(claims, "iat")
    if ends is not None and began is not None and ends > began:
        lives.append(ends - began)
    return min(lives, default=LIFE_SECONDS_DEFAULT)


def _revoke_access(metadata: ProviderMetadata, url: str, client: LoginClient, token: str) -> None:
    """Revoke an access token, if the provider can: one that verifiers read by themselves ends at its time only."""
    try:
        tell(metadata, url, client, {"token": token, "token_type_hint": "access_token"}, (token,))
    except LoginError as exc:
        if exc.provider_error != "unsupported_token_type":
            raise


def _others(metadata: ProviderMetadata) -> str:
    """Return the flows for persons that a provider offers instead of passwords, for a message."""
    ways = []
    if metadata.authorization_endpoint is not None and metadata.offers(CODE):
        ways.append("login_browser()")
    if metadata.device_endpoint is not None and metadata.offers(DEVICE):
        ways.append("login_device()")
    return f"use {' or '.join(ways)}" if ways else "it offers no other flow for persons either; ask its administrator"


def _with_query(address: str | None, query: Mapping[str, str]) -> str | None:
    return None if address is None else f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"
