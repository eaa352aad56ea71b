"""Modules of a command's user: found as `python -m` would find them, and any failure of theirs told in a sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

from macaw.cli.terminal.errors import CommandError

T = TypeVar("T")


def imported(load: Callable[[str], T], module: str, told: type[Exception]) -> T:
    """Return `load(module)`, with modules beside the user found too.

    Raises:
        CommandError: every failure of the module but those of the class `told`, which pass as they are.
    """
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - sys.path holds strings
    try:
        return load(module)
    except told:
        raise
    except (Exception, SystemExit) as exc:  # a user's module may raise anything, or end itself
        raise CommandError(
            f"{module} cannot be imported: {type(exc).__name__}: {exc}; MACAW_DEBUG=1 shows where"
        ) from exc
