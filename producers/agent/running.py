"""The call that a handler executes: known in its thread, and to the calls that it makes from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call under way: the leaf of its event, the session that executes it, and the caller."""

    event: bytes
    executor: bytes
    source: bytes
    principal_id: str
    resource: str
    subjects: tuple[str, ...]


_RUNNING: ContextVar[RunningCall | None] = ContextVar("macaw_running_call", default=None)


def running_call() -> RunningCall | None:
    """Return the call that is executed in this thread, None outside of one. Threads that a handler starts have none."""
    return _RUNNING.get()


@contextmanager
def executing(call: RunningCall) -> Iterator[None]:
    """Execute a call in the block."""
    before = _RUNNING.set(call)
    try:
        yield
    finally:
        _RUNNING.reset(before)
