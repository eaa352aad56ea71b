"""A client is described without any I/O; misuse is told at once. Ids, tools, notes and errors have the known shapes."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from typing import Any

import pytest

import macaw_client
from macaw_client import MACAWClient, PermissionDenied, RemoteIdentityProvider
from macaw_client.discovery import row_of, rows_of, target_of
from macaw_client.errors import CannotConnectError, NotRegisteredError, ToolsUnavailableError
from macaw_client.identity import LoginResult
from macaw_client.names import KNOWN, UnknownAgentError, id_of_program, resource_of
from macaw_client.notes import EventFormError, event_of, metadata_text
from macaw_client.offers import ToolDescriptionError, handled, request_of, result_as_dict
from schemas import limits


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"agent_type": "user", "app_name": "a"}, "needs iam_token"),
        ({"iam_token": "t", "service_account": "s"}, "give one of them"),
        ({"iam_token": "t", "jwt_token": "u"}, "give one of them"),
        ({"agent_type": "robot", "app_name": "a"}, "agent_type must be"),
        ({}, "app_name is missing"),
        ({"app_name": "user:alice"}, "cannot be a program's"),
        ({"app_name": "a*"}, "cannot be a program's"),
    ],
)
def test_arguments_that_contradict_each_other_are_told_at_once(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MACAWClient(**arguments)


def test_a_client_is_described_without_io(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no installation, and nothing is asked for one before register()."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    client = MACAWClient(app_name="my-app", tools={"add": {"handler": print, "prompts": ["text"]}})

    assert (client.app_name, client.agent_type, client.registered, client.agent_id) == ("my-app", "agent", False, "")
    assert client.public_key == b""
    assert client.current_request_context == {}
    client.unregister()
    with pytest.raises(NotRegisteredError):
        client.invoke_tool("add", {})
    with pytest.raises(ConnectionError, match=r"Cannot connect to MACAW: no \.macaw/config\.json in"):
        client.register()
    with pytest.raises(CannotConnectError):
        client.register()
    assert not client.registered


def test_a_token_stands_in_no_repr() -> None:
    client = MACAWClient(user_name="alice", iam_token="secret.token.text", agent_type="user", app_name="desk")

    assert "secret" not in repr(client)
    assert "secret" not in repr(vars(client))


def test_a_person_without_a_token_is_a_program() -> None:
    """A name that is only asserted makes nobody a person."""
    assert MACAWClient(user_name="alice", app_name="chat")._given.token is None


def test_a_denial_is_every_class_that_programs_catch() -> None:
    denied = PermissionDenied("Access denied by security policy: NO_POLICY", reason="NO_POLICY")

    assert isinstance(denied, PermissionError)
    assert isinstance(denied, RuntimeError)
    assert type(denied).__name__ == "PermissionDenied"
    assert (denied.reason, denied.policy_rule) == ("NO_POLICY", None)


def test_tools_are_read_back_as_copies() -> None:
    """An endpoint reads them from another thread at any time; `metadata` is never None."""
    client = MACAWClient(app_name="a", tools={"add": {"handler": print, "metadata": None}})
    client.register_tool("later", print)
    client.tools["add"]["metadata"]["schema"] = "changed"

    assert client.tools["add"] == {
        "handler": print,
        "description": "",
        "prompts": [],
        "metadata": {},
        "read_only": False,
    }
    assert list(client.tools) == ["add", "later"]


@pytest.mark.parametrize("tools", [{"a": {}}, {"a": {"handler": 1}}, {"a": {"handler": print, "promts": []}}, ["a"]])
def test_a_tool_that_is_not_described_is_refused(tools: Any) -> None:
    with pytest.raises(ToolDescriptionError):
        MACAWClient(app_name="a", tools=tools)


def test_a_verifier_that_would_not_run_is_not_taken() -> None:
    """It would be believed to protect."""
    client = MACAWClient(app_name="a")

    with pytest.raises(ToolsUnavailableError, match="is not run"):
        client.agent.verification_pipeline.add_verifier(object(), priority=20)
    assert client.agent.authenticate_prompts is True


# --- handlers


def test_a_handler_has_its_own_parameters_context_and_event_loop() -> None:
    """Handlers change what they get, and call asyncio.run."""
    owner, other = object(), object()
    given = {"list": [1]}

    async def later() -> int:
        await asyncio.sleep(0)
        return 7

    def handler(params: dict[str, Any]) -> object:
        params["list"].append(2)
        assert asyncio.get_event_loop().is_running() is False
        return {"seen": request_of(owner), "other": request_of(other), "later": asyncio.run(later())}

    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(handled(owner, handler, given, {"source_agent": "x"})))
    thread.start()
    thread.join()

    assert found == [{"seen": {"source_agent": "x"}, "other": {}, "later": 7}]
    assert given == {"list": [1]}
    assert request_of(owner) == {}


def test_a_coroutine_is_awaited_and_a_generator_is_a_stream() -> None:
    async def coroutine(_: object) -> str:
        return "done"

    def parts(_: object) -> Any:
        yield {"n": 1}
        yield {"n": 2}

    assert handled(None, coroutine, {}, {}) == "done"
    owner = object()
    items = handled(owner, lambda _: ({"n": n, **request_of(owner)} for n in (1, 2)), {}, {"source_agent": "x"})
    assert request_of(owner) == {}
    assert list(items) == [{"n": 1, "source_agent": "x"}, {"n": 2, "source_agent": "x"}]
    left = handled(None, parts, {}, {})
    assert next(left) == {"n": 1}
    left.close()
    assert list(left) == []


@pytest.mark.parametrize(("result", "told"), [({"a": 1}, {"a": 1}), (5, {"result": 5}), (None, {"result": None})])
def test_a_result_that_is_no_dict_is_wrapped(result: object, told: object) -> None:
    assert result_as_dict(result) == told


# --- names


def test_resources_and_ids() -> None:
    assert resource_of("add") == "tool:add"
    assert resource_of("resource:calc://history") == "resource:calc://history"
    agent_id = id_of_program("securemcp-calc", bytes.fromhex("0123456789abcdef" * 4))
    assert agent_id.startswith("local:")
    assert agent_id.endswith("/app:securemcp-calc:01234567")


def test_an_id_never_leads_to_a_session_that_was_made_to_fit_it() -> None:
    """Two sessions that begin alike: the second gets a longer id, and a person's id is only believed if told here."""
    one, two = bytes.fromhex("aa" * 32), bytes.fromhex("aaaaaaaa" + "bb" * 28)
    first = KNOWN.remember("eve@desk-x:aaaaaaaa", one)
    second = KNOWN.remember("eve@desk-x:aaaaaaaa", two)

    assert first != second
    assert (KNOWN.session_of(first), KNOWN.session_of(second)) == (one, two)
    assert KNOWN.session_of(f"{first}/tool._mcp_sample") == one
    with pytest.raises(UnknownAgentError, match="is not known here"):
        target_of("mallory@desk-x:aaaaaaaa", [{"principal": "user:mallory", "session": two}])


def test_agents_are_rows_with_their_tools_behind_them() -> None:
    session = bytes.fromhex("cd" * 32)
    found = [
        {
            "principal": "calc-q",
            "label": "local:x/app:other",
            "session": session,
            "tools": {"tool:add": {"description": "adds"}, "resource:c://h": {}},
        },
        {"principal": "user:ann@x.example", "session": bytes.fromhex("ef" * 32), "tools": {"tool:_mcp_sample": {}}},
    ]

    def declared(asked: bytes) -> dict[str, Any]:
        assert asked == session
        return {"tool:add": {"resource": "tool:add", "description": "adds well"}}

    programs = rows_of(found, "app")
    server = programs[0]["agent_id"]

    assert [row["agent_id"].removeprefix(server) for row in programs] == ["", "/tool.add", "/tool.resource:c://h"]
    assert programs[1]["metadata"]["description"] == "adds"
    assert programs[0]["tools"] == {"add": {"description": "adds"}, "resource:c://h": {}}
    assert [row["agent_id"].split(":")[0] for row in rows_of(found, "user")] == ["ann@session"] * 2
    assert len(rows_of(found, None)) == 5
    assert target_of(server, found) == session
    told = row_of(found, server, declared)
    assert told is not None
    assert told["tools"]["add"]["description"] == "adds well"
    told["intent_policy"].setdefault("roots", []).append("x")
    assert row_of(found, server, declared)["intent_policy"] == {}  # type: ignore[index]
    assert row_of(found, f"{server}/tool.add", declared)["metadata"]["description"] == "adds well"  # type: ignore[index]
    assert row_of(found, f"{server}/tool.none", declared) is None
    assert row_of(found, "local:u/app:none:00000000", declared) is None


def test_two_live_instances_that_begin_alike_are_not_guessed_between() -> None:
    found = [{"principal": "twin-q", "session": bytes.fromhex("abababab" + end * 28)} for end in ("01", "02")]

    with pytest.raises(UnknownAgentError, match="more than one"):
        target_of("local:u/app:twin-q:abababab", found)


# --- notes


def noted(**how: Any) -> Any:
    usual: dict[str, Any] = {
        "source": "s",
        "action": None,
        "target": "",
        "outcome": "success",
        "signed": False,
        "category": None,
        "metadata": None,
    }
    return event_of("kind", **{**usual, **how})


def test_an_event_of_an_application_is_cut_to_the_bounds_of_the_log() -> None:
    event = noted(action="a" * 999, outcome="error", metadata={"text": "x" * 40_000, "message": None})
    told = json.loads(event.metadata)

    assert len(event.action) == limits.APPLICATION_TEXT_CHARS_MAX
    assert "sha256:" in event.action
    assert event.outcome == "failure"
    assert told["outcome"] == "error"
    assert len(event.metadata) <= limits.APPLICATION_METADATA_BYTES_MAX
    assert len(told["truncated_sha256"]) == 64
    assert told["message"] is None
    with pytest.raises(EventFormError):
        noted(outcome="perhaps")


def test_metadata_of_many_members_are_told_by_their_digest() -> None:
    told = json.loads(metadata_text({f"member {n}": "x" * 100 for n in range(5000)}))

    assert len(told["members"]) == 64
    assert len(told["truncated_sha256"]) == 64


# --- identity


def test_a_login_is_a_pair_with_names() -> None:
    from producers.identity.login import Login
    from producers.identity.principal import UnverifiedPrincipal

    login = Login(
        issuer="https://idp",
        client_id="c",
        access_token="the.secret.token",
        refresh_token=None,
        id_token=None,
        scope=None,
        expires_in=60.0,
        ends_at=1.0,
        principal=UnverifiedPrincipal(user_id="alice", roles=("analyst",)),
    )
    result = LoginResult(login)
    token, principal = result

    assert isinstance(result, tuple)
    assert token == result["access_token"] == result[0] == "the.secret.token"
    assert (principal["user_id"], principal.user_id, principal.roles) == ("alice", "alice", ["analyst"])
    assert "secret" not in repr(result)
    assert "secret" not in f"{result}"
    assert "access_token" in result
    with pytest.raises(KeyError):
        result["refresh_token"]
    with pytest.raises(RuntimeError):
        pickle.dumps(result)


def test_without_a_provider_the_text_says_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))

    with pytest.raises(RuntimeError, match="Local provider does not support"):
        RemoteIdentityProvider().login("alice", "password")


def test_the_names_that_programs_import_are_there() -> None:
    assert {"MACAWClient", "PermissionDenied", "RemoteIdentityProvider"} <= set(macaw_client.__all__)
