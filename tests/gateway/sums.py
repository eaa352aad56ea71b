"""A server of SecureMCP for tests, as its author would write it: functions that answer, ask, call others, and break."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

from macaw.adapters.mcp import Context, SecureMCP, UnansweredError
from tests.installation import Installation

SECRET = "hunter2-of-the-database"


def policy(who: str, *resources: str, **more: Any) -> dict[str, Any]:
    return {"policy_id": f"service:{who}", "resources": list(resources), **more}


POLICIES = (
    policy("clerk", "tool:sums/*", "mcp:sums/**", denied_resources=["mcp:sums/roots/list"]),
    policy("clerk2", "tool:sums/*", "mcp:sums/**", "tool:times"),
    policy("guest", "tool:sums/add", constraints={"parameters": {"tool:sums/add": {"a": {"max": 10}}}}),
    policy("sums", "tool:sums/add", "tool:times"),
    policy("by-pipes", "tool:piped/*", "mcp:piped/**"),
    policy("desk", "tool:both/*", "tool:note"),
)


class Age(BaseModel):
    """The answer of a person."""

    age: int


def made(here: Installation, seen: list[Any]) -> SecureMCP:
    """Return a server, as an author writes it. `seen` takes notes of its functions."""

    @asynccontextmanager
    async def life(_: SecureMCP) -> AsyncIterator[dict[str, str]]:
        seen.append("entered")
        yield {"database": "open"}
        seen.append("left")

    mcp = SecureMCP("sums", tenant=here.folder.tenant, home=here.home, instructions="Add numbers.", lifespan=life)

    @mcp.tool
    def add(a: float, b: float = 1.0) -> float:
        """Add two numbers."""
        seen.append(("add", a, b, threading.current_thread() is threading.main_thread()))
        return a + b

    @mcp.tool(description="Say who calls.")
    async def who(ctx: Context) -> dict[str, Any]:
        return {"principal": ctx.principal, "user": ctx.user, "call": ctx.call_id, "life": ctx.lifespan["database"]}

    @mcp.tool
    async def wait(ctx: Context) -> None:
        try:
            await ctx.report_progress(1)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            with pytest.raises(UnansweredError):  # its call is over
                await ctx.list_roots()
            raise

    add_asking(mcp)
    add_broken(mcp)
    add_others(mcp)
    return mcp


def add_asking(mcp: SecureMCP) -> None:
    """Add tools that ask the client."""

    @mcp.tool
    async def ask_all(text: str, ctx: Context) -> str:
        answer = await ctx.sample(text, system_prompt="Shout.")
        await ctx.report_progress(1, 2, "half")
        said = await ctx.elicit("How old are you?", Age)
        ctx.info("asked")
        return f"{answer} {said.action} {said.data.age if said.action == 'accept' else ''}"

    @mcp.tool
    async def ask_roots(ctx) -> list[str]:
        return [str(one.uri) for one in await ctx.list_roots()]

    @mcp.tool
    async def pick(ctx: Context) -> str:
        colour = await ctx.elicit("Which?", options=["red", "green"], input_type="select")
        return f"{colour} {await ctx.elicit('Sure?', input_type='confirm')}"


def add_broken(mcp: SecureMCP) -> None:
    """Add tools that end badly."""

    @mcp.tool
    def crash() -> str:
        raise RuntimeError(f"cannot connect with {SECRET}")

    @mcp.tool
    async def leave() -> str:
        sys.exit(3)

    @mcp.tool
    def fail() -> str:
        raise ToolError("no such account")

    @mcp.tool(timeout_seconds=0.5)
    def hang() -> str:
        time.sleep(20)
        return "late"

    @mcp.tool
    def huge() -> str:
        return "x" * 100_000_000


def add_others(mcp: SecureMCP) -> None:
    """Add tools that call others, and parts that are no tools."""

    @mcp.tool
    def deeper(a: float, ctx: Context) -> float:
        return float(ctx.client.invoke("tool:sums/add", {"a": a, "b": 1})["structuredContent"]["result"])

    @mcp.tool
    async def beyond(ctx: Context) -> Any:
        return await ctx.invoke("tool:bank/transfer", {"to": "eve"})

    @mcp.resource("note://{name}")
    def note(name: str) -> str:
        return f"note {name}"

    @mcp.resource("note://fixed/bytes", mime_type="image/png")
    async def picture() -> bytes:
        return b"png"

    @mcp.prompt
    def greet(who: str) -> str:
        """Greet a person."""
        return f"Greet {who}."
