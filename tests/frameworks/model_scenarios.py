"""What must be true of a governed client on each wire: real SDK, real log, and a server that says what it likes."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.model_rounds import Finished, Rounds
from macaw.adapters.model_tools import GovernedTools, RoundLimits
from macaw.adapters.refusals import (
    PermissionDeniedError,
    ResultUnconfirmedError,
    RoundsExceededError,
    UngovernableRequestError,
)
from macaw.installation.tenancy import admin_connection
from macaw.installation.tenant_limits import set_settings
from producers.agent.agent import Agent
from producers.client import OpenCall
from producers.kafka.answers import Answer
from producers.kafka.outcomes import CallError, result_of
from tests.frameworks.model_stub import Said, Stub
from tests.frameworks.model_wires import Chat
from tests.installation import Installation
from tests.waiting import PATIENCE_SECONDS

KEY = "sk-" + "7fGq" * 8
RAN: list[Any] = []


def refund(order: int, amount: float = 5.0) -> str:
    """Pay back an order."""
    RAN.append((order, amount))
    return f"paid {amount} for {order}"


def secret() -> str:
    """Tell a secret."""
    RAN.append("secret")
    return "TOP SECRET"


def broken() -> str:
    """Fail."""
    RAN.append("broken")
    raise ValueError("no insurance policy with this number: denied")


async def later(order: int) -> dict[str, int]:
    """Answer later."""
    await asyncio.sleep(0)
    RAN.append(("later", order))
    return {"order": order}


TOOLS = [refund, secret, broken, later]


class Watched(Gate):
    """A gate that keeps its calls, so that a test can ask the log for their outcomes."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self.asked: list[tuple[str, dict[str, Any], OpenCall]] = []

    @contextmanager
    def _asked(self, resource: str, parameters: Any, *how: Any) -> Iterator[Any]:
        with super()._asked(resource, parameters, *how) as (call, ticket):
            self.asked.append((resource, dict(parameters), call))
            yield call, ticket

    def outcome(self, at: int) -> Any:
        """The signed result of a call, or the log's error."""
        answer: Answer = self.asked[at][2].sent.answer.result(PATIENCE_SECONDS)
        try:
            return result_of(answer)
        except CallError as exc:
            return exc

    @property
    def resources(self) -> list[str]:
        return [one[0].removeprefix("tool:shop/") for one in self.asked]


class Scenarios:
    """Tests of one wire. A class of tests says which wire, which runs, and how clients are made."""

    wire: ClassVar[Chat]
    rounds: ClassVar[Rounds]

    def client(self, gate: Gate, stub: Stub, **how: Any) -> Any:
        raise NotImplementedError

    def async_client(self, gate: Gate, stub: Stub, **how: Any) -> Any:
        raise NotImplementedError

    def play(self, way: str, gate: Gate, stub: Stub, *said: Said, tools: Any = None, **request: Any) -> Finished:
        """Run until the model is finished, in one of four ways: sync or async, streamed or not."""
        RAN.clear()
        stub.says(*said)
        tools = tools or GovernedTools(gate, TOOLS, app="shop")
        streams = {"on_event": lambda _: None} if "stream" in way else {}
        asking = {**self.wire.asking(), **request, **streams}
        if "async" not in way:
            with self.client(gate, stub) as client:
                return self.rounds.run(client, tools, **asking)

        async def main() -> Finished:
            async with self.async_client(gate, stub) as client:
                return await self.rounds.run_async(client, tools, **asking)

        return asyncio.run(main())

    def told(self, way: str, gate: Gate, stub: Stub, *calls: tuple[str, str, str], **how: Any) -> list[str]:
        """Play one round of tool calls; return what the model was told of them."""
        stream = "stream" in way
        asks, done = self.wire.asks(*calls, stream=stream), self.wire.says("done", stream=stream)
        assert self.play(way, gate, stub, asks, done, **how).text == "done"
        return self.wire.told(stub.requests[-1])

    @pytest.mark.parametrize("way", ["sync", "async", "sync stream", "async stream"])
    def test_parallel_tool_calls_are_decided_one_by_one(self, watched: Watched, stub: Stub, way: str) -> None:
        watched.asked.clear()
        calls = [
            ("a", "refund", '{"order": 1, "amount": 5.5}'),
            ("b", "refund", '{"order": 2, "amount": 500}'),
            ("c", "secret", "{}"),
            ("d", "refund", '{"order": 3}'),
            ("e", "broken", "{}"),
            ("f", "later", '{"order": 9}'),
        ]
        paid, dear, hidden, default, failed, late = self.told(way, watched, stub, *calls)

        assert (paid, default) == ("paid 5.5 for 1", "paid 5.0 for 3")
        assert json.loads(late) == {"order": 9}
        assert "PARAM_OUT_OF_RANGE" in dear
        assert "refused" in hidden
        assert failed == "The tool failed: ValueError: no insurance policy with this number: denied"
        for word in ("service:shop", "100", "500", "max", "SECRET"):
            assert word not in f"{dear}{hidden}"
        assert sorted(map(str, RAN)) == sorted(map(str, [(1, 5.5), (3, 5.0), "broken", ("later", 9)]))
        assert sorted(watched.resources) == sorted(["generate", "generate", *(name for _, name, _ in calls)])
        first = watched.outcome(0)
        assert first["tool_calls"] == 6
        assert [one["name"] for one in first["calls"]] == [name for _, name, _ in calls]
        if "stream" not in way or self.wire.form != "chat":
            assert sum(first["usage"].values()) >= 7

    @pytest.mark.parametrize("way", ["sync", "async stream"])
    def test_what_a_model_must_not_ask_for_is_refused_and_told(self, watched: Watched, stub: Stub, way: str) -> None:
        watched.asked.clear()
        same = '{"order": 1, "amount": 2}'
        calls = [
            ("a", "transfer", "{}"),
            ("b", "refund", '{"order": 1, "amo'),
            ("c", "refund", same),
            ("d", "refund", '{"amount": 2.0, "order": 1}'),
            ("x", "refund", '{"order": 5}'),
            ("x", "refund", '{"order": 6}'),
            ("g", "refund", '{"order": "1"}'),
            ("h", "refund", '{"order": 7, "order": 8}' if "stream" in way or self.wire.form != "messages" else "[]"),
            ("i", "refund", '{"order": 7, "amount": 1, "note": "x"}'),
        ]
        told = self.told(way, watched, stub, *calls)

        assert RAN == [(1, 2.0)]
        for text, words in zip(
            told,
            [
                "no tool of this name",
                "not a JSON object",
                "paid 2",
                "twice",
                "have this id",
                "do not fit",
                "not a JSON object",
                "do not fit",
            ],
            strict=True,
        ):
            assert words in text
        assert watched.resources == ["generate", "refund", "generate"]
        assert [one["offered"] for one in watched.outcome(0)["calls"]] == [False] + [True] * 8

    def test_an_answer_that_was_cut_off_runs_nothing(self, watched: Watched, stub: Stub) -> None:
        """Its last arguments may be half of what the model meant, and yet be JSON."""
        ended = {"chat": "length", "responses": "incomplete", "messages": "max_tokens"}[self.wire.form]
        asks = self.wire.asks(("a", "refund", '{"order": 1}'), ended=ended)
        self.play("sync", watched, stub, asks, self.wire.says("done"))

        assert RAN == []
        assert "broke off" in self.wire.told(stub.requests[-1])[0]

    @pytest.mark.parametrize("way", ["sync stream", "async stream"])
    def test_a_stream_that_dies_runs_nothing_and_is_a_failure(self, watched: Watched, stub: Stub, way: str) -> None:
        for ending in (self.wire.dies(("a", "refund", '{"order": 1, "amount": 2}')), None):
            died = ending or Said(self.wire.says("hello", stream=True).body[:90], "text/event-stream", dies=True)
            watched.asked.clear()
            with pytest.raises(Exception, match=r"Connection error|ended before|closed|incomplete"):
                self.play(way, watched, stub, died)
            assert RAN == []
            assert isinstance(watched.outcome(0), CallError)

    def test_a_model_that_never_ends_is_stopped(self, watched: Watched, stub: Stub) -> None:
        asks = [self.wire.asks((f"id{n}", "refund", f'{{"order": {n}}}')) for n in range(5)]
        tools = GovernedTools(watched, [refund], app="shop", bounds=RoundLimits(rounds=3))
        with pytest.raises(RoundsExceededError, match="3 rounds"):
            self.play("sync", watched, stub, *asks, tools=tools)

        assert len(stub.requests) == 3
        assert RAN == [(0, 5.0), (1, 5.0)]  # nobody would be told of a third

    def test_too_much_in_one_answer_is_refused(self, watched: Watched, stub: Stub) -> None:
        long = json.dumps({"order": 1, "amount": 1, "pad": "x" * 200})
        bounds = RoundLimits(calls=2, argument_bytes=100, result_bytes=10)
        tools = GovernedTools(watched, [refund], app="shop", bounds=bounds)
        calls = [("a", "refund", long), ("b", "refund", '{"order": 2}'), ("c", "refund", '{"order": 3}')]
        large, shown, third = self.told("sync", watched, stub, *calls, tools=tools)

        assert "too large" in large
        assert "has taken effect" in shown
        assert "At most 2" in third
        assert RAN == [(2, 5.0)]

    def test_a_denied_question_does_not_reach_the_model(self, watched: Watched, stub: Stub) -> None:
        for way in ("sync", "async", "sync stream"):
            with pytest.raises(PermissionDeniedError) as denied:
                self.play(way, watched, stub, self.wire.says("done"), **self.wire.most(9000))
            assert denied.value.reason == "PARAM_OUT_OF_RANGE"
            assert stub.requests == []
        watched.asked.clear()
        with self.client(watched, stub) as client, pytest.raises(PermissionDeniedError):
            self.wire.create(client.with_options(max_retries=2))(**self.wire.asking(**self.wire.most(9000)))
        assert watched.resources == ["generate"]  # a denial is no fault of the connection

    def test_without_a_decision_nothing_is_asked(self, watched: Watched, stub: Stub) -> None:
        stub.says(self.wire.says("done"))
        with (
            self.client(watched, stub, patience=GatePatience(0.001)) as client,
            pytest.raises(PermissionDeniedError),
        ):
            self.wire.create(client)(**self.wire.asking())
        assert stub.requests == []

    def test_tools_that_the_provider_runs_are_refused_unless_they_are_named(self, watched: Watched, stub: Stub) -> None:
        watched.asked.clear()
        name, hosted = self.wire.hosted()
        stub.says(self.wire.says("done"))
        with self.client(watched, stub) as client, pytest.raises(UngovernableRequestError, match=name):
            self.wire.create(client)(**self.wire.asking(**hosted))
        assert (stub.requests, watched.asked) == ([], [])
        with self.client(watched, stub, provider_tools=[name]) as client:
            self.wire.create(client)(**self.wire.asking(**hosted))
        assert watched.asked[0][1]["provider_tools"] == [name]

    def test_other_requests_are_refused_unless_they_are_named(self, watched: Watched, stub: Stub) -> None:
        with self.client(watched, stub) as client, pytest.raises(UngovernableRequestError, match="GET /v1/models"):
            client.models.list()
        with self.client(watched, stub, ungoverned=["GET /v1/models"]) as client:
            assert list(client.models.list()) == []

    def test_policies_see_the_request_and_never_its_key(self, watched: Watched, stub: Stub) -> None:
        watched.asked.clear()
        stub.says(self.wire.says("the answer"), self.wire.says("the answer"))
        asking = self.wire.asking(tools=[self.wire.tool("find")], extra_body={"temperature": 0.5}, **self.wire.most(50))
        with self.client(watched, stub) as client:
            self.wire.create(client)(**asking)
        with self.client(watched, stub, contents="digest") as client:
            self.wire.create(client)(**asking)

        (_, logged, _), (_, digests, _) = watched.asked
        about = {"model": "m-1", "stream": False, "tools": ["find"], "provider_tools": [], "options": []}
        about |= {"max_tokens": 50, "temperature": 0.5, "host": stub.url.removeprefix("http://")}
        assert about.items() <= logged.items()
        assert logged["messages"] == ("go" if self.wire.form == "responses" else '[{"content":"go","role":"user"}]')
        assert digests == {name: value for name, value in logged.items() if name != "messages"}
        assert (watched.outcome(0)["text"], watched.outcome(1).get("text")) == ("the answer", None)
        assert KEY in str(stub.headers[-1])
        assert KEY not in f"{logged}{digests}{watched.outcome(0)}"

    def test_a_large_question_travels_beside_the_log(self, watched: Watched, stub: Stub) -> None:
        watched.asked.clear()
        text = "word " * 100_000
        stub.says(self.wire.says("done"))
        said = text if self.wire.form == "responses" else [{"role": "user", "content": text}]
        with self.client(watched, stub) as client:
            self.wire.create(client)(**self.wire.asking(**{self.rounds.history: said}))
        assert text in json.dumps(stub.requests[-1])
        assert watched.outcome(0)["ended"] in {"stop", "completed", "end_turn"}

    def test_a_stream_that_the_program_leaves_is_no_success(self, watched: Watched, stub: Stub) -> None:
        watched.asked.clear()
        text = "one two three " * 50
        stub.says(*[self.wire.says(text, stream=True)] * 3)
        with self.client(watched, stub) as client:
            with self.wire.create(client)(**self.wire.asking(stream=True)) as stream:
                next(iter(stream))
            dropped = self.wire.create(client)(**self.wire.asking(stream=True))
            del dropped
            gc.collect()  # nobody closed it

            async def main() -> None:
                other = self.async_client(watched, stub)
                async with other, await self.wire.create(other)(**self.wire.asking(stream=True)) as stream:
                    async for _ in stream:
                        break

            asyncio.run(main())
        assert [type(watched.outcome(at)).__name__ for at in range(3)] == ["FailedError"] * 3
        assert "left" in f"{watched.outcome(0)}"
        assert "left" in f"{watched.outcome(2)}"
        assert not watched._tickets

    def test_an_error_of_the_provider_is_the_sdks_and_a_failure_on_the_log(self, watched: Watched, stub: Stub) -> None:
        watched.asked.clear()
        refused = {"type": "invalid_api_key", "message": f"the key {KEY} is wrong"}
        body = json.dumps({"type": "error", "error": refused}).encode()
        stub.says(Said(body, status=401))
        with self.client(watched, stub) as client, pytest.raises(Exception, match="is wrong") as raised:
            self.wire.create(client)(**self.wire.asking())
        assert type(raised.value).__name__ == "AuthenticationError"
        outcome = str(watched.outcome(0))
        assert "HTTP 401 invalid_api_key" in outcome
        assert KEY not in outcome

    def test_a_model_that_never_answers_is_a_failure(self, watched: Watched, stub: Stub) -> None:
        watched.asked.clear()
        go = threading.Event()
        stub.says(Said(b"{}", waits=go))
        try:
            with self.client(watched, stub) as client, pytest.raises(Exception, match="timed out"):
                self.wire.create(client.with_options(timeout=0.3))(**self.wire.asking())
        finally:
            go.set()
        assert isinstance(watched.outcome(0), CallError)

    def test_an_answer_that_the_log_withholds_does_not_come_back(
        self, here: Installation, watched: Watched, stub: Stub
    ) -> None:
        token = "npm_" + "4eC39HqLyjWD" * 3
        with admin_connection(here.home, here.folder) as admin:
            set_settings(admin, {"results.secrets": "withhold"})
            try:
                for way in ("sync", "sync stream"):
                    said = self.wire.says(f"log in with {token}", stream="stream" in way)
                    with pytest.raises(ResultUnconfirmedError) as withheld:
                        self.play(way, watched, stub, said)
                    assert withheld.value.reason == "RESULT_WITHHELD"
                    assert token not in str(withheld.value)
            finally:
                set_settings(admin, {"results.secrets": None})

    def test_a_loop_of_the_programs_own(self, watched: Watched, stub: Stub) -> None:
        tools = GovernedTools(watched, TOOLS, app="shop")
        RAN.clear()
        stub.says(self.wire.asks(("a", "refund", '{"order": 1, "amount": 500}')), self.wire.says("sorry"))
        with self.client(watched, stub) as client:
            answer = self.wire.create(client)(**self.wire.asking(tools=self.rounds.offered(tools)))
            messages = self.rounds.answers(tools, answer)
        assert "PARAM_OUT_OF_RANGE" in json.dumps(messages)
        assert RAN == []
        assert inspect.getmodule(type(answer)).__name__.split(".")[0] in {"openai", "anthropic"}  # type: ignore[union-attr]
