"""How long the tests wait for something that must come to hold: one figure for all of them.

A wait that is fulfilled costs nothing, however long it might have lasted; one that runs out on a busy machine costs
a run of the whole gate. Waits that are part of what is tested (nothing may come, a time-out must end a call) stand
in their tests with their own figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 300.0  # below a test's own time-out (pyproject.toml), so that the wait says what it lacked


def wait_until(
    done: Callable[[], T],
    what: str | Callable[[], str] = "",
    *,
    pause: float = 0.01,
    meanwhile: Callable[[], object] | None = None,
) -> T:
    """Ask again and again until the answer is true, and return that answer.

    `pause` seconds pass between two questions; `meanwhile` is called before each pause. `what` names the condition.

    Raises:
        AssertionError: it did not come to hold in PATIENCE_SECONDS; the text says `what`.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while not (answer := done()):
        if time.monotonic() > until:
            raise AssertionError(f"not in {PATIENCE_SECONDS:g} s: {what() if callable(what) else what}".rstrip(": "))
        if meanwhile is not None:
            meanwhile()
        time.sleep(pause)
    return answer
