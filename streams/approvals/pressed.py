"""The answer of a person in Slack: the form and the JSON of a `block_actions` payload, read strictly.

Source: Slack, "block_actions payload". Members that are not read may be anything; those that are read have one form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from processors.proof.jcs import JSONValue, MalformedJSONError, parse_strict
from schemas.errors import InputError
from streams.approvals.slack_messages import ANSWER_BLOCK, APPROVE, DENY, SCOPE

FIELD = "payload"
FIELDS_MAX = 4
DEPTH_MAX = 32
TEXT_CHARS_MAX = 2048


class FormError(InputError):
    """The body is not a form with exactly one payload."""


class PayloadError(InputError):
    """The payload is not an interaction of the kind that the messages of this project make; it names the member."""


@dataclass(frozen=True, slots=True)
class Pressed:
    """One press of a button: the person, the place, the sealed value and the scope that was selected, if any."""

    app: str
    team: str
    channel: str
    message: str
    user: str
    user_team: str | None  # the person's own workspace, where Slack names it: a shared channel has people of others
    action: str
    value: str
    scope: str | None
    response_url: str = field(repr=False)


def payload_in(body: bytes) -> str:
    """Return the one `payload` of a form. Raises FormError."""
    try:
        fields = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=FIELDS_MAX,
            errors="strict",
        )
    except ValueError:
        fields = []
    if [name for name, _ in fields] != [FIELD]:
        raise FormError(f"the body is not a form with exactly one `{FIELD}` and no other field")
    return fields[0][1]


def pressed_in(text: str) -> Pressed | None:
    """Read the payload; None for a choice in the menu of scopes, which answers nothing yet. Raises PayloadError."""
    try:
        value = parse_strict(text.encode("utf-8", "surrogatepass"), depth_max=DEPTH_MAX)
    except MalformedJSONError as exc:
        raise PayloadError(f"the payload is not strict JSON: {exc.cause}") from None
    if _member(value, "type") != "block_actions":
        raise PayloadError("`type` is not block_actions")
    actions = _member(value, "actions")
    if not isinstance(actions, list) or len(actions) != 1:
        raise PayloadError("`actions` has not exactly one element")
    action = _text(actions[0], "action_id")
    if action == SCOPE:
        return None
    if action not in {APPROVE, DENY}:
        raise PayloadError("`action_id` is not one of this project")
    return Pressed(
        app=_text(value, "api_app_id"),
        team=_text(value, "team", "id"),
        channel=_text(value, "channel", "id"),
        message=_text(value, "container", "message_ts"),
        user=_text(value, "user", "id"),
        user_team=None if _member(value, "user", "team_id") is None else _text(value, "user", "team_id"),
        action=action,
        value=_text(actions[0], "value"),
        scope=_scope(value),
        response_url=_text(value, "response_url"),
    )


def _scope(value: JSONValue) -> str | None:
    """Return the selected scope; None if the message has no menu, or nothing was chosen in it."""
    found: Any = value
    for name in ("state", "values", ANSWER_BLOCK, SCOPE, "selected_option"):
        if not isinstance(found, dict):
            raise PayloadError("`state` does not have the form of a menu's choice")
        found = found.get(name)
        if found is None:
            return None
    return _text(found, "value")


def _member(value: JSONValue, *names: str) -> JSONValue:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: JSONValue, *names: str) -> str:
    found = _member(value, *names)
    if not isinstance(found, str) or not 0 < len(found) <= TEXT_CHARS_MAX:
        raise PayloadError(f"`{'.'.join(names)}` is not a text of 1 to {TEXT_CHARS_MAX} characters")
    return found
