"""An MCP client with nothing of this project in it: it starts the server that a configuration names, and asks it.

`python ask.py CONFIGURATION TOOL ARGUMENTS` prints the names of the tools that it is shown, and the answer of one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp_types import TextContent


async def main(server: StdioServerParameters, tool: str, arguments: dict[str, Any]) -> None:
    """Call one tool of a server."""
    async with Client(server) as client:
        print("tools:", *sorted(one.name for one in (await client.list_tools()).tools))
        answer = await client.call_tool(tool, arguments)
        print(*(one.text.strip() for one in answer.content if isinstance(one, TextContent)))


if __name__ == "__main__":
    [configured] = json.loads(Path(sys.argv[1]).read_text("utf-8"))["mcpServers"].values()
    asyncio.run(main(StdioServerParameters(**configured), sys.argv[2], json.loads(sys.argv[3])))
