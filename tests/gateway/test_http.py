"""A gateway over HTTP: clients bring the tokens of their users, and each acts as its user and as nobody else."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from macaw.adapters.mcp import Context, SecureMCP
from macaw.gateway.serving import ExposedGatewayError, HTTPFront, Served, serve_http
from macaw.gateway.transports import ServerAddress, ServerCommand
from macaw.installation.registrations import revoke_session
from macaw.installation.tenancy import publish_policies
from streams.local.choose import BrokerInfo
from tests.gateway.places import EVERYTHING
from tests.gateway.token_endpoint import Answer, Form, TokenEndpoint, token_answer, token_endpoint
from tests.gateway.whose import digest, whose_server
from tests.macaw_client.company import Company, company
from tests.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker, pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")]


@pytest.fixture(scope="module")
def firm(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(broker, tmp_path_factory.mktemp("gateway company")) as running:
        office = running.office
        policy = {
            "policy_id": "role:manager",
            "resources": ["tool:desk-mcp/add", "mcp:desk-mcp/**", "tool:whose-mcp/*"],
        }
        analyst = {"policy_id": "role:viewer", "resources": ["tool:desk-mcp/blocks"]}
        publish_policies(office.here.home, office.here.folder, [json.dumps(policy), json.dumps(analyst)], {})
        yield running


@asynccontextmanager
async def served(
    firm: Company, what: Served | None = None, *, audience: str | None = None, **more: Any
) -> AsyncIterator[str]:
    """Serve the server of this folder, or another one, for bearer tokens; yield the URL."""
    here, idp = firm.office.here, firm.office.idp
    what = what or Served(
        name="desk-mcp",
        server=ServerCommand([sys.executable, str(EVERYTHING)]),
        tenant=here.folder.tenant,
        home=here.home,
    )
    front = HTTPFront(
        port=0,
        issuer=idp.issuer,
        resource="http://127.0.0.1:9/mcp",
        audience=audience or idp.audience,
        **more,
    )
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve_http(what, front, None, on_ready=ready.set_result))
    await asyncio.wait({ready, serving}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    try:
        yield f"http://127.0.0.1:{ready.result()}/mcp"
    finally:
        serving.cancel()
        await asyncio.wait({serving})


@asynccontextmanager
async def connected(url: str, token: str, mode: str = "legacy") -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


def tools(listed: Any) -> set[str]:
    return {one.name for one in listed.tools}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_each_user_sees_and_does_what_its_own_roles_allow(firm: Company, mode: str) -> None:
    async def play() -> None:
        async with (
            served(firm) as url,
            connected(url, firm.office.token("bob"), mode) as bob,
            connected(url, firm.office.token("alice"), mode) as alice,
        ):
            assert tools(await bob.list_tools()) == {"add", "blocks"}
            assert "add" not in tools(await alice.list_tools())
            assert (await bob.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
            denied = await alice.call_tool("add", {"a": 1, "b": 2})
            assert denied.is_error
            assert "Denied" in denied.content[0].text
            with pytest.raises(MCPError, match="Denied"):
                await alice.read_resource("text://fixed")

    asyncio.run(play())
    events = [event for _, event in firm.office.intake() if type(event.body).__name__ == "InvocationRequested"]
    asked = {one.header.principal_id for one in events if one.body.resource == "tool:desk-mcp/add"}
    assert len(asked) == 2
    assert all(one.startswith("user:") for one in asked)


def test_requests_without_a_token_for_this_gateway_are_refused(firm: Company) -> None:
    async def play() -> None:
        token = firm.office.token("bob")
        head, body, _ = token.split(".")
        async with served(firm) as url, httpx2.AsyncClient(timeout=60) as http:

            async def status(headers: dict[str, str], **how: Any) -> int:
                asked = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
                accepted = {"accept": "application/json, text/event-stream", **headers}
                return (await http.post(url, json=asked, headers=accepted, **how)).status_code

            for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {head}.{body}."}):
                assert await status(headers) == 401
            assert await status({"authorization": f"Bearer {token}", "host": "evil.example"}) in {401, 421}
            origin = {"authorization": f"Bearer {token}", "origin": "https://evil.example"}
            assert await status(origin) == 403
            answer = await http.post(url, json={})
            assert "resource_metadata=" in answer.headers["www-authenticate"]
            metadata = (await http.get(url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp"))).json()
            assert metadata["authorization_servers"][0].rstrip("/") == firm.office.idp.issuer.rstrip("/")
        async with served(firm, audience="another") as url, httpx2.AsyncClient(timeout=60) as http:
            answer = await http.post(url, json={}, headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 401, "a token of the right issuer, for somebody else"

    asyncio.run(play())


def test_a_session_of_one_user_is_closed_to_another(firm: Company) -> None:
    async def play() -> None:
        async with served(firm) as url, httpx2.AsyncClient(timeout=60) as http:

            async def ask(person: str, session: str | None, asked: dict[str, Any]) -> httpx2.Response:
                headers = {
                    "authorization": f"Bearer {firm.office.token(person)}",
                    "accept": "application/json, text/event-stream",
                    **({} if session is None else {"mcp-session-id": session}),
                }
                return await http.post(url, json=asked, headers=headers)

            hello = {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "initialize",
                "params": {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {},
                    "clientInfo": {"name": "c", "version": "1"},
                },
            }
            opened = await ask("bob", None, hello)
            session = opened.headers["mcp-session-id"]
            stolen = await ask("alice", session, {"jsonrpc": "2.0", "id": 2, "method": "ping"})
            assert stolen.status_code in {403, 404}
            assert (await ask("bob", session, {"jsonrpc": "2.0", "id": 2, "method": "ping"})).status_code == 200

    asyncio.run(play())


def test_a_gateway_that_asks_nobody_who_they_are_stays_on_this_machine(firm: Company) -> None:
    here = firm.office.here
    what = Served(name="x", server=ServerCommand(["true"]), tenant=here.folder.tenant, home=here.home)
    with pytest.raises(ExposedGatewayError):
        asyncio.run(serve_http(what, HTTPFront(host="0.0.0.0"), object()))  # type: ignore[arg-type]


def test_a_function_of_secure_mcp_hears_which_person_calls(firm: Company) -> None:
    here = firm.office.here
    mcp = SecureMCP("desk-mcp", tenant=here.folder.tenant, home=here.home)

    @mcp.tool
    def add(a: int, b: int, ctx: Context) -> str:
        return f"{a + b} for {ctx.user}"

    async def play() -> None:
        async with (
            served(firm, mcp.served()) as url,
            connected(url, firm.office.token("bob")) as bob,
            connected(url, firm.office.token("alice")) as alice,
        ):
            person = bob_id.removeprefix("user:")
            assert (await bob.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": f"3 for {person}"}
            assert tools(await alice.list_tools()) == set()
            denied = await alice.call_tool("add", {"a": 1, "b": 2})
            assert "Denied" in denied.content[0].text

    events = [event for _, event in firm.office.intake() if type(event.body).__name__ == "InvocationRequested"]
    asked = {one.header.principal_id for one in events if one.body.resource == "tool:desk-mcp/add"}
    bob_id = next(one for one in asked if "bob" in one)
    asyncio.run(play())


def test_a_token_without_a_needed_scope_is_told_which_it_needs(firm: Company) -> None:
    async def play() -> None:
        async with (
            served(firm, scopes=("mcp:tools", "mcp:write")) as url,
            httpx2.AsyncClient(timeout=60) as http,
        ):
            metadata = (await http.get(url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp"))).json()
            assert metadata["scopes_supported"] == ["mcp:tools", "mcp:write"]
            nobody = await http.post(url, json={})
            assert nobody.status_code == 401
            told = await http.post(url, json={}, headers={"authorization": f"Bearer {firm.office.token('bob')}"})
            assert told.status_code == 403
            for answer, error in ((nobody, "invalid_token"), (told, "insufficient_scope")):
                challenge = answer.headers["www-authenticate"]
                assert challenge.startswith(f'Bearer error="{error}"')
                assert 'scope="mcp:tools mcp:write"' in challenge
                assert 'resource_metadata="' in challenge

    asyncio.run(play())


def test_a_session_that_is_ended_on_the_log_is_refused_at_the_front(firm: Company) -> None:
    """The token outlives its session, and opens no other one here."""
    here = firm.office.here
    asked = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    async def play() -> None:
        async with served(firm) as url, httpx2.AsyncClient(timeout=60) as http:

            async def answer(token: str) -> httpx2.Response:
                accepted = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {token}"}
                return await http.post(url, json=asked, headers=accepted)

            bob, alice = firm.office.token("bob"), firm.office.token("alice")
            before = {event.header.session_id for _, event in firm.office.intake()}
            async with connected(url, bob) as client:
                await client.call_tool("add", {"a": 1, "b": 2})
            calls = (event for _, event in firm.office.intake() if type(event.body).__name__ == "InvocationRequested")
            [session] = {event.header.session_id for event in calls} - before
            assert session is not None
            assert (await answer(alice)).status_code != 401
            await asyncio.to_thread(revoke_session, here.home, here.folder, session, reason="lost")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (told := await answer(bob)).status_code != 401:  # noqa: ASYNC110 - another process makes it so
                    await asyncio.sleep(0.2)
            assert 'error="invalid_token"' in told.headers["www-authenticate"]
            assert (await answer(bob)).status_code == 401
            assert (await answer(alice)).status_code != 401
            assert (await answer(firm.office.token("bob"))).status_code != 401, "the person may come back"

    asyncio.run(play())


def test_a_server_gets_the_exchanged_token_and_never_the_users_own(
    firm: Company, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    here = firm.office.here
    bob, narrow = firm.office.token("bob"), firm.office.token("bob")

    def say(form: Form) -> Answer:
        return token_answer("issued-for-bob-31f0") if form["subject_token"] == bob else Answer(403, b"{}")

    async def play(url: str, endpoint: TokenEndpoint) -> None:
        what = Served(
            name="whose-mcp",
            server=ServerAddress(url),
            tenant=here.folder.tenant,
            home=here.home,
            exchange=endpoint.settings(),
        )
        async with served(firm, what=what) as gateway, connected(gateway, bob) as client:
            for _ in range(2):
                text = (await client.call_tool("whose", {})).content[0].text
                assert text == digest("Bearer issued-for-bob-31f0")
            async with connected(gateway, narrow) as other:  # another token of the same person is another matter
                refused = await other.call_tool("whose", {})
            assert refused.is_error
            assert "EXCHANGE_REFUSED" in refused.content[0].text
        assert [form["subject_token"] for form in endpoint.forms].count(bob) == 1

    with whose_server() as url, token_endpoint(say) as endpoint:
        asyncio.run(play(url, endpoint))
    seen = caplog.text + "".join(map(repr, firm.office.intake()))
    assert not [one for one in (bob, narrow, "issued-for-bob", "s3:cret") if one in seen]
