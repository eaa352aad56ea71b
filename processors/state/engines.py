"""The engines of this installation: versions of the rules, with the data that the rules read beside the log.

Which engine decides is on the log: `TenantFounded` and `EngineActivated` name its number and its data, each datum by
name and digest. The same number with the same data gives the same bytes on every machine. An installation holds the
engine of `processors/state/engine.py`, and the one before it for as long as tenants decide by that one.

To change a rule, raise `ENGINE`, which adds a row to `installed`, and let the rule ask which engine decides:

    if tables.engine.number >= 2: ...        the new rule
    else: ...                                the old one, until no installation holds engine 1

An engine may need packages to decide that it does not need to follow a log: clients, tool hosts and verifiers of
evidence hold it without them, and `Tables.check_decides` stops all others.

`handlers` of an engine replaces whole handlers of `processors/handlers.py`, for a change that is larger than that.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from processors.content.identity import PACKAGES
from processors.state.engine import DETECTING, ENGINE, data
from processors.text.characters import quoted
from schemas.errors import StoppedError
from schemas.events.engines import EngineData

FIRST = 1  # the engine of tenants that were founded before a founding event named its data
DIFFERENCES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Engine:
    """A version of the rules: its number, its data in order of names, and the handlers in which it differs.

    `packages` are those without which it decides nothing, each with its version.
    """

    number: int
    data: tuple[EngineData, ...]
    handlers: Mapping[type, Callable[..., tuple[str, str]]] = field(default_factory=dict)
    packages: tuple[tuple[str, str], ...] = ()


Engines = Mapping[int, Engine]


@functools.cache
def installed() -> Engines:
    """Return the engines of this installation by number."""
    return {number: _engine(number) for number in range(FIRST, ENGINE + 1)}


def _engine(number: int) -> Engine:
    read = tuple(EngineData(name=name, sha256=digest) for name, digest in data(number))
    return Engine(number, read, packages=PACKAGES if number >= DETECTING else ())


class EngineMissingError(StoppedError):
    """The tenant's engine is not installed here, so nothing may be decided. Nothing has changed."""

    code = "ENGINE_MISSING"

    def __init__(self, number: int, wanted: tuple[EngineData, ...], held: Engines, lacking: str = "") -> None:
        """`lacking` names packages that are not here, where the engine is held and cannot decide without them."""
        self.number, self.wanted = number, wanted
        why = _without(number, lacking) if lacking else _difference(number, wanted, held)
        self.told = f"{why}; see docs/engines.md"  # without the code
        super().__init__(f"{self.code}: {self.told}")


def held_engine(number: int, wanted: tuple[EngineData, ...], held: Engines) -> Engine:
    """Return the engine with this number and exactly these data.

    A founding event of before data were named has none; it counts as FIRST with the data that are here. Raises
    EngineMissingError.
    """
    engine = held.get(number)
    if engine is None or (engine.data != wanted and (number != FIRST or wanted)):
        raise EngineMissingError(number, wanted, held)
    return engine


def check_decides(engine: Engine) -> None:
    """Raise EngineMissingError if a package without which the engine decides nothing is not installed here."""
    if lacking := lacking_of(engine):
        raise EngineMissingError(engine.number, engine.data, {engine.number: engine}, lacking)


def lacking_of(engine: Engine) -> str:
    """Return a list of the packages that the engine needs to decide and that are not installed here; mostly empty."""
    return _lacking(engine.packages)


@functools.cache
def _lacking(packages: tuple[tuple[str, str], ...]) -> str:
    found = ((name, version, _version_of(name)) for name, version in packages)
    return ", ".join(f"{name} {version} (here: {here or 'none'})" for name, version, here in found if here != version)


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _without(number: int, lacking: str) -> str:
    return (
        f"the tenant decides by engine {number}, which this installation can follow and not decide by: it lacks "
        f"{lacking}: install them with `pip install 'macaw-streams[server]'`"
    )


def _difference(number: int, wanted: tuple[EngineData, ...], held: Engines) -> str:
    """Return a sentence about the missing engine or data, and the version to install."""
    engine = held.get(number)
    if engine is None:
        have = ", ".join(map(str, sorted(held)))
        return (
            f"the tenant decides by engine {number}, and this installation holds {have}: install a version of macaw "
            f"that holds engine {number}"
        )
    ours, theirs = ({one.name: one.sha256 for one in some} for some in (engine.data, wanted))
    differing = [name for name in sorted({**ours, **theirs}) if ours.get(name) != theirs.get(name)]
    told = "; ".join(
        f"{quoted(name)}: want {_digest(theirs.get(name))}, here {_digest(ours.get(name))}"
        for name in differing[:DIFFERENCES_SHOWN]
    )
    more = f"; and {len(differing) - DIFFERENCES_SHOWN} more" if len(differing) > DIFFERENCES_SHOWN else ""
    return (
        f"the tenant decides by engine {number} with other data than this installation's: {told}{more}; install the "
        "version of macaw with those data"
    )


def _digest(sha256: bytes | None) -> str:
    return "none" if sha256 is None else sha256.hex()[:16] + "…"
