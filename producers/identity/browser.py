"""The authorization code flow in the person's browser: RFC 8252 with PKCE (RFC 7636), `state`, `nonce` and `iss`."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from urllib.parse import urlencode

from processors.identity.tokens.reasons import TokenRefusedError
from producers.identity.errors import LoginCode, LoginError
from producers.identity.loopback import LoopbackRedirect
from producers.identity.metadata import CODE, ProviderMetadata
from producers.identity.principal import unverified_claims
from producers.identity.token_endpoint import LoginClient, TokenAnswer, ask_tokens, refusal

OPEN_SECONDS = 20.0  # for a browser to be found and told
_OPEN = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.stdin.read()))"
LOGIN_SECONDS = 300.0  # a person finds the second factor in this time
CODE_CHARS_MAX = 4096


def open_in_browser(url: str) -> bool:
    """Open an address in the person's browser; return whether one was found.

    A process between keeps the browser's output away from our stdout, on which a program may speak a protocol.
    """
    if not sys.executable:
        return False
    try:
        ran = subprocess.run(  # noqa: S603 - our own command; the address comes by stdin
            [sys.executable, "-c", _OPEN],
            input=url.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=OPEN_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):  # a browser for terminals, which has none here
        return False
    return ran.returncode == 0


def log_in_by_browser(
    metadata: ProviderMetadata,
    client: LoginClient,
    form: Mapping[str, str],
    *,
    open_url: Callable[[str], object],
    redirect: LoopbackRedirect,
    seconds: float,
    stop: threading.Event,
) -> TokenAnswer:
    """Return the tokens once the person has logged in. `form` has the scopes; `open_url` shows an address.

    Raises:
        LoginError: FLOW_NOT_OFFERED, LOGIN_TIMED_OUT, LOGIN_CANCELLED, ANSWER_FORGED, or as the provider refuses.
        ProviderUnavailableError: the provider gave no usable answer.
    """
    _check_offered(metadata)
    verifier, state, nonce = (secrets.token_urlsafe(32) for _ in range(3))
    challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
    question = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": redirect.redirect_uri,
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **form,
    }
    address = str(metadata.authorization_endpoint)
    if open_url(f"{address}{'&' if '?' in address else '?'}{urlencode(question)}") is False:
        raise LoginError(
            LoginCode.FLOW_NOT_OFFERED,
            "no browser could be opened here: use login_device(), or show the address with open_url=…",
        )
    code = _code(metadata, redirect.wait(state, seconds, stop))
    grant = {"grant_type": CODE, "code": code, "redirect_uri": redirect.redirect_uri, "code_verifier": verifier}
    answer = ask_tokens(metadata, client, grant, (code, verifier))
    return _of_this_login(metadata, answer, nonce)


def _check_offered(metadata: ProviderMetadata) -> None:
    if metadata.authorization_endpoint is None or not metadata.offers(CODE):
        raise LoginError(
            LoginCode.FLOW_NOT_OFFERED, f"{metadata.host} does not offer a login by browser: use login_device()"
        )
    if metadata.challenge_methods is not None and "S256" not in metadata.challenge_methods:
        raise LoginError(
            LoginCode.FLOW_NOT_OFFERED,
            f"{metadata.host} does not take PKCE with S256, so a stolen code could be used: use login_device()",
        )


def _code(metadata: ProviderMetadata, found: Mapping[str, str]) -> str:
    """Return the code of an answer with the right state, after the check of its issuer (RFC 9207 2.4)."""
    issuer = found.get("iss")
    if issuer != metadata.issuer and (issuer is not None or metadata.sends_issuer):
        raise LoginError(
            LoginCode.ANSWER_FORGED, f"the browser's answer is not from {metadata.host} (`iss`): log in again"
        )
    if "error" in found:
        raise refusal(metadata.host, found)
    code = found.get("code", "")
    if not 0 < len(code) <= CODE_CHARS_MAX:
        raise LoginError(LoginCode.ANSWER_FORGED, "the browser's answer has no usable `code`: log in again")
    return code


def _of_this_login(metadata: ProviderMetadata, answer: TokenAnswer, nonce: str) -> TokenAnswer:
    """Return the answer if its ID token is of this very login (OpenID Connect Core 3.1.3.7).

    An ID token that cannot be read, such as an encrypted one, is left out: its login cannot be told.

    Raises:
        LoginError: ANSWER_FORGED.
    """
    if answer.id_token is None:
        return answer
    try:
        claims = unverified_claims(answer.id_token)
    except TokenRefusedError:
        return replace(answer, id_token=None)
    found = claims.get("nonce")
    if claims.get("iss") != metadata.issuer or found != nonce:
        raise LoginError(LoginCode.ANSWER_FORGED, "the ID token belongs to another login: log in again")
    return answer
