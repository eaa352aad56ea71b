"""The errors of a login at the person's own identity provider. No message holds a token, password, code or secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from processors.text.characters import is_plain_text
from schemas.errors import InstallationError, OutcomeError, UnavailableError

SAID_CHARS_MAX = 200
_ERROR_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# A run that could be a token, a code or a key: long, and with a digit or a capital in it. Plain long words pass.
_RUN = re.compile(r"[A-Za-z0-9_~+/=.-]{16,}")
_LIKE_A_SECRET = re.compile(r"[0-9A-Z]")


class LoginCode(StrEnum):
    """The causes of a login that did not succeed, for programs. docs/login.md has the next step of each."""

    FLOW_NOT_OFFERED = "FLOW_NOT_OFFERED"
    CREDENTIALS_REFUSED = "CREDENTIALS_REFUSED"
    CLIENT_REFUSED = "CLIENT_REFUSED"
    REQUEST_REFUSED = "REQUEST_REFUSED"
    ACCESS_REFUSED = "ACCESS_REFUSED"
    LOGIN_TIMED_OUT = "LOGIN_TIMED_OUT"
    LOGIN_CANCELLED = "LOGIN_CANCELLED"
    LOGIN_OVER = "LOGIN_OVER"
    ANSWER_FORGED = "ANSWER_FORGED"
    TOKEN_UNUSABLE = "TOKEN_UNUSABLE"  # noqa: S105 - a code


class LoginError(OutcomeError):
    """A login, a refresh or a logout did not succeed, and asking again in the same way does not help.

    `code` is one of `LoginCode`. `provider_error` is the provider's own word for it (RFC 6749 5.2), "" for none.
    """

    def __init__(self, code: LoginCode, message: str, *, provider_error: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.provider_error = provider_error


class ProviderUnavailableError(UnavailableError):
    """The identity provider gave no usable answer: try again later, or check its address."""


class LoginSettingsError(InstallationError):
    """The provider or the client is not configured, or wrongly; the message names the member."""


def cleaned(text: object, *, secrets: Iterable[str] = (), chars_max: int = SAID_CHARS_MAX) -> str:
    """Return a text of a provider as it can be shown: one line of plain characters, cut, and without secrets.

    A text that quotes one of `secrets`, which were sent to the provider, is dropped whole. A long run of characters
    that could be a token or a code becomes `[…]`.
    """
    if not isinstance(text, str):
        return ""
    start = text[: 8 * chars_max]
    if any(secret and secret in text for secret in secrets):
        return ""
    plain = "".join(one if is_plain_text(one) else " " for one in start)
    shown = _RUN.sub(lambda found: "[…]" if _LIKE_A_SECRET.search(found[0]) else found[0], " ".join(plain.split()))
    return shown if len(shown) <= chars_max else f"{shown[: chars_max - 1]}…"


def error_word(value: object, *, secrets: Iterable[str] = ()) -> str:
    """Return the `error` of a provider's answer: a word of RFC 6749 5.2, or "unspecified" for anything else."""
    is_word = isinstance(value, str) and _ERROR_WORD.fullmatch(value) is not None and value not in set(secrets)
    return str(value) if is_word and cleaned(value) == value else "unspecified"
