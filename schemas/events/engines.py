"""The engine: the version of the rules that decides, with the data that they read beside the log."""

from __future__ import annotations

from schemas.record import record


@record
class EngineData:
    """Data of an engine: its name with a version, and its SHA-256."""

    name: str
    sha256: bytes


@record
class EngineActivated:
    """From this event's entry on, engine number `engine` decides."""

    engine: int
    data: tuple[EngineData, ...]
    reason: str
