"""The server that the conformance suite asks for: its tools, resources and prompts by the names that it calls.

`python conformance_server.py PORT` serves it over HTTP at /mcp, `stdio` in place of PORT by its pipes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, get_args

import mcp_types as types
import uvicorn
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ConfigDict

warnings.simplefilter("ignore")

Context = ServerRequestContext[Any, Any]
Answer = dict[str, Any]

# A picture of one pixel and a tenth of a second of silence: any bytes of these kinds do.
PICTURE: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="  # PNG
)
SOUND: Final = base64.b64encode(
    b"RIFF" + (36 + 800).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    + b"\x01\x00\x01\x00" + (8000).to_bytes(4, "little") * 2 + b"\x01\x00\x08\x00data" + (800).to_bytes(4, "little")
    + b"\x80" * 800
).decode()  # fmt: skip
STEP_SECONDS: Final = 0.05


class Params(types.RequestParams):
    """The parameters of a request, as they come."""

    model_config = ConfigDict(extra="allow")


def text(said: str) -> Answer:
    return {"type": "text", "text": said}


def picture() -> Answer:
    return {"type": "image", "data": PICTURE, "mimeType": "image/png"}


def embedded(uri: str, said: str, kind: str = "text/plain") -> Answer:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": said}}


def content(*blocks: Answer) -> Answer:
    return {"content": list(blocks)}


# --- tools that only answer

FIXED: Final[Mapping[str, Answer]] = {
    "test_simple_text": content(text("This is a simple text response for testing.")),
    "test_image_content": content(picture()),
    "test_audio_content": content({"type": "audio", "data": SOUND, "mimeType": "audio/wav"}),
    "test_embedded_resource": content(embedded("test://embedded-resource", "An embedded resource.")),
    "test_multiple_content_types": content(
        text("Multiple content types test:"),
        picture(),
        embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ),
    "test_error_handling": {**content(text("This tool intentionally returns an error for testing")), "isError": True},
    "json_schema_2020_12_tool": content(text("The schema is what is tested.")),
    "test_reconnection": content(text("The stream was not closed.")),  # a server without events cannot close it
}


# --- tools that speak to the client meanwhile


async def _with_logging(context: Context, _: Answer) -> Answer:
    for at, line in enumerate(("Tool execution started", "Tool processing data", "Tool execution completed")):
        if at:
            await asyncio.sleep(STEP_SECONDS)
        await context.session.send_log_message("info", line, related_request_id=context.request_id)
    return content(text("logged"))


async def _with_progress(context: Context, _: Answer) -> Answer:
    for done in (0, 50, 100):
        await context.session.report_progress(done, 100)
        await asyncio.sleep(STEP_SECONDS)
    return content(text("done"))


async def _sampling(context: Context, given: Answer) -> Answer:
    asked = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=str(given.get("prompt"))))
    said = await context.session.create_message([asked], max_tokens=100, related_request_id=context.request_id)
    return content(text(f"LLM response: {getattr(said.content, 'text', '')}"))


async def _elicited(context: Context, message: str, schema: Answer) -> types.ElicitResult:
    return await context.session.elicit_form(message, schema, related_request_id=context.request_id)


async def _elicitation(context: Context, given: Answer) -> Answer:
    schema = {
        "type": "object",
        "properties": {"username": {"type": "string"}, "email": {"type": "string"}},
        "required": ["username", "email"],
    }
    said = await _elicited(context, str(given.get("message")), schema)
    return content(text(f"User response: {said.action}, {json.dumps(said.content)}"))


DEFAULTS: Final[Answer] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
_TITLED: Final = [{"const": f"value{at}", "title": f"Choice {at}"} for at in (1, 2, 3)]
_PLAIN: Final = ["option1", "option2", "option3"]
ENUMS: Final[Answer] = {
    "untitledSingle": {"type": "string", "enum": _PLAIN},
    "titledSingle": {"type": "string", "oneOf": _TITLED},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _PLAIN}},
    "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
}


def _eliciting(properties: Answer) -> Callable[[Context, Answer], Awaitable[Answer]]:
    async def elicit(context: Context, _: Answer) -> Answer:
        said = await _elicited(context, "Please choose.", {"type": "object", "properties": properties})
        return content(text(f"Elicitation completed: action={said.action}, content={json.dumps(said.content)}"))

    return elicit


SPEAKING: Final[Mapping[str, Callable[[Context, Answer], Awaitable[Answer]]]] = {
    "test_tool_with_logging": _with_logging,
    "test_tool_with_progress": _with_progress,
    "test_sampling": _sampling,
    "test_elicitation": _elicitation,
    "test_elicitation_sep1034_defaults": _eliciting(DEFAULTS),
    "test_elicitation_sep1330_enums": _eliciting(ENUMS),
}
SCHEMAS: Final[Mapping[str, Answer]] = {
    "test_sampling": {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]},
    "test_elicitation": {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]},
    "json_schema_2020_12_tool": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"type": "object", "properties": {"street": {"type": "string"}}}},
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
        "additionalProperties": False,
    },
}


async def list_tools(_: Context, __: Params) -> Answer:
    names = (*FIXED, *SPEAKING)
    listed = [
        {"name": one, "description": f"Play {one}.", "inputSchema": SCHEMAS.get(one, {"type": "object"})}
        for one in names
    ]
    return {"tools": listed}


async def call_tool(context: Context, params: Params) -> Answer:
    given = params.model_dump(by_alias=True)
    name = given["name"]
    if name in FIXED:
        return FIXED[name]
    if name not in SPEAKING:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {name}")
    return await SPEAKING[name](context, given.get("arguments") or {})


# --- resources and prompts


async def list_resources(_: Context, __: Params) -> Answer:
    kinds = {"static-text": "text/plain", "static-binary": "image/png", "watched-resource": "text/plain"}
    return {"resources": [{"uri": f"test://{one}", "name": one, "mimeType": kind} for one, kind in kinds.items()]}


async def list_templates(_: Context, __: Params) -> Answer:
    return {"resourceTemplates": [{"uriTemplate": "test://template/{id}/data", "name": "template"}]}


async def read_resource(_: Context, params: Params) -> Answer:
    uri = str(params.model_dump(by_alias=True)["uri"])
    if uri == "test://static-binary":
        return {"contents": [{"uri": uri, "mimeType": "image/png", "blob": PICTURE}]}
    if uri.startswith("test://template/"):
        said = json.dumps({"id": uri.split("/")[3], "templateTest": True})
        return {"contents": [{"uri": uri, "mimeType": "application/json", "text": said}]}
    return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": "This is a text resource."}]}


async def nothing(_: Context, __: Params) -> Answer:
    return {}


ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
}


async def list_prompts(_: Context, __: Params) -> Answer:
    return {
        "prompts": [
            {"name": one, "description": f"Play {one}.", "arguments": [{"name": a, "required": True} for a in wanted]}
            for one, wanted in ARGUMENTS.items()
        ]
    }


async def get_prompt(_: Context, params: Params) -> Answer:
    given = params.model_dump(by_alias=True)
    told = given.get("arguments") or {}
    blocks = {
        "test_simple_prompt": [text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments": [text(f"arg1='{told.get('arg1')}', arg2='{told.get('arg2')}'")],
        "test_prompt_with_embedded_resource": [embedded(str(told.get("resourceUri")), "Content."), text("Process it.")],
        "test_prompt_with_image": [picture(), text("Please analyze the image above.")],
    }[given["name"]]
    return {"messages": [{"role": "user", "content": one} for one in blocks]}


async def complete(_: Context, __: Params) -> Answer:
    return {"completion": {"values": ["testing"], "total": 1, "hasMore": False}}


HANDLERS: Final[Mapping[str, Callable[[Context, Params], Awaitable[Answer]]]] = {
    "tools/list": list_tools,
    "tools/call": call_tool,
    "resources/list": list_resources,
    "resources/templates/list": list_templates,
    "resources/read": read_resource,
    "resources/subscribe": nothing,
    "resources/unsubscribe": nothing,
    "prompts/list": list_prompts,
    "prompts/get": get_prompt,
    "completion/complete": complete,
    "logging/setLevel": nothing,
}


def made() -> Server[Any]:
    """Return the server with its handlers."""
    hints = dict.fromkeys(get_args(CacheableMethod), CacheHint(ttl_ms=0, scope="private"))
    server: Server[Any] = Server("conformance", cache_hints=hints)
    for method, handler in HANDLERS.items():
        server.add_request_handler(method, Params, _typed(handler))
    return server


def _typed(handler: Callable[[Context, Params], Awaitable[Answer]]) -> Callable[[Context, Params], Awaitable[Answer]]:
    """Return the handler with results that have a type, where the client's revision wants one."""

    async def handle(context: Context, params: Params) -> Answer:
        answer = await handler(context, params)
        return {"resultType": "complete", **answer} if context.protocol_version in MODERN_PROTOCOL_VERSIONS else answer

    return handle


async def _by_pipes() -> None:
    server = made()
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        asyncio.run(_by_pipes())
    else:
        uvicorn.run(made().streamable_http_app(), port=int(sys.argv[1]), log_level="warning")
