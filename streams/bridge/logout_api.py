"""The one HTTP endpoint of a bridge: identity providers tell it that a login has ended.

    POST /v1/tenants/{tenant}/backchannel-logout     logout_token=…   (OpenID Connect Back-Channel Logout 1.0, 2.5)
    GET  /healthz

**Access.** Anybody may ask: the signature of a provider that the tenant trusts is the permission. So the work of each
request is bounded (`logout_desk.py`), a body that trickles gives way to a newer one, and the thread of this endpoint
has a bounded share of the process (`logout_serving.py`).

**Answers.** 200 once the log has accepted the end of the login; the same token again has 200 and no second event. 400
names the reason for which a token is refused. 404 is the answer for a tenant without a bridge here, and for every other
path. 503: send it again. No answer and no line of the log has a part of a token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from processors.identity.bridging import LoginRefusedError
from processors.identity.tokens.reasons import TokenRefusedError
from processors.text.characters import quoted
from producers.home.clock import clock_ms
from schemas.events.logins import LoginRefused
from streams.address import ON_LOOPBACK, Address
from streams.bridge.logout_desk import KeySource, LogoutDesk, LogoutRefusedError, LogoutUnansweredError, Voice
from streams.bridge.refusals import RefusedLogins
from streams.http import Endpoint, Front, HTTPRefusal
from streams.http.bodies import PublicBodies
from streams.http.refusals import CLOSE, RETRY_AFTER_SECONDS

log = logging.getLogger(__name__)

LOGOUT = "/v1/tenants/{tenant}/backchannel-logout"
FORM = "application/x-www-form-urlencoded"
FIELD = "logout_token"
BODY_BYTES_MAX = 32 * 1024  # twice the largest token
FIELDS_MAX = 16
BODY_SECONDS = 5.0
READING_MAX = 64  # bodies that are still coming; one more ends the one that has come longest
REQUESTS_MAX = 2 * READING_MAX

# The bridges of a tenant that are connected now; None for a tenant that has no bridge here.
VoicesOf = Callable[[str], Sequence[Voice] | None]


class LogoutAPI:
    """Answers identity providers for all tenants of an installation, in one event loop."""

    def __init__(
        self, voices: VoicesOf, keys: KeySource, address: Address = ON_LOOPBACK, clock_ms: Callable[[], int] = clock_ms
    ) -> None:
        self._voices, self._keys, self._address, self._clock_ms = voices, keys, address, clock_ms
        self._desks: dict[str, LogoutDesk] = {}
        self._refused: dict[str, RefusedLogins] = {}
        self._bodies = PublicBodies(BODY_SECONDS, READING_MAX)

    def front(self) -> Front:
        """Return the endpoint and its bounds. It has no token."""
        return Front(
            endpoints=[Endpoint(LOGOUT, self._logout, "POST", is_public=True)],
            token=lambda _: "",
            token_place="no file: this front has no token",  # noqa: S106 - a sentence
            health=lambda: {"ready": True},
            address=self._address,
            requests_max=REQUESTS_MAX,
            body_bytes_max=BODY_BYTES_MAX,
        )

    async def _logout(self, request: Request) -> Response:
        tenant = request.path_params["tenant"]
        voices = self._voices(tenant)
        if voices is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)  # the door answers it as it answers an unknown path
        _check_type(request)
        text = token_in(await self._bodies.read(request))
        desk = self._desks.get(tenant)
        if desk is None:
            desk = self._desks[tenant] = LogoutDesk(self._keys, self._clock_ms)
        try:
            await desk.take(text, voices)
        except (TokenRefusedError, LoginRefusedError) as exc:
            raise self._refusal(tenant, exc.reason, f"{exc.reason.meaning}; {exc.reason.step}") from None
        except LogoutRefusedError as exc:
            raise self._refusal(tenant, exc.reason, "the log of the tenant refused the end of the login") from None
        except LogoutUnansweredError as exc:
            self._note(tenant, str(exc))
            raise _unanswered() from None
        return Response()

    # ---- refusals

    def _refusal(self, tenant: str, reason: str, error: str) -> HTTPRefusal:
        self._note(tenant, reason)
        return HTTPRefusal(
            HTTPStatus.BAD_REQUEST,
            "LOGOUT_REFUSED",
            f"the logout token is refused: {error}",
            "look the reason up in docs/identity.md; the same token will be refused again",
            more={"reason": reason},
        )

    def _note(self, tenant: str, reason: str) -> None:
        """Have the process log told, at most once in five seconds for each reason."""
        refused = self._refused.get(tenant)
        if refused is None:

            def tell(one: LoginRefused) -> None:
                log.warning("%s: %d logouts of a provider were refused: %s", quoted(tenant), one.count, one.reason)

            refused = self._refused[tenant] = RefusedLogins(tell)
        refused.note(None, reason, b"")
        refused.tend()


def token_in(body: bytes) -> str:
    """Return the one `logout_token` of a form; fields of other names are ignored (2.5). Raises HTTPRefusal."""
    try:
        text = body.decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        fields = []
    tokens = [value for name, value in fields if name == FIELD]
    if len(tokens) != 1:
        raise HTTPRefusal(
            HTTPStatus.BAD_REQUEST,
            "FORM_MALFORMED",
            f"the body is not a form of at most {FIELDS_MAX} fields with exactly one `{FIELD}`",
            "send the logout token as OpenID Connect Back-Channel Logout 1.0 has it",
        )
    return tokens[0]


def _check_type(request: Request) -> None:
    types = request.headers.getlist("content-type")
    if len(types) != 1 or types[0].partition(";")[0].strip().lower() != FORM:
        raise HTTPRefusal(
            HTTPStatus.BAD_REQUEST,
            "CONTENT_TYPE_REFUSED",
            f"the Content-Type is not {FORM}",
            f"send one header `Content-Type: {FORM}`",
            headers=CLOSE,
        )


def _unanswered() -> HTTPRefusal:
    return HTTPRefusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "LOGOUT_UNANSWERED",
        "it is not known whether the login has ended: the provider's keys or the log did not answer, or too many "
        "logouts are under way",
        "send the same token again in a moment",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
