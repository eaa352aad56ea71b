"""An MCP server for `bench.gateway`, whose one tool answers at once: by its pipes (`stdio`) or at a port."""

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("pings")


@server.tool()
def ping() -> int:
    """Return a number."""
    return 7


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", port=int(sys.argv[1]))
