"""An MCP server for tests, as its author would write it: it knows nothing of a gateway. Spoken to by its pipes.

MACAW_TEST_GREETING is the description of `greet`, MACAW_TEST_MARKS a file in which `slow` says how it has ended.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from pathlib import Path

import mcp_types as types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

warnings.simplefilter("ignore")
MARK = Path(os.environ.get("MACAW_TEST_MARKS", os.devnull))
server = MCPServer("everything", instructions="Greet people.")


@server.tool(description=os.environ.get("MACAW_TEST_GREETING", "Greet a person."))
def greet(who: str) -> str:
    return f"Hello {who}"


@server.tool()
async def learn(name: str, ctx: Context) -> str:
    """Offer a further tool."""

    def learnt() -> str:
        return f"I am {name}"

    server.add_tool(learnt, name=name, description="Say a name.")
    await ctx.session.send_tool_list_changed()
    return name


def mark(how: str) -> None:
    """Write down how a call has ended."""
    MARK.write_text(how)


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError("no insurance policy with this number")


@server.tool()
def blocks() -> list[types.TextContent | types.ImageContent]:
    """Answer with a text and a picture."""
    return [
        types.TextContent(type="text", text="first"),
        types.ImageContent(type="image", data="aGVsbG8=", mime_type="image/png"),
    ]


@server.tool()
async def slow(seconds: float, ctx: Context) -> str:
    """Report progress, and take a while."""
    try:
        for step in range(10):
            await ctx.report_progress(step, 10, f"step {step}")
            await asyncio.sleep(seconds / 10)
    except asyncio.CancelledError:
        mark("cancelled")
        raise
    mark("ended")
    return "done"


class Age(BaseModel):
    """What a person is asked."""

    age: int


@server.tool()
async def ask_age(ctx: Context) -> str:
    """Ask the person."""
    said = await ctx.elicit("How old are you?", Age)
    return f"{said.action} {said.data.age if said.action == 'accept' else ''}"


@server.tool()
async def summarise(text: str, ctx: Context) -> str:
    """Ask the client's model."""
    said = await ctx.session.create_message(
        [types.SamplingMessage(role="user", content=types.TextContent(type="text", text=text))],
        max_tokens=10,
        related_request_id=ctx.request_id,
    )
    return str(said.content.text)


@server.tool()
def die() -> str:
    """End this process."""
    os._exit(3)


@server.resource("note://{name}")
def note(name: str) -> str:
    """Return a note."""
    return f"note {name}"


@server.resource("text://fixed")
def fixed() -> str:
    """Return a fixed text."""
    return "fixed text"


@server.prompt()
def greet_prompt(who: str) -> str:
    """Return a prompt."""
    return f"Greet {who}."


if __name__ == "__main__":
    server.run("stdio")
