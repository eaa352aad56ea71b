"""Exceptions from enforcement with an administrator's connection: set, ended, and read as they stand."""

from __future__ import annotations

from typing import Any, NamedTuple

from producers.kafka.answers import Answer
from producers.kafka.connection import Connection
from schemas.events.enforcement import EnforcementSet
from schemas.words import EnforcementKind, EnforcementScope

MINUTE_MS = 60_000
ENDS: dict[str, str] = {  # the command that ends one of a kind
    EnforcementKind.OBSERVE: "macaw observe off",
    EnforcementKind.FREEZE: "macaw unfreeze",
    EnforcementKind.BREAK_GLASS: "macaw break-glass RESOURCE --for PERSON --end",
}


class StandingException(NamedTuple):
    """An exception that stands. `until` is log time in ms, None for one that an administrator ends."""

    kind: str
    scope: str
    name: str
    person: str
    since: int
    until: int | None
    event: str
    by: str
    reason: str

    @property
    def told(self) -> str:
        """The thing that it is about, in words."""
        thing = self.scope if self.scope == EnforcementScope.TENANT else f"{self.scope} {self.name}"
        return f"{thing} for {self.person}" if self.person else thing


def set_exception(
    connection: Connection, kind: EnforcementKind, scope: EnforcementScope, name: str = "", *, reason: str, **more: Any
) -> Answer:
    """Begin an exception, or end it with `on=False`. Raises as `Connection.ask`.

    A tenant of engine 1 refuses it NOT_SUPPORTED.
    """
    body = {"kind": str(kind), "scope": str(scope), "name": name, "on": True, "reason": reason, **more}
    return connection.ask(EnforcementSet(**body))


def standing_in(connection: Connection) -> list[StandingException]:
    """Return the exceptions of a tenant that stand now. Raises as `Connection.query`."""
    return [StandingException(**one) for one in connection.query("enforcement")["enforcement"]]
