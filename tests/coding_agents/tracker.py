"""An MCP server of two tools: `python tracker.py FOLDER` notes each call as a file of the folder."""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("tracker")


@server.tool()
def list_issues(repo: str) -> str:
    """List the issues of a repository."""
    (Path(sys.argv[1]) / "listed").touch()
    return f"{repo} has one issue"


@server.tool()
def delete_repo(repo: str) -> str:
    """Delete a repository."""
    (Path(sys.argv[1]) / "deleted").touch()
    return f"{repo} is gone"


if __name__ == "__main__":
    server.run("stdio")
