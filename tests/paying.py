"""A bank that remembers what it paid, and the policy of those who may call it."""

from __future__ import annotations

from typing import Any

from producers.tools import tool

PAYER: dict[str, Any] = {"policy_id": "role:payer", "resources": ["tool:bank/*"]}


class Bank:
    """Remembers what it was told to pay, by the caller's number."""

    def __init__(self) -> None:
        self.paid: list[int] = []

    @tool
    def pay(self, number: int) -> dict[str, int]:
        """Pay."""
        self.paid.append(number)
        return {"paid": number}
