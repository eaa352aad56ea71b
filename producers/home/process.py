"""Connections and threads belong to the process that made them: used after a fork, they raise at once.

A child process has none of the Kafka library's threads: waiting for them never ends, closing a connection hangs, and
freeing one crashes. So a child uses no inherited connection, closes none, and frees none.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any, Self

from schemas.errors import MisuseError


class ForkedError(MisuseError):
    """A connection that was opened before a fork is used in the child; nothing was sent."""


class OfOneProcess:
    """A holder of connections or threads. Its methods call `check_process` before they take a lock."""

    _process = os.getpid()
    _forked = False  # the number alone does not say: in a namespace of its own a child may have its parent's

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Note the process, also for subclasses with an `__init__` of their own."""
        self = super().__new__(cls)
        self._process = os.getpid()
        _OPENED.add(self)
        return self

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is another process than the one that opened it: then there is nothing to close here."""
        return self._forked or os.getpid() != self._process

    def check_process(self) -> None:
        """Raise ForkedError in another process than the one that opened it."""
        if self.is_elsewhere:
            raise ForkedError(
                f"this connection was opened in process {self._process}, before a fork, and does not work in process "
                f"{os.getpid()}: nothing was sent; connect in each process, after the fork"
            )


_OPENED: weakref.WeakSet[OfOneProcess] = weakref.WeakSet()


def _keep_for_ever() -> None:
    """Keep every inherited object alive in a child: the library's destructors would wait for threads that it lacks."""
    for one in list(_OPENED):
        one._forked = True  # noqa: SLF001 - its own module
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


os.register_at_fork(after_in_child=_keep_for_ever)
