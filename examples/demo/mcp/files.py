"""A server of files for a machine without Node.js: three tools of the reference server, by the same names.

`python files.py FOLDER` speaks MCP by its pipes. It knows nothing of a gateway, and guards nothing below FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("files")


def _inside(path: str) -> Path:
    found, root = Path(path).resolve(), Path(sys.argv[1]).resolve()
    if not found.is_relative_to(root):
        raise ToolError(f"Access denied: {path} is not below {root}")
    return found


@server.tool()
def read_text_file(path: str) -> str:
    """Read the complete contents of a file as text."""
    return _inside(path).read_text("utf-8")


@server.tool()
def list_directory(path: str) -> str:
    """Get a listing of all files and directories in a path."""
    return "\n".join(sorted(f"[{'DIR' if one.is_dir() else 'FILE'}] {one.name}" for one in _inside(path).iterdir()))


@server.tool()
def write_file(path: str, content: str) -> str:
    """Create a new file or overwrite an existing file."""
    _inside(path).write_text(content, "utf-8")
    return f"Successfully wrote to {path}"


if __name__ == "__main__":
    server.run("stdio")
