"""Operations that tools and sessions offer."""

from __future__ import annotations

from schemas.events.keys import KeyOffer
from schemas.record import record


@record
class ToolDeclaration:
    """One operation that a tool or a session offers."""

    resource: str
    description: str
    timeout_ms: int
    idempotent: bool
    attests: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    body_paths: tuple[str, ...] = ()
    result_body_paths: tuple[str, ...] = ()
    opaque_paths: tuple[str, ...] = ()
    maskable_paths: tuple[str, ...] = ()
    streams: bool = False
    input_schema: str | None = None
    output_schema: str | None = None


@record
class ToolsOffered:
    """A session offers these operations from now on; `key` opens calls to it and signs its reports.

    The operations take the place of those that it offered before. `label` is a name for people, and proves nothing.
    """

    tools: tuple[ToolDeclaration, ...]
    key: KeyOffer
    label: str = ""
