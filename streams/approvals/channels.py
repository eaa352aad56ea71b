"""The two channels: each shows a question in its present state, once, or raises PostError.

**Webhook** (Standard Webhooks 1.0). It is told when a question begins and when it is over. It answers nothing: only the
key of a person or of a registered approver signs.

**Slack.** A question is one message, which is updated with its state (`chat.postMessage`, `chat.update`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, Protocol

from streams.approvals.posting import ChannelReply, Poster, PostError, to_json
from streams.approvals.proofs import Buttons, webhook_signature
from streams.approvals.questions import CallQuestion, Group, ListedCall
from streams.approvals.settings import SlackSettings, WebhookSettings
from streams.approvals.showing import line_of, plain
from streams.approvals.slack_messages import NEVER_LINKED, State, message, private_note

_SLOW_DOWN = 30.0  # seconds, where Slack says `ratelimited` without a header


class Channel(Protocol):
    """A place where people are asked. Its methods block for a bounded time, and may be called by several threads."""

    shows_parameters: bool

    def show(self, question: CallQuestion, state: State, place: str | None) -> str:
        """Show a question in this state and return its place; `place` is where it was shown before.

        Raises:
            PostError: it is not shown, as far as is known.
        """


class WebhookChannel:
    """A channel that POSTs signed JSON."""

    def __init__(
        self,
        settings: WebhookSettings,
        poster: Poster,
        tenant: str,
        approver: str,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self.shows_parameters = settings.shows_parameters
        self._settings, self._poster, self._tenant, self._approver = settings, poster, tenant, approver
        self._clock_s = clock_s

    def show(self, question: CallQuestion, state: State, place: str | None) -> str:
        if place is not None and not state.is_over:
            return place  # a webhook is told of the beginning and of the end
        kind = "approval.asked" if place is None else "approval.ended"
        message_id = f"{question.question_id}.{kind.partition('.')[2]}"
        body = to_json(self._event(kind, question, state))
        now_s = int(self._clock_s())
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": webhook_signature(self._settings.key, message_id, now_s, body),
        }
        reply = self._poster.post(self._settings.url, self._settings.private_hosts, body, headers)
        reply.raise_for_status("the webhook")
        return question.question_id

    def _event(self, kind: str, question: CallQuestion, state: State) -> dict[str, Any]:
        group = question.group
        return {
            "type": kind,
            "tenant": self._tenant,
            "approver": self._approver,
            "question": question.question_id,
            "for_user": plain(group.for_user),
            "for_agent": plain(group.for_agent),
            "key": plain(group.key),
            "one_time": group.is_one_time,
            "scopes": dict(group.scopes),
            "more": question.more,
            "calls": [self._call(one, end) for one, end in zip(question.calls, state.ends, strict=True)],
        }

    def _call(self, one: ListedCall, end: str | None) -> dict[str, Any]:
        told: dict[str, Any] = {
            "request": one.call.request,
            "resource": plain(one.resource),
            "parameters_sha256": one.call.parameters_sha256,
            "open_until": one.open_until,
            "command": f"macaw approvals approve {one.call.request} --as user:NAME",
        }
        if end is not None:
            told["ended"] = end
        if self.shows_parameters and one.parameters is not None:
            told["parameters"] = line_of(one.parameters)
        return told


class SlackChannel:
    """A channel of one Slack workspace."""

    def __init__(self, settings: SlackSettings, poster: Poster, tenant: str, approver: str) -> None:
        self.settings = settings
        self.shows_parameters = settings.shows_parameters
        place = (tenant, approver, settings.app, settings.team, settings.channel)
        self.buttons = Buttons(settings.signing_secret, place)
        self._poster, self._approver = poster, approver
        self._has_buttons = not all(one.is_link for one in settings.people.values())

    def show(self, question: CallQuestion, state: State, place: str | None) -> str:
        shown = message(
            question,
            state,
            buttons=(self.buttons, terms_digest(question.group)) if self._has_buttons else None,
            approver=f"approver:{self._approver}",
            shows_parameters=self.shows_parameters,
        )
        body = {"channel": self.settings.channel, **shown, **NEVER_LINKED}
        if place is None:
            reply = self._call("chat.postMessage", body)
            found = reply.value.get("ts")
            if not isinstance(found, str) or not found:
                raise PostError("Slack took the message, and its answer has no `ts`")
            return found
        self._call("chat.update", {**body, "ts": place})
        return place

    def tell(self, response_url: str, text: str) -> None:
        """Tell one person something, by the address in their own press. Raises PostError."""
        if not response_url.startswith(f"{self.settings.hooks}/"):
            raise PostError("`response_url` does not lead to Slack, so nobody was told")
        reply = self._poster.post(response_url, self.settings.private_hosts, to_json(private_note(text)), {})
        reply.raise_for_status("Slack")

    def _call(self, method: str, body: dict[str, Any]) -> ChannelReply:
        token = {"Authorization": f"Bearer {self.settings.bot_token}"}
        hosts = self.settings.private_hosts
        reply = self._poster.post(f"{self.settings.api}/{method}", hosts, to_json(body), token)
        reply.raise_for_status("Slack")
        if reply.value.get("ok") is not True:
            error = reply.value.get("error")
            code = error if isinstance(error, str) and error.isascii() and error.isidentifier() else "no error code"
            raise PostError(f"Slack refused {method}: {code[:64]}", _SLOW_DOWN if code == "ratelimited" else None)
        return reply


def terms_digest(group: Group) -> bytes:
    """Return the digest of the terms of a question, by which a button names them: for whom, which key, for how long."""
    return hashlib.sha256(to_json(group)).digest()
