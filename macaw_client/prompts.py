"""A prompt as a text that carries its proof: a `str` everywhere that a text is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from producers.client.prompts import create_prompt


class AuthenticatedText(str):
    """A prompt's text. `prompt_id` is its id on the log, in hex, once a call that carries it is allowed.

    `invoke_tool` makes such a prompt of every parameter that a tool declares as one: nothing more is needed for that.
    """

    __slots__ = ("metadata", "prompt_id")

    metadata: dict[str, Any]
    prompt_id: str

    def __new__(cls, text: str, session_id: bytes, metadata: Mapping[str, Any] | None = None) -> Self:
        """Make the prompt of a session. Raises ValueError for a text that is not Unicode."""
        made = super().__new__(cls, text)
        made.prompt_id = create_prompt(session_id, "prompt", str.__str__(made)).prompt_id.hex()
        made.metadata = dict(metadata or {})
        return made

    @property
    def prompt_text(self) -> str:
        """The text alone."""
        return str.__str__(self)
