"""Requests to a provider's endpoints as one client, and the reading of their answers (RFC 6749 2.3, 5.1 and 5.2)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus, urlsplit

from producers.identity.errors import (
    LoginCode,
    LoginError,
    LoginSettingsError,
    ProviderUnavailableError,
    cleaned,
    error_word,
)
from producers.identity.metadata import ProviderMetadata
from producers.identity.web import JSONObject, Reply, json_object, post_form
from schemas import limits

LIFE_SECONDS_MAX = 10 * 365 * 86_400
_VISIBLE = re.compile(r"[!-~]+")
_SCOPE = re.compile(r"[ -~]{1,2048}")
_DIGITS = re.compile(r"[0-9]{1,10}")

# The provider's words, and ours. Any other word is REQUEST_REFUSED.
_CODES = {
    "invalid_grant": LoginCode.CREDENTIALS_REFUSED,
    "access_denied": LoginCode.ACCESS_REFUSED,
    "expired_token": LoginCode.LOGIN_TIMED_OUT,
    "invalid_client": LoginCode.CLIENT_REFUSED,
    "unauthorized_client": LoginCode.FLOW_NOT_OFFERED,
    "unsupported_grant_type": LoginCode.FLOW_NOT_OFFERED,
}
_LATER = frozenset({"temporarily_unavailable", "server_error"})
_NEXT = {
    LoginCode.CREDENTIALS_REFUSED: "log in again",
    LoginCode.ACCESS_REFUSED: "the person or the provider said no; log in again, or ask the provider's administrator",
    LoginCode.LOGIN_TIMED_OUT: "begin the login again",
    LoginCode.CLIENT_REFUSED: "compare `client_id` and the client's secret with the provider's settings",
    LoginCode.FLOW_NOT_OFFERED: "use another flow, or let the provider's administrator allow this one for the client",
    LoginCode.REQUEST_REFUSED: "compare the scopes and the client's settings at the provider",
}


@dataclass(frozen=True, slots=True)
class LoginClient:
    """The client as which a program speaks to a provider; without a secret a public one."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """The tokens of one answer. `life_seconds` is None where the provider does not tell it."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    scope: str | None = None
    life_seconds: float | None = None


def ask_tokens(
    metadata: ProviderMetadata, client: LoginClient, form: Mapping[str, str], secrets: Iterable[str] = ()
) -> TokenAnswer:
    """Return the tokens for a grant. `secrets` are the values of the form that no message may quote.

    Raises:
        LoginError: the provider refuses, or its token cannot be used.
        ProviderUnavailableError: it gave no usable answer.
        LoginSettingsError: it wants the client to prove itself in a way that is not supported.
    """
    answer = ask(metadata, metadata.token_endpoint, client, form, secrets)
    return _tokens(metadata, answer)


def ask(
    metadata: ProviderMetadata, url: str, client: LoginClient, form: Mapping[str, str], secrets: Iterable[str] = ()
) -> JSONObject:
    """Return the object that an endpoint answers to this client. Raises as `ask_tokens`."""
    host = str(urlsplit(url).hostname)
    return _object(host, _post(metadata, url, client, form), _hidden(client, secrets))


def tell(
    metadata: ProviderMetadata, url: str, client: LoginClient, form: Mapping[str, str], secrets: Iterable[str] = ()
) -> None:
    """Send a form to an endpoint that answers without content (RFC 7009). Raises as `ask_tokens`."""
    reply = _post(metadata, url, client, form)
    if reply.status != 200:
        _object(str(urlsplit(url).hostname), reply, _hidden(client, secrets))


def _hidden(client: LoginClient, secrets: Iterable[str]) -> tuple[str, ...]:
    return (*secrets, *([client.client_secret] if client.client_secret else []))


def _post(metadata: ProviderMetadata, url: str, client: LoginClient, form: Mapping[str, str]) -> Reply:
    more, headers = _proof(metadata, client)
    return post_form(url, {**form, **more}, headers)


def _proof(metadata: ProviderMetadata, client: LoginClient) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the members and headers by which a client proves itself (RFC 6749 2.3.1)."""
    if client.client_secret is None:
        return {"client_id": client.client_id}, {}
    # Without a list the provider takes the first one (OpenID Connect Discovery 3).
    methods = metadata.client_methods or frozenset({"client_secret_basic"})
    if "client_secret_basic" in methods:
        pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
        return {}, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    if "client_secret_post" in methods:
        return {"client_id": client.client_id, "client_secret": client.client_secret}, {}
    raise LoginSettingsError(
        f"{metadata.host} takes no client secret: configure a public client, or let it allow `client_secret_basic`"
    )


def _object(host: str, reply: Reply, secrets: tuple[str, ...]) -> JSONObject:
    """Return the object of an answer of success, and raise for any other."""
    if reply.status == 429 or reply.status >= 500:
        raise ProviderUnavailableError(f"{host} answers {reply.status}: try again later")
    if reply.status not in {200, 400, 401, 403}:
        raise ProviderUnavailableError(f"{host} answers {reply.status}: is this the address of the identity provider?")
    found = json_object(reply.body, host)
    if reply.status == 200 and "error" not in found:
        return found
    raise refusal(host, found, secrets)


def refusal(host: str, found: Mapping[str, object], secrets: Iterable[str] = ()) -> Exception:
    """Return the error for an answer with `error`: LoginError, or ProviderUnavailableError if the cause passes."""
    hidden = tuple(secrets)
    word = error_word(found.get("error"), secrets=hidden)
    said = cleaned(found.get("error_description"), secrets=hidden)
    told = f"{host} refuses: {word}{f' ({said})' if said else ''}"
    if word in _LATER:
        return ProviderUnavailableError(f"{told}; try again later")
    code = _CODES.get(word, LoginCode.REQUEST_REFUSED)
    return LoginError(code, f"{told}; {_NEXT[code]}", provider_error=word)


def _tokens(metadata: ProviderMetadata, answer: JSONObject) -> TokenAnswer:
    kind = answer.get("token_type")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise LoginError(
            LoginCode.TOKEN_UNUSABLE, f"the token of {metadata.host} is not a bearer token (RFC 6750): see the client"
        )
    access = _token(metadata, answer, "access_token")
    if access is None:
        raise LoginError(LoginCode.TOKEN_UNUSABLE, f"the answer of {metadata.host} has no `access_token`")
    scope = answer.get("scope")
    return TokenAnswer(
        access_token=access,
        refresh_token=_token(metadata, answer, "refresh_token"),
        id_token=_token(metadata, answer, "id_token"),
        scope=scope if isinstance(scope, str) and _SCOPE.fullmatch(scope) else None,
        life_seconds=_seconds(answer.get("expires_in")),
    )


def _token(metadata: ProviderMetadata, answer: JSONObject, name: str) -> str | None:
    token = answer.get(name)
    if token is None or token == "":
        return None
    if not isinstance(token, str) or len(token) > limits.TOKEN_CHARS_MAX or _VISIBLE.fullmatch(token) is None:
        raise LoginError(
            LoginCode.TOKEN_UNUSABLE,
            f"`{name}` of {metadata.host} is not a text of at most {limits.TOKEN_CHARS_MAX} visible characters: "
            "let the provider leave claims out, for example lists of groups",
        )
    return token


def _seconds(value: object) -> float | None:
    """Return a life in seconds; some providers write it as a text. None for anything else."""
    number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= LIFE_SECONDS_MAX:
        return None
    return float(number)
