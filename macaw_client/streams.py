"""The parts of a call's result, as they come. The call returns with the first one, so it raises a denial itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from macaw_client.errors import told_as_ours
from macaw_client.exits import later
from producers.client.streaming import ResultStream


class ResultParts(Iterator[Any]):
    """The parts of one result. `close()`, or leaving them behind, tells the tool to stop."""

    def __init__(self, stream: ResultStream) -> None:
        """Wait for the first part, or for the end. Raises as `MACAWClient.invoke_tool`."""
        self._stream = stream
        self._first: list[Any] = []
        with told_as_ours():
            self._first += [one for one in (next(stream, _END),) if one is not _END]

    def keep(self, client: object) -> None:
        """Keep the client that called: a session that ended with it would end the stream."""
        self._client = client

    def __next__(self) -> Any:
        """Return the next part. Raises ToolFailedError where the tool broke off, StreamBrokenError."""
        if self._first:
            return self._first.pop()
        with told_as_ours():
            return next(self._stream)

    def close(self) -> None:
        """Give no further part, and tell the tool to stop."""
        self._first.clear()
        self._stream.close()

    def __del__(self) -> None:
        stream = getattr(self, "_stream", None)
        if stream is not None and not stream.is_over:
            later(stream.close)  # its word to stop waits for the brokers, and a collector must not


_END = object()
