"""A second engine with a rule that differs, for tests. No configuration of an installation reaches it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from processors.calls import decision
from processors.state.engines import Engine, Engines, installed
from schemas.events.engines import EngineActivated, EngineData
from schemas.records import InvocationRequested
from schemas.words import Outcome

MARK = "decided by engine 2"
DATA_2 = (EngineData(name="catalogue-1", sha256=b"\x01" * 32), EngineData(name="unicode-99", sha256=b"\x02" * 32))


def _request(tables: Any, effects: Any, act: Any) -> tuple[str, str]:
    """Decide a call as engine 1 does, and tell its caller who decided."""
    decided = decision.request(tables, effects, act.signer, act.event, act.body)
    effects.reply(Outcome.ACCEPTED, detail=MARK)
    return decided


SECOND = Engine(2, DATA_2, {InvocationRequested: _request})
BOTH: Engines = {**installed(), 2: SECOND}
ONLY_SECOND: Engines = {2: SECOND}
DATA_3 = DATA_2[:1]
THIRD = Engine(3, DATA_3)  # decides as engine 1 does
THIRD_TOO: Engines = {3: THIRD}


def _deny(tables: Any, effects: Any, act: Any) -> tuple[str, str]:
    """Deny calls of tool:bank: a rule that the first engine does not have."""
    body = replace(act.body, resource="other:x") if act.body.resource.startswith("tool:bank/") else act.body
    return decision.request(tables, effects, act.signer, act.event, body)


STRICTER: Engines = {2: Engine(2, DATA_2, {InvocationRequested: _deny})}


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


def activation(engine: int = 2, data: tuple[EngineData, ...] = DATA_2, reason: str = "new rules") -> EngineActivated:
    """Return the activation of the second engine, or of another one."""
    return EngineActivated(engine=engine, data=data, reason=reason)
