"""An endpoint for Slack with its queue, over a log in memory, and an honest body for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from streams.address import ON_LOOPBACK, Address
from streams.approvals.answering import TooManyPressesError
from streams.approvals.channels import terms_digest
from streams.approvals.interactions import InteractionsAPI
from streams.approvals.pressed import Pressed
from streams.approvals.proofs import Bound
from streams.approvals.slack_messages import APPROVE
from tests.streams.approvals.asked import channel, row, waiting
from tests.streams.approvals.slack_stub import APP, CAROL, CHANNEL, TEAM, form_of

URL = "http://127.0.0.1:9"


class Pressing:
    """The endpoint; presses that it takes are kept in `taken`."""

    def __init__(self, address: Address = ON_LOOPBACK, clock_s: Callable[[], float] = time.time) -> None:
        self.channel = channel(URL)
        self.taken: list[tuple[Pressed, Bound]] = []
        self.is_full, self.is_current = False, True
        settings, buttons = self.channel.settings, self.channel.buttons
        self.api = InteractionsAPI(settings, buttons, self, lambda: self.is_current, address, clock_s)
        self.body = form_of(self.payload())

    def take(self, pressed: Pressed, bound: Bound) -> None:
        if self.is_full:
            raise TooManyPressesError("too many presses wait for the log")
        self.taken.append((pressed, bound))

    def value(self, action: str = APPROVE, number: int = 0) -> str:
        """Return the value of a button about one call."""
        asked = row(number)
        bound = Bound(terms_digest(waiting(number).group), ((asked["request"], asked["parameters_sha256"]),))
        return self.channel.buttons.seal(action, bound)

    def payload(self, **changes: Any) -> dict[str, Any]:
        """Return what Slack sends when a button is pressed, with these changes."""
        return {
            "type": "block_actions",
            "user": {"id": CAROL},
            "api_app_id": APP,
            "container": {"type": "message", "message_ts": "1700000000.000000"},
            "trigger_id": "trigger-000000",
            "team": {"id": TEAM},
            "channel": {"id": CHANNEL},
            "state": {"values": {}},
            "response_url": f"{URL}/hooks/actions/1",
            "actions": [{"action_id": APPROVE, "value": self.value()}],
            **changes,
        }
