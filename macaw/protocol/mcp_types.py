"""The call of a tool as a value, for code that judges calls before they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Invocation:
    """A call of a tool. `params` may be changed by the code that judges it; nothing here is sent or signed."""

    tool_name: str
    params: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
