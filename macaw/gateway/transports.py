"""The ways to a server: a program that is started here and spoken to by its pipes, or an address; both within bounds.

A server is not trusted: a message of it is at most MESSAGE_BYTES_MAX, and a program gets none of the environment
but the bare minimum, and the variables that were named for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from schemas.errors import InputError, UnavailableError

log = logging.getLogger(__name__)

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
GRACE_SECONDS = 3.0  # for a program to end by itself, once its input is closed


class ServerCommandError(InputError):
    """The command of a server cannot be run."""


class MessageTooLargeError(UnavailableError):
    """A server sent a message beyond the bound; the connection is given up."""


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """A program that is an MCP server: its words, and the environment that it gets beside the bare minimum."""

    words: Sequence[str] = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def told(self) -> str:
        """The program, without its arguments: these may hold secrets."""
        return Path(self.words[0]).name


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The URL of an MCP server, and headers for it; the headers are secrets, and the URL may hold one."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    fresh_headers: Callable[[], Mapping[str, str]] | None = field(default=None, repr=False)  # asked for each request

    @property
    def told(self) -> str:
        """Scheme, host and port: the rest may hold secrets."""
        url = httpx2.URL(self.url)
        return f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else "")


def transport_of(server: ServerCommand | ServerAddress) -> Any:
    """Return the transport for the MCP client. Raises ServerCommandError."""
    return _spoken_to(server) if isinstance(server, ServerCommand) else _reached(server)


# --- a program


def _program(word: str) -> str:
    found = shutil.which(word)
    if found is None:
        raise ServerCommandError(
            f"{word!r} is not a program here: give the command that starts the MCP server after `--`"
        )
    return str(Path(found).absolute())


@asynccontextmanager
async def _spoken_to(command: ServerCommand) -> AsyncIterator[tuple[Any, Any]]:
    program = _program(command.words[0])
    process = await asyncio.create_subprocess_exec(
        program,
        *command.words[1:],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr if _has_descriptor(sys.stderr) else None,
        env={**get_default_environment(), **command.environment},
        limit=MESSAGE_BYTES_MAX,
        start_new_session=True,  # a group of its own: it is ended with all that it has started
    )
    heard, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, said = anyio.create_memory_object_stream[SessionMessage](0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_hear, process, heard)
        tasks.start_soon(_say, process, said, heard)
        try:
            yield read, write
        finally:
            with anyio.CancelScope(shield=True):
                for stream in (read, write):
                    await stream.aclose()
                await _end(process)
            tasks.cancel_scope.cancel()


def _has_descriptor(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True


async def _hear(process: asyncio.subprocess.Process, heard: Any) -> None:
    assert process.stdout is not None
    async with heard:
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # a line beyond the limit
                log.error("the MCP server sent a message of more than %d bytes and is left", MESSAGE_BYTES_MAX)  # noqa: TRY400
                return
            if not line:
                return
            if line.isspace():
                continue
            try:
                message: SessionMessage | Exception = SessionMessage(
                    jsonrpc_message_adapter.validate_json(line, by_name=False)
                )
            except ValueError:
                log.warning("a line of the MCP server is no message of the protocol, and is passed over")
                continue
            with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                await heard.send(message)
                continue
            return


async def _say(process: asyncio.subprocess.Process, said: Any, heard: Any) -> None:
    assert process.stdin is not None
    async with said:
        try:
            async for one in said:
                process.stdin.write(one.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await process.stdin.drain()
        except (ConnectionError, OSError):
            await heard.aclose()  # the session sees that the connection has ended


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the program and all that it has started."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:  # what it had said is read and dropped, else the pipe stays open here
        while await process.stdout.read(MESSAGE_BYTES_MAX):
            pass
    await process.wait()


# --- an address


class _Bounded(httpx2.AsyncByteStream):
    """A response with bounded lines: a JSON answer is one line, an event stream has one for each message."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._line = stream, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            at = chunk.rfind(b"\n")
            self._line = self._line + len(chunk) if at < 0 else len(chunk) - at - 1
            if self._line > MESSAGE_BYTES_MAX:
                raise MessageTooLargeError(f"the MCP server sent a message of more than {MESSAGE_BYTES_MAX} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, fresh_headers: Callable[[], Mapping[str, str]] | None) -> None:
        super().__init__()
        self._fresh_headers = fresh_headers

    async def handle_async_request(self, request: Any) -> Any:
        if self._fresh_headers is not None:
            request.headers.update(self._fresh_headers())
        response = await super().handle_async_request(request)
        response.stream = _Bounded(response.stream)
        return response


@asynccontextmanager
async def _reached(address: ServerAddress) -> AsyncIterator[tuple[Any, Any]]:
    timeout = httpx2.Timeout(30, read=3600)  # a tool may take as long
    headers = {**address.headers, "accept-encoding": "identity"}  # nothing that inflates
    async with (
        httpx2.AsyncClient(
            transport=_BoundedTransport(address.fresh_headers), timeout=timeout, headers=headers, trust_env=False
        ) as client,
        streamable_http_client(address.url, http_client=client) as streams,
    ):
        yield streams
