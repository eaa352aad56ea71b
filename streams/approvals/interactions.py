"""The one HTTP endpoint of a Slack channel: Slack tells it that a person pressed a button.

    POST /slack/interactions     payload=…   (Slack, "Handling user interaction"), signed with the app's signing secret
    GET  /healthz

**Access.** Anybody may ask; Slack's signature over the raw body is the permission. It is checked before anything of the
body is read, its time must be near, and no request is taken twice. Then the app, the workspace and the channel must be
the configured ones, and the button one that was made here for these calls and this action.

**Answers.** 200 at once: the press waits in a queue, and its person is told the outcome by Slack. No answer and no line
of the log has a part of a request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from streams.address import ON_LOOPBACK, Address
from streams.approvals.answering import TooManyPressesError
from streams.approvals.pressed import FormError, PayloadError, Pressed, payload_in, pressed_in
from streams.approvals.proofs import (
    SKEW_SECONDS_MAX,
    Bound,
    Buttons,
    ProofFault,
    SlackProofError,
    check_slack_signature,
)
from streams.approvals.settings import SlackSettings
from streams.http import Endpoint, Front, HTTPRefusal, not_ready
from streams.http.refusals import CLOSE, RETRY_AFTER_SECONDS

log = logging.getLogger(__name__)

INTERACTIONS = "/slack/interactions"
FORM = "application/x-www-form-urlencoded"
BODY_BYTES_MAX = 512 * 1024  # Slack sends the whole message back, with each byte of it as three
SEEN_MAX = 10_000  # signatures within the time in which one could come again
TELL_SECONDS = 5.0


class Presses(Protocol):
    """The place to which presses are brought."""

    def take(self, pressed: Pressed, bound: Bound) -> None:
        """Have a press answered soon. Raises TooManyPressesError."""


class InteractionsAPI:
    """Answers Slack for one channel, in one event loop."""

    def __init__(
        self,
        settings: SlackSettings,
        buttons: Buttons,
        answering: Presses,
        is_current: Callable[[], bool],
        address: Address = ON_LOOPBACK,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`is_current` returns whether the log has answered of late."""
        self._settings, self._buttons, self._answering = settings, buttons, answering
        self._is_current, self._address, self._clock_s = is_current, address, clock_s
        self._seen: dict[str, float] = {}  # the oldest first
        self._told: dict[str, float] = {}

    def front(self) -> Front:
        """Return the endpoint and its bounds. It has no token."""
        return Front(
            endpoints=[Endpoint(INTERACTIONS, self._interact, "POST", is_public=True)],
            token=lambda _: "",
            token_place="no file: this front has no token",  # noqa: S106 - a sentence
            health=self._health,
            address=self._address,
            body_bytes_max=BODY_BYTES_MAX,
        )

    def _health(self) -> dict[str, object]:
        if not self._is_current():
            raise not_ready("the log does not answer, so no question is asked and no answer is signed")
        return {"ready": True}

    async def _interact(self, request: Request) -> Response:
        try:
            body = await self._signed_body(request)
            pressed = _pressed(body)
            if pressed is not None:
                self._take(pressed)
        except HTTPRefusal as refusal:
            self._note(refusal.code)
            raise
        return Response()

    async def _signed_body(self, request: Request) -> bytes:
        """Return a body that Slack has signed, near now and for the first time. Raises HTTPRefusal."""
        types = request.headers.getlist("content-type")
        if len(types) != 1 or types[0].partition(";")[0].strip().lower() != FORM:
            raise HTTPRefusal(
                HTTPStatus.BAD_REQUEST,
                "CONTENT_TYPE_REFUSED",
                f"the Content-Type is not {FORM}",
                f"send one header `Content-Type: {FORM}`",
                headers=CLOSE,
            )
        stamps = request.headers.getlist("x-slack-request-timestamp")
        signatures = request.headers.getlist("x-slack-signature")
        body = await request.body()
        now = self._clock_s()
        try:
            signature = check_slack_signature(self._settings.signing_secret, stamps, signatures, body, int(now))
        except SlackProofError as exc:
            raise _unproven(exc) from None
        self._take_once(signature, now)
        return body

    def _take_once(self, signature: str, now: float) -> None:
        """Remember a request for as long as its signature counts. Raises HTTPRefusal for one that came before."""
        while self._seen and next(iter(self._seen.values())) < now:
            del self._seen[next(iter(self._seen))]
        if signature in self._seen:
            raise HTTPRefusal(
                HTTPStatus.CONFLICT,
                "INTERACTION_REPLAYED",
                "this request was taken before",
                "press the button again, if the message still has one",
            )
        if len(self._seen) >= SEEN_MAX:
            raise _too_many("more requests came than can be told from their copies")
        self._seen[signature] = now + 2 * SKEW_SECONDS_MAX + 1  # Slack's times are whole seconds

    def _take(self, pressed: Pressed) -> None:
        """Check where a press comes from, and have it answered. Raises HTTPRefusal."""
        ours = (self._settings.app, self._settings.team, self._settings.channel)
        is_guest = pressed.user_team not in {None, self._settings.team}  # ids of people are unique in their workspace
        if (pressed.app, pressed.team, pressed.channel) != ours or is_guest:
            raise HTTPRefusal(
                HTTPStatus.FORBIDDEN,
                "INTERACTION_FOREIGN",
                "the app, workspace, channel or the person's workspace is not the configured one",
                "compare `app`, `team` and `channel` in the file of this channel with Slack's",
            )
        try:
            bound = self._buttons.open(pressed.action, pressed.value)
        except SlackProofError as exc:
            raise HTTPRefusal(
                HTTPStatus.FORBIDDEN, "INTERACTION_FORGED", str(exc), "answer with a message of this app"
            ) from None
        try:
            self._answering.take(pressed, bound)
        except TooManyPressesError as exc:
            raise _too_many(str(exc)) from None

    def _note(self, code: str) -> None:
        """Have the log of the process told of a kind of refusal, at most once in TELL_SECONDS."""
        now = self._clock_s()
        if now - self._told.get(code, float("-inf")) >= TELL_SECONDS:
            self._told[code] = now
            log.warning("an interaction was refused: %s", code)


def _pressed(body: bytes) -> Pressed | None:
    """Return the press in a body. Raises HTTPRefusal."""
    try:
        return pressed_in(payload_in(body))
    except FormError as exc:
        raise HTTPRefusal(
            HTTPStatus.BAD_REQUEST, "FORM_MALFORMED", str(exc), "send an interaction as Slack does"
        ) from None
    except PayloadError as exc:
        raise HTTPRefusal(
            HTTPStatus.BAD_REQUEST,
            "INTERACTION_MALFORMED",
            str(exc),
            "let only buttons of this app's own questions lead here",
        ) from None


def _unproven(exc: SlackProofError) -> HTTPRefusal:
    """Return the refusal of a request that Slack has not signed for us, now."""
    match exc.fault:
        case ProofFault.UNSIGNED:
            step = "let Slack send it; a proxy must pass its headers on as they are"
            return HTTPRefusal(HTTPStatus.UNAUTHORIZED, "INTERACTION_UNSIGNED", str(exc), step)
        case ProofFault.STALE:
            step = "press the button again; compare this machine's clock with the time"
            return HTTPRefusal(HTTPStatus.UNAUTHORIZED, "INTERACTION_STALE", str(exc), step)
        case ProofFault.FORGED:
            step = "compare the signing secret with the app's, and let proxies leave the body as it is"
            return HTTPRefusal(HTTPStatus.UNAUTHORIZED, "INTERACTION_FORGED", str(exc), step)


def _too_many(why: str) -> HTTPRefusal:
    return HTTPRefusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "INTERACTIONS_TOO_MANY",
        why,
        "press the button again in a minute",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
