"""The server that the conformance suite asks for, once more: of functions, as an author of SecureMCP writes it.

`MACAW_HOME=… python conformance_functions.py TENANT NAME CALLER` serves it over HTTP, and prints its URL.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import Annotated, Any, Literal

import mcp_types as types
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.utilities.types import Audio, Image
from pydantic import BaseModel, Field, WithJsonSchema

from macaw.adapters.mcp import Context, SecureMCP
from tests.gateway.conformance_server import ENUMS, PICTURE, SOUND, STEP_SECONDS

_, TENANT, NAME, CALLER = sys.argv if len(sys.argv) == 4 else ("", "acme", "conformance", "suite")
mcp = SecureMCP(NAME, tenant=TENANT)
PIXEL = base64.b64decode(PICTURE)


def embedded(uri: str, text: str, kind: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(
        type="resource", resource=types.TextResourceContents(uri=uri, mime_type=kind, text=text)
    )


# --- tools that only answer


@mcp.tool
def test_simple_text() -> str:
    return "This is a simple text response for testing."


@mcp.tool
def test_reconnection() -> str:
    return "The stream was not closed."  # a server without events cannot close it


@mcp.tool
def test_image_content() -> Image:
    return Image(data=PIXEL, format="png")


@mcp.tool
def test_audio_content() -> Audio:
    return Audio(data=base64.b64decode(SOUND), format="wav")


@mcp.tool
def test_embedded_resource() -> types.EmbeddedResource:
    return embedded("test://embedded-resource", "An embedded resource.", "text/plain")


@mcp.tool
def test_multiple_content_types() -> list[types.TextContent | Image | types.EmbeddedResource]:
    return [
        types.TextContent(type="text", text="Multiple content types test:"),
        Image(data=PIXEL, format="png"),
        embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ]


@mcp.tool
def test_error_handling() -> str:
    raise ToolError("This tool intentionally returns an error for testing")


class address(BaseModel):  # noqa: N801 - the suite looks for a definition of this name
    street: str = ""


@mcp.tool
def json_schema_2020_12_tool(name: str = "", address: address | None = None) -> str:
    return f"{name} {address}"


# --- tools that speak to the client meanwhile


@mcp.tool
async def test_tool_with_logging(ctx: Context) -> str:
    for at, line in enumerate(("Tool execution started", "Tool processing data", "Tool execution completed")):
        await asyncio.sleep(STEP_SECONDS if at else 0)
        await ctx.info(line)
    await asyncio.sleep(STEP_SECONDS)
    return "logged"


@mcp.tool
async def test_tool_with_progress(ctx: Context) -> str:
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await asyncio.sleep(STEP_SECONDS)
    return "done"


@mcp.tool
async def test_sampling(prompt: str, ctx: Context) -> str:
    return f"LLM response: {await ctx.sample(prompt, max_tokens=100)}"


class User(BaseModel):
    username: str
    email: str


@mcp.tool
async def test_elicitation(message: str, ctx: Context) -> str:
    return f"User response: {await ctx.elicit(message, User)!r}"


class Defaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Literal["active", "inactive", "pending"] = "active"
    verified: bool = True


@mcp.tool
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    said = await ctx.elicit("Please choose.", Defaults)
    return f"Elicitation completed: action={said.action}"


class Enums(BaseModel):
    """Each kind of choice that a form has."""

    untitled_single: Annotated[str, WithJsonSchema(ENUMS["untitledSingle"])] = Field(alias="untitledSingle")
    titled_single: Annotated[str, WithJsonSchema(ENUMS["titledSingle"])] = Field(alias="titledSingle")
    legacy: Annotated[str, WithJsonSchema(ENUMS["legacyEnum"])] = Field(alias="legacyEnum")
    untitled_multi: Annotated[list[str], WithJsonSchema(ENUMS["untitledMulti"])] = Field(alias="untitledMulti")
    titled_multi: Annotated[list[str], WithJsonSchema(ENUMS["titledMulti"])] = Field(alias="titledMulti")


@mcp.tool
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    said = await ctx.elicit("Please choose.", Enums)
    return f"Elicitation completed: action={said.action}"


# --- resources and prompts


@mcp.resource("test://static-text", name="static-text")
def static_text() -> str:
    return "This is a text resource."


@mcp.resource("test://static-binary", name="static-binary", mime_type="image/png")
def static_binary() -> bytes:
    return PIXEL


@mcp.resource("test://watched-resource", name="watched-resource")
def watched() -> str:
    return "This is a text resource."


@mcp.resource("test://template/{id}/data", name="template", mime_type="application/json")
def template(id: str) -> dict[str, Any]:  # noqa: A002 - the suite's own name
    return {"id": id, "templateTest": True}


@mcp.prompt
def test_simple_prompt() -> str:
    return "This is a simple prompt for testing."


@mcp.prompt
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    return f"arg1='{arg1}', arg2='{arg2}'"


@mcp.prompt(name="test_prompt_with_embedded_resource")
def with_resource(resourceUri: str) -> list[Any]:  # noqa: N803 - the suite's own name
    return [embedded(resourceUri, "Content.", "text/plain"), "Process it."]


@mcp.prompt
def test_prompt_with_image() -> list[Any]:
    return [Image(data=PIXEL, format="png"), "Please analyze the image above."]


@mcp.completion()
def complete(ref: object, argument: object, context: object) -> list[str]:
    return ["testing"]


def say(port: int) -> None:
    print(f"is served at http://127.0.0.1:{port}/mcp", flush=True)


if __name__ == "__main__":
    mcp.run("http", 0, caller=CALLER, on_ready=say)
