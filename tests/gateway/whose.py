"""An MCP server over HTTP that says the digest of the header that it got."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.places import until


def digest(header: str) -> str:
    return hashlib.sha256(header.encode()).hexdigest()


@contextmanager
def whose_server() -> Iterator[str]:
    """Serve it until the block ends; yield its URL."""
    server = MCPServer("whose")

    @server.tool()
    def whose(ctx: Context) -> str:
        return digest(str(ctx.request_context.request.headers.get("authorization")))

    config = uvicorn.Config(server.streamable_http_app(), host="127.0.0.1", port=0, log_level="warning")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    asyncio.run(until(lambda: running.started))
    [port] = {one.getsockname()[1] for some in running.servers for one in some.sockets}
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        running.should_exit = True
        thread.join()
