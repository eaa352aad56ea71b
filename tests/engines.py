"""Engines later than those of this installation, for tests. No configuration of an installation reaches them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from processors.calls import decision
from processors.state.engine import ENGINE
from processors.state.engines import Engine, Engines, installed
from schemas.events.engines import EngineActivated, EngineData
from schemas.records import InvocationRequested
from schemas.words import Outcome

NEWEST: dict[str, Any] = {
    "engine": ENGINE,
    "data": installed()[ENGINE].data,
}  # of a founding, as `tenant create` makes it
MARK = "decided by engine 3"
DATA_LATER = (EngineData(name="catalogue-1", sha256=b"\x01" * 32), EngineData(name="unicode-99", sha256=b"\x02" * 32))


def _request(tables: Any, effects: Any, act: Any) -> tuple[str, str]:
    """Decide a call as engine 1 does, and tell its caller who decided."""
    decided = decision.request(tables, effects, act.signer, act.event, act.body)
    effects.reply(Outcome.ACCEPTED, detail=MARK)
    return decided


LATER = Engine(3, DATA_LATER, {InvocationRequested: _request})
WITH_LATER: Engines = {**installed(), 3: LATER}
ONLY_LATER: Engines = {3: LATER}
DATA_LATER_TOO = DATA_LATER[:1]
LATER_TOO = Engine(4, DATA_LATER_TOO)  # decides as engine 1 does
ONLY_LATER_TOO: Engines = {4: LATER_TOO}


def _deny(tables: Any, effects: Any, act: Any) -> tuple[str, str]:
    """Deny calls of tool:bank: a rule that the first engine does not have."""
    body = replace(act.body, resource="other:x") if act.body.resource.startswith("tool:bank/") else act.body
    return decision.request(tables, effects, act.signer, act.event, body)


STRICTER: Engines = {3: Engine(3, DATA_LATER, {InvocationRequested: _deny})}


class AnyData(tuple[EngineData, ...]):
    """Equal to all data."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


class Every(dict[int, Engine]):
    """Engines of every number and with all data, which all decide alike: for records that are made by chance."""

    def get(self, number: int, default: object = None) -> Engine:  # type: ignore[override]
        return Engine(number, AnyData())


EVERY: Engines = Every(installed())


def activation(
    engine: int = 3, data: tuple[EngineData, ...] = DATA_LATER, reason: str = "new rules"
) -> EngineActivated:
    """Return the activation of engine 3, or of another one."""
    return EngineActivated(engine=engine, data=data, reason=reason)
