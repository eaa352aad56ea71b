"""Engines in the second registry, from `docs/wire.md` section 14 alone."""

from __future__ import annotations

import re

from tests.reference.registry_parts import Json, Refused
from tests.reference.wire_reference import digest

# The engines that a reader holds, each with its data by name.
Held = dict[int, dict[str, str]]
FIRST: Held = {1: {}}


class EngineRules:
    """The part of a registry that knows which engine decides."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.engine: tuple[int, dict[str, str]] = 1, {}
        self.data_ever: dict[str, str] = {}

    def holds_engine(self, founding: Json | None, genesis: bytes) -> bool:
        """True if the engine of the next entry is held; entry 0 comes with the claim of its founding event."""
        number, data = self.engine
        if founding and founding["kind"] == "TenantFounded" and digest(founding["datum"]) == genesis:
            number, data = founding["body"].get("engine", 1), named(founding["body"].get("data", []))
        return number in self.held and (self.held[number] == data or (number == 1 and not data))

    def found_with(self, body: Json) -> None:
        """Begin with the engine of the founding event."""
        self._name_data(body.get("data", []))
        self.engine = body.get("engine", 1), named(body.get("data", []))

    def _EngineActivated(self, _: Json, body: Json) -> None:  # noqa: N802
        if not 0 < len(body["reason"]) <= 1024:
            raise Refused("ENGINE_FORM")
        if body["engine"] <= self.engine[0]:
            raise Refused("ENGINE_NOT_NEWER")
        if body["engine"] > self.engine[0] + 1000:
            raise Refused("ENGINE_FORM")
        self._name_data(body["data"])
        self.engine = body["engine"], named(body["data"])

    def _name_data(self, data: list[Json]) -> None:
        names = [one["name"] for one in data]
        fits = all(re.fullmatch("[!-~]([ -~]{0,126}[!-~])?", name) for name in names)
        if len(data) > 64 or not fits or names != sorted(set(names)) or any(len(one["sha256"]) != 64 for one in data):
            raise Refused("ENGINE_FORM")
        if any(self.data_ever.get(one["name"], one["sha256"]) != one["sha256"] for one in data):
            raise Refused("ENGINE_DATA_CONFLICT")
        self.data_ever |= named(data)


def named(data: list[Json]) -> dict[str, str]:
    return {one["name"]: one["sha256"] for one in data}
