"""SecureMCP: an author's functions as an MCP server, with a real log between each client and each function."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

from macaw.adapters.mcp import Context, SecureMCP
from macaw_client import MACAWClient
from producers.client import FailedError
from streams.local.choose import BrokerInfo
from tests.gateway.places import allow, served_to, until
from tests.gateway.sums import POLICIES, SECRET, made
from tests.installation import Installation, installed
from tests.optional import skip_without

pytestmark = [pytest.mark.broker, pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")]

ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("mode", ["legacy", "auto"])


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(broker, tmp_path_factory.mktemp("sums") / "home", "securemcp", development=True) as found:
        allow(found, *POLICIES)
        yield found


async def sample(_: object, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    text = types.TextContent(type="text", text=params.messages[0].content.text.upper())
    return types.CreateMessageResult(role="assistant", content=text, model="m")


ANSWERS: dict[str, Any] = {"How old are you?": {"age": 7}, "Which?": {"value": "red"}, "Sure?": {"value": True}}


async def elicit(_: object, params: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content=ANSWERS[params.message])


@BOTH
def test_a_client_calls_reads_and_is_asked(here: Installation, mode: str) -> None:
    seen: list[Any] = []
    heard: list[Any] = []

    async def on_progress(*told: Any) -> None:
        heard.append(told)

    async def play() -> None:
        async with (
            served_to(made(here, seen).served(), "clerk") as place,
            Client(place.front.server(), mode=mode, sampling_callback=sample, elicitation_callback=elicit) as client,
        ):
            tools = {one.name: one for one in (await client.list_tools()).tools}
            assert tools["add"].input_schema["properties"]["a"]["type"] == "number"
            assert tools["add"].input_schema["additionalProperties"] is False
            assert tools["add"].output_schema is not None
            assert "ctx" not in tools["ask_roots"].input_schema["properties"]
            assert client.instructions == "Add numbers."
            assert (await client.call_tool("add", {"a": 2, "b": 3})).structured_content == {"result": 5.0}
            said = (await client.call_tool("who", {})).structured_content
            assert (said["principal"], said["user"], said["life"]) == ("clerk", None, "open")
            asked = await client.call_tool("ask_all", {"text": "abc"}, progress_callback=on_progress)
            assert asked.content[0].text == "ABC accept 7"
            assert heard == [(1, 2, "half")]
            assert (await client.call_tool("pick", {})).content[0].text == "red True"
            assert (await client.read_resource("note://a")).contents[0].text == "note a"
            assert (await client.read_resource("note://fixed/bytes")).contents[0].blob == "cG5n"
            assert (await client.get_prompt("greet", {"who": "Ann"})).messages[0].content.text == "Greet Ann."
            assert [str(one.uri) for one in (await client.list_resources()).resources] == ["note://fixed/bytes"]
            assert len((await client.list_resource_templates()).resource_templates) == 1
            assert [one.name for one in (await client.list_prompts()).prompts] == ["greet"]
            roots = await client.call_tool("ask_roots", {})  # its policy denies the question
            assert roots.is_error
            assert "Denied" in roots.content[0].text

    asyncio.run(play())
    assert seen == ["entered", ("add", 2.0, 3.0, False), "left"]


def test_a_caller_sees_and_calls_only_what_the_policies_allow(here: Installation) -> None:
    seen: list[Any] = []

    async def play() -> None:
        async with served_to(made(here, seen).served(), "guest") as place, Client(place.front.server()) as client:
            assert [one.name for one in (await client.list_tools()).tools] == ["add"]
            denied = await client.call_tool("add", {"a": 11})
            assert denied.is_error
            assert "Denied: PARAM_OUT_OF_RANGE" in denied.content[0].text
            assert "Denied: " in (await client.call_tool("crash", {})).content[0].text
            with pytest.raises(MCPError, match="Denied"):
                await client.read_resource("note://a")
            with pytest.raises(MCPError):
                await client.call_tool("ad\u0501", {})
            assert not (await client.call_tool("add", {"a": 9})).is_error

    asyncio.run(play())
    assert [one for one in seen if one[0] == "add"] == [("add", 9.0, 1.0, False)]


def test_bad_arguments_and_bad_functions_end_their_call_and_nothing_else(
    here: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    caplog.set_level(logging.INFO)

    async def play() -> None:
        async with (
            served_to(made(here, seen).served(), "clerk2") as place,
            Client(place.front.server(), mode="legacy") as client,
        ):

            async def text(name: str, given: dict[str, Any]) -> str:
                said = await client.call_tool(name, given)
                assert said.is_error, said
                assert SECRET not in str(said)
                assert "Traceback" not in str(said)
                return str(said.content[0].text)

            for wrong in ({"a": "2"}, {"a": None}, {"a": True}, {"a": [1]}, {}, {"a": 1, "c": 2}, {"a": "[1]"}):
                assert "a" in await text("add", wrong)
            assert "raised an exception" in await text("crash", {})
            assert "raised an exception" in await text("leave", {})
            assert await text("fail", {}) == "no such account"
            assert "whether it has acted is not known" in await text("hang", {})
            assert "ResultTooLargeError" in await text("huge", {})
            assert "sampling/createMessage has no answer" in await text("ask_all", {"text": "abc"})
            assert "roots/list has no answer" in await text("ask_roots", {})
            assert "RESOURCE_NOT_ALLOWED" in await text("beyond", {})
            for uri in ("note://%2e%2e", "note://a/b/c", "other://x"):
                with pytest.raises(MCPError):
                    await client.read_resource(uri)
            with pytest.raises(MCPError):
                await client.get_prompt("greet", {})
            assert (await client.call_tool("deeper", {"a": 1})).structured_content == {"result": 2.0}

    asyncio.run(play())
    assert [one for one in seen if one[0] == "add"] == [("add", 1.0, 1.0, False)]
    assert SECRET not in caplog.text


def test_an_answer_that_does_not_fit_the_question_is_no_answer(here: Installation) -> None:
    async def lie(_: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"age": "seven", "value": "blue"})

    async def play() -> None:
        async with (
            served_to(made(here, []).served(), "clerk2") as place,
            Client(place.front.server(), sampling_callback=sample, elicitation_callback=lie) as client,
        ):
            for name, given, at in (("ask_all", {"text": "x"}, "age"), ("pick", {}, "value")):
                said = await client.call_tool(name, given)
                assert said.is_error
                assert f"does not fit the question, at {at}" in said.content[0].text
                assert "seven" not in said.content[0].text

    asyncio.run(play())


def test_each_of_many_callers_at_once_is_asked_for_itself(here: Installation) -> None:
    """A gateway before another process must refuse these questions: it cannot tell whose they are."""

    async def play() -> None:
        mcp = made(here, [])
        async with served_to(mcp.served(), "clerk2") as place:

            async def one(at: int) -> str:
                async def answer(_: object, params: types.ElicitRequestParams) -> types.ElicitResult:
                    return types.ElicitResult(action="accept", content={"age": at})

                async with Client(
                    place.front.server(), mode="legacy", sampling_callback=sample, elicitation_callback=answer
                ) as client:
                    return str((await client.call_tool("ask_all", {"text": "x"})).content[0].text)

            assert await asyncio.gather(*map(one, range(4))) == [f"X accept {at}" for at in range(4)]

    asyncio.run(play())


def test_a_call_that_its_client_leaves_is_cancelled_in_its_function(here: Installation) -> None:
    seen: list[Any] = []
    heard = asyncio.Event()

    async def on_progress(*_: Any) -> None:
        heard.set()

    async def play() -> None:
        async with (
            served_to(made(here, seen).served(), "clerk2") as place,
            Client(place.front.server(), mode="legacy") as client,
        ):
            asking = asyncio.ensure_future(client.call_tool("wait", {}, progress_callback=on_progress))
            await heard.wait()
            asking.cancel()
            await until(lambda: "cancelled" in seen)
            assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 2.0}

    asyncio.run(play())


def test_a_program_of_the_log_calls_a_tool_without_mcp(here: Installation) -> None:
    async def play() -> None:
        async with served_to(made(here, []).served(), "clerk2") as place:
            client = place.caller.client
            assert (await client.invoke("tool:sums/add", {"a": 1, "b": 1}))["structuredContent"] == {"result": 2.0}
            with pytest.raises(FailedError) as failed:  # it has no client of MCP that could be asked
                await client.invoke("tool:sums/ask_roots", {})
            assert "roots/list has no answer" in failed.value.answer.text()

    asyncio.run(play())


PROGRAM = """
import sys
from {package} import Context, SecureMCP

mcp = SecureMCP({name!r}, version="1.0.0"{more})

@mcp.tool(description="Take a note.")
def note(text: str, ctx: Context) -> dict:
    print("not a word of the protocol")
    ctx.set("note", text)
    ctx.info("noted")
    ctx.audit("noted", target="notes", outcome="success", length=len(text))
    return {{"noted": ctx.get("note"), "tool": ctx.tool_name}}

@mcp.tool()
async def steps(ctx: Context) -> int:
    await ctx.report_progress(0.5, "half")
    return 2

@mcp.resource("notes://last")
def last(ctx: Context) -> str:
    return ctx.get("note") or ""

@mcp.prompt(description="Ask for a note.")
def ask(topic: str) -> str:
    return f"Write about {{topic}}."
"""


def test_a_client_starts_an_authors_program_by_its_pipes(here: Installation, tmp_path: Path) -> None:
    """The program is of the original's shape, but for its import and its last line."""
    script = tmp_path / "piped.py"
    more = f", tenant={here.folder.tenant!r}"
    program = PROGRAM.format(package="macaw.adapters.mcp", name="piped", more=more)
    script.write_text(program + "mcp.run()\n")
    environment = {"MACAW_HOME": str(here.home.path.parent), "MACAW_MCP_CALLER": "by-pipes", "PYTHONPATH": str(ROOT)}

    async def play() -> None:
        command = StdioServerParameters(command=sys.executable, args=[str(script)], env=environment)
        async with Client(command, mode="legacy") as client:
            assert {one.name for one in (await client.list_tools()).tools} == {"note", "steps"}
            said = await client.call_tool("note", {"text": "milk"})
            assert json.loads(said.content[0].text) == {"noted": "milk", "tool": "note"}
            assert (await client.call_tool("steps", {})).structured_content == {"result": 2}
            assert (await client.read_resource("notes://last")).contents[0].text == "milk"
            assert (await client.get_prompt("ask", {"topic": "cats"})).messages[0].content.text == "Write about cats."

    asyncio.run(play())


def test_the_adapter_of_the_original_serves_beside_ours(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same program by both, in one process; and a tool of ours calls one of theirs within its call."""
    if importlib.util.find_spec("macaw_adapters") is None:
        skip_without("macaw-adapters", "pip install -e '.[test]'")
    monkeypatch.setenv("MACAW_HOME", str(here.home.path.parent))
    spaces: list[dict[str, Any]] = []
    for package, name in (("macaw_adapters.mcp", "theirs"), ("macaw.adapters.mcp", "both")):
        space: dict[str, Any] = {}
        exec(compile(PROGRAM.format(package=package, name=name, more=""), package, "exec"), space)
        spaces.append(space)
    theirs, ours = (one["mcp"] for one in spaces)

    @theirs.tool()
    def times(a: float, b: float) -> float:
        return a * b

    sums = SecureMCP("sums", tenant=here.folder.tenant, home=here.home)

    @sums.tool
    async def square(a: float, ctx: Context) -> float:
        return float((await ctx.invoke("tool:times", {"a": a, "b": a}))["result"])

    async def play(desk: MACAWClient) -> None:
        mine = ours.served()
        assert (mine.tenant, mine.home.path) == (here.folder.tenant, here.home.path)
        async with served_to(mine, "clerk2"), served_to(sums.served(), "clerk2") as place:
            told = await asyncio.to_thread(desk.invoke_tool, "tool:note", {"text": "a"}, target_agent=theirs.agent_id)
            same = await asyncio.to_thread(desk.invoke_tool, "tool:both/note", {"text": "a"})
            assert told == json.loads(same["content"][0]["text"]) == {"noted": "a", "tool": "note"}
            async with Client(place.front.server()) as client:
                assert (await client.call_tool("square", {"a": 3})).structured_content == {"result": 9.0}

    desk = MACAWClient(app_name="desk")
    desk.register()
    theirs._init_macaw_client()
    try:
        asyncio.run(play(desk))
    finally:
        theirs._client.unregister()
        desk.unregister()
