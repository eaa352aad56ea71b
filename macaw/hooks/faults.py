"""Errors of the hooks of coding agents."""

from __future__ import annotations

from schemas.errors import InputError


class UnreadableUseError(InputError):
    """A tool use cannot be named as a governed call with certainty, so it is not asked for; the message says why."""
