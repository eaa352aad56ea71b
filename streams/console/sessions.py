"""Logins of browsers at the console: a token is exchanged for a cookie, and no page has the token in its address.

The cookie is random, kept as a digest in the memory of this process, bound to 12 hours and to the token that opened it,
and sent back only to this host (`SameSite=Strict`, `HttpOnly`). It opens the console's pages and nothing else. Browsers
send the cookies of a host to all its ports (RFC 6265, section 8.5): docs/limitations.md.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "macaw_console"
LIFE_SECONDS = 12 * 3600
SESSIONS_MAX = 64
COOKIE_BYTES = 32
COOKIE_CHARS_MAX = 128
TOKEN_CHARS_MIN = 16


class BrowserSessions:
    """The open logins of one console."""

    def __init__(self) -> None:
        # By digest of the cookie: time.monotonic of its end, and the digest of the token that opened it.
        self._open: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def open(self, given: str, token: str, response: Response) -> bool:
        """Open a login with a token, and set its cookie; False for a wrong token."""
        if len(token) < TOKEN_CHARS_MIN or not hmac.compare_digest(given.encode(), token.encode()):
            return False
        cookie = secrets.token_urlsafe(COOKIE_BYTES)
        self._open[_digest(cookie)] = time.monotonic() + LIFE_SECONDS, _digest(token)
        while len(self._open) > SESSIONS_MAX:
            self._open.popitem(last=False)
        response.set_cookie(COOKIE, cookie, max_age=LIFE_SECONDS, httponly=True, samesite="strict", path="/")
        return True

    def is_open(self, request: Request, token: str) -> bool:
        """Return whether a request comes from an open login; another token than now has opened none."""
        cookie = request.cookies.get(COOKIE, "")
        if not 0 < len(cookie) <= COOKIE_CHARS_MAX:
            return False
        end, opened_with = self._open.get(_digest(cookie), (float("-inf"), b""))
        return time.monotonic() < end and hmac.compare_digest(opened_with, _digest(token))

    def close(self, request: Request, response: Response) -> None:
        """End the login of a request."""
        self._open.pop(_digest(request.cookies.get(COOKIE, "")), None)
        response.delete_cookie(COOKIE, path="/")


def _digest(cookie: str) -> bytes:
    return sha256(cookie.encode()).digest()
