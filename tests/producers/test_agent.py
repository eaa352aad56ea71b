"""Agents that are caller and tool at once, on a real broker: they find, call and outlive each other."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from macaw.installation.tenancy import publish_policies, register_agent
from producers.agent.agent import Agent
from producers.agent.offering import Operation
from producers.agent.running import running_call
from producers.client import Client, DeniedError, FailedError, RefusedError, UnknownOutcomeError
from producers.client.beside import NoReceiverError
from schemas import limits
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, tmp_path_factory.mktemp("home"), tenant) as here:
        documents = []
        for name in ("app", "desk", "guest"):
            register_agent(here.home, here.folder, name, role="service", attributes={"offers": [f"tool:{name}/**"]})
            denied = ["tool:app/secret"] if name == "guest" else []
            documents.append({"policy_id": f"service:{name}", "resources": ["tool:**"], "denied_resources": denied})
        publish_policies(here.home, here.folder, [json.dumps(one) for one in documents], {})
        yield here


def agent(here: Installation, name: str, **handlers: Any) -> Agent:
    """Connect an agent with operations `tool:<name>/<operation>`."""
    operations = {f"tool:{name}/{operation}": Operation(handler=handler) for operation, handler in handlers.items()}
    return Agent.connect(here.folder.tenant, name, operations, home=here.home, label=f"local:test/app:{name}")


@pytest.fixture
def caller(running: Installation) -> Iterator[Agent]:
    with agent(running, "desk") as connected:
        yield connected


def test_an_agent_calls_what_another_one_offers(running: Installation, caller: Agent) -> None:
    """By name, and by session; the handler gets a dictionary of its own."""
    seen: list[dict[str, Any]] = []

    def double(given: dict[str, Any]) -> Any:
        seen.append(dict(given))
        given["value"] *= 2
        return given

    with agent(running, "app", double=double) as app:
        assert caller.invoke("tool:app/double", {"value": 21}) == {"value": 42}
        assert caller.invoke("tool:app/double", {"value": 1}, target=app.session_id) == {"value": 2}
    assert seen == [{"value": 21}, {"value": 1}]


def test_what_is_offered_later_can_be_called_when_offer_returns(running: Installation, caller: Agent) -> None:
    with agent(running, "app") as app:
        with pytest.raises(DeniedError, match="TOOL_UNAVAILABLE"):
            caller.invoke("tool:app/late", {}, target=app.session_id)
        app.offer({"tool:app/late": Operation(handler=lambda _: "here")})
        assert caller.invoke("tool:app/late", {}) == "here"


def test_a_plain_client_calls_an_agent_too(running: Installation) -> None:
    with (
        agent(running, "app", hello=lambda _: "hello"),
        Client.connect(running.folder.tenant, "desk", home=running.home) as client,
    ):
        assert client.invoke("tool:app/hello", {}) == "hello"


def test_a_call_goes_to_the_instance_that_it_names_and_to_no_other(running: Installation, caller: Agent) -> None:
    with agent(running, "app", who=lambda _: "one") as one, agent(running, "app", who=lambda _: "two") as two:
        assert caller.invoke("tool:app/who", {}, target=one.session_id) == "one"
        assert caller.invoke("tool:app/who", {}, target=two.session_id) == "two"
        assert caller.invoke("tool:app/who", {}) == "two"
        two.close()
        assert caller.invoke("tool:app/who", {}) == "one"


def test_a_handler_calls_others_within_its_call(running: Installation, caller: Agent) -> None:
    """What the caller may not do, the tool does not do for it; what it does by itself, it may."""
    with agent(running, "app", secret=lambda _: "secret") as app, agent(running, "guest") as guest:

        def fetch(_: dict[str, Any]) -> Any:
            return app.invoke("tool:app/secret", {})

        app.offer(
            {"tool:app/secret": Operation(handler=lambda _: "secret"), "tool:app/fetch": Operation(handler=fetch)}
        )
        assert caller.invoke("tool:app/fetch", {}) == "secret"
        with pytest.raises(FailedError, match="RESOURCE_DENIED"):
            guest.invoke("tool:app/fetch", {})
        assert app.invoke("tool:app/secret", {}) == "secret"


def test_a_handler_knows_who_asked_and_can_call_back(running: Installation, caller: Agent) -> None:
    caller.offer({"tool:desk/sample": Operation(handler=lambda given: f"sampled {given['text']}")})

    def ask(_: dict[str, Any]) -> Any:
        source = running_call()
        assert source is not None
        return app.invoke("tool:desk/sample", {"text": "x"}, target=source.source)

    with agent(running, "app", ask=ask) as app:
        assert caller.invoke("tool:app/ask", {}) == "sampled x"


def test_24_calls_deep_and_wide_end(running: Installation, caller: Agent) -> None:
    """Each holds a thread while it waits for the next one; none waits for a free one."""
    with agent(running, "app") as app:

        def deeper(given: dict[str, Any]) -> Any:
            return given["n"] if given["n"] >= 24 else app.invoke("tool:app/deeper", {"n": given["n"] + 1})

        together = threading.Barrier(24, timeout=60)

        def meet(_: dict[str, Any]) -> Any:
            together.wait()
            return True

        app.offer({"tool:app/deeper": Operation(handler=deeper), "tool:app/meet": Operation(handler=meet)})
        assert caller.invoke("tool:app/deeper", {"n": 1}) == 24
        with ThreadPoolExecutor(24) as pool:
            asked = [pool.submit(caller.invoke, "tool:app/meet", {}) for _ in range(24)]
            assert all(one.result(PATIENCE_SECONDS) for one in asked)


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (lambda _: 1 / 0, "ZeroDivisionError"),
        (lambda _: sys.exit(3), "SystemExit"),
        (lambda given: given["missing"], "missing"),
    ],
)
def test_a_handler_that_raises_fails_its_call_alone(
    running: Installation, caller: Agent, handler: Any, told: str
) -> None:
    with agent(running, "app", bad=handler, good=lambda _: "good"):
        with pytest.raises(FailedError, match=told):
            caller.invoke("tool:app/bad", {})
        assert caller.invoke("tool:app/good", {}) == "good"


def test_a_handler_may_run_a_loop_of_its_own_or_be_a_coroutine(running: Installation, caller: Agent) -> None:
    import asyncio

    async def later(_: Any) -> str:
        await asyncio.sleep(0)
        return "later"

    def inside(given: dict[str, Any]) -> str:
        return asyncio.run(later(given))

    def loop(given: dict[str, Any]) -> str:
        return asyncio.get_event_loop().run_until_complete(later(given))

    with agent(running, "app", later=later, inside=inside, loop=loop):
        assert [caller.invoke(f"tool:app/{name}", {}) for name in ("later", "inside", "loop")] == ["later"] * 3


def test_a_hanging_handler_is_unknown_and_holds_nobody_up(running: Installation, caller: Agent) -> None:
    release = threading.Event()
    with agent(running, "app", good=lambda _: "good") as app:
        app.offer(
            {
                "tool:app/hang": Operation(handler=lambda _: release.wait(60), timeout_seconds=0.5),
                "tool:app/good": Operation(handler=lambda _: "good"),
            }
        )
        with pytest.raises(UnknownOutcomeError):
            caller.invoke("tool:app/hang", {})
        assert caller.invoke("tool:app/good", {}) == "good"
        release.set()


def test_agents_are_found_newest_first_and_leave_with_their_session(running: Installation, caller: Agent) -> None:
    with agent(running, "app", look=lambda _: 1) as one, agent(running, "guest") as two:
        found = caller.agents()
        assert [row["session"] for row in found[:2]] == [two.session_id.hex(), one.session_id.hex()]
        assert found[1]["tools"] == ["tool:app/look"]
        assert found[1]["label"] == "local:test/app:app"
        told = caller.agent(one.session_id)
        assert told is not None
        assert [declared["resource"] for declared in told["declarations"]] == ["tool:app/look"]
    left = [row["session"] for row in caller.agents()]
    assert one.session_id.hex() not in left
    assert two.session_id.hex() not in left
    assert caller.agent(one.session_id) is None


def test_an_agent_that_hears_nothing_any_more_gives_no_sign_of_life(running: Installation) -> None:
    """Else its callers would wait for it until each call's time is over."""
    with agent(running, "app", look=lambda _: 1) as app:
        answers = app.client.connection.answers
        before = answers.newest
        app._give_sign_of_life()
        wait_until(lambda: answers.newest > before, "the answer to a sign of life")
        assert app._serving is not None
        app._serving.fail("the test says so")
        before = answers.newest
        app._give_sign_of_life()
        time.sleep(2)
        assert answers.newest == before


def test_another_programs_names_are_not_offered(running: Installation) -> None:
    with pytest.raises(RefusedError, match="OFFER_NOT_ALLOWED"):
        Agent.connect(running.folder.tenant, "app", {"tool:desk/x": Operation(handler=lambda _: 1)}, home=running.home)


PROGRAM = """
import sys
from pathlib import Path
from producers.agent.agent import Agent
from producers.agent.offering import Operation
from producers.home.home import Home
import time
agent = Agent.connect({tenant!r}, "app", {{"tool:app/slow": Operation(handler=lambda _: time.sleep(60)),
    "tool:app/quick": Operation(handler=lambda _: "quick")}}, home=Home.open(Path({home!r})))
print(agent.session_id.hex(), file=sys.stderr, flush=True)
{then}
"""


def start(here: Installation, then: str) -> subprocess.Popen[str]:
    """Run a program with an agent."""
    text = PROGRAM.format(tenant=here.folder.tenant, home=str(here.home.path.parent), then=then)
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    )


def test_a_program_that_falls_off_its_end_ends_at_once_and_prints_nothing(running: Installation) -> None:
    program = start(running, "time.sleep(0)")
    assert program.stderr is not None
    program.stderr.readline()
    began = time.monotonic()
    out, _ = program.communicate(timeout=PATIENCE_SECONDS)
    assert (program.returncode, out) == (0, "")
    assert time.monotonic() - began < 15  # a hang would be a minute; bench has the figure


def test_a_killed_program_is_found_gone_and_its_open_call_ends(
    running: Installation, caller: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after its tool's time-out of ten minutes: after the last sign of life."""
    monkeypatch.setattr(limits, "PRESENCE_MS", 5_000)  # for the monitor, which runs in this process
    program = start(running, "time.sleep(600)")
    assert program.stderr is not None
    session = bytes.fromhex(program.stderr.readline().strip())
    assert caller.invoke("tool:app/quick", {}, target=session) == "quick"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(caller.invoke, "tool:app/slow", {}, target=session, seconds=PATIENCE_SECONDS)
        time.sleep(1)
        program.send_signal(signal.SIGKILL)
        program.communicate(timeout=PATIENCE_SECONDS)
        with pytest.raises(UnknownOutcomeError):
            asked.result(PATIENCE_SECONDS)
    assert caller.agent(session) is None
    with pytest.raises(DeniedError, match="TOOL_UNAVAILABLE"):
        caller.invoke("tool:app/quick", {}, target=session)


# ---- large, secret and streamed


def test_large_texts_and_results_travel_beside_the_call(running: Installation, caller: Agent) -> None:
    """A conversation with pictures: several MiB each way, and nothing of it in an event of the log."""
    picture = "x" * 3_000_000

    def look(given: dict[str, Any]) -> Any:
        return {"seen": len(given["messages"][0]["image"]), "back": given["messages"][0]["image"] * 2}

    with agent(running, "app", look=look) as app:
        result = caller.invoke("tool:app/look", {"messages": [{"image": picture, "text": "what is it?"}]})
        assert (result["seen"], len(result["back"])) == (3_000_000, 6_000_000)
        assert caller.invoke("tool:app/look", {"messages": [{"image": "y"}]}, target=app.session_id)["back"] == "yy"


def test_a_secret_reaches_the_handler_and_nothing_else(running: Installation, caller: Agent) -> None:
    secret = f"sk-{secrets.token_hex(16)}"
    with agent(running, "app") as app:
        app.offer({"tool:app/use": Operation(handler=lambda given: given["api_key"][-4:], secrets=("api_key",))})
        assert caller.invoke("tool:app/use", {"api_key": secret, "q": 1}) == secret[-4:]
    for topic in ("intake", "decisions", "results", "audit", "state", "bodies"):
        assert secret.encode() not in read_all(running, topic)


def test_a_secret_for_an_instance_that_has_gone_stays_off_the_log(running: Installation, caller: Agent) -> None:
    """The second try, without a receiver, once brought it to the log in the clear."""
    gone = f"sk-{secrets.token_hex(16)}"
    app = agent(running, "app")
    app.offer({"tool:app/keep": Operation(handler=lambda given: len(given["api_key"]), secrets=("api_key",))})
    assert caller.invoke("tool:app/keep", {"api_key": gone}) == len(gone)
    app.close()
    with pytest.raises(DeniedError) as denied:
        caller.invoke("tool:app/keep", {"api_key": gone})
    assert denied.value.reason in {"TOOL_UNAVAILABLE", "BODY_REFERENCE"}
    with pytest.raises(NoReceiverError, match="nothing was sent") as refused:
        caller.invoke("tool:app/keep", {"api_key": gone})
    assert gone not in str(refused.value) + repr(refused.value)
    for topic in ("intake", "decisions", "results", "audit", "state", "bodies"):
        assert gone.encode() not in read_all(running, topic)


def read_all(here: Installation, topic: str) -> bytes:
    """Return all values and headers of a topic of the tenant."""
    from confluent_kafka import Consumer, TopicPartition

    name = f"macaw.{here.folder.tenant}.{topic}"
    consumer = Consumer(
        {"bootstrap.servers": here.home.bootstrap, "group.id": "test.reader", "enable.partition.eof": True}
    )
    found = []
    partitions = consumer.list_topics(name, timeout=PATIENCE_SECONDS).topics[name].partitions
    for partition in partitions:
        consumer.assign([TopicPartition(name, partition, 0)])
        while (message := consumer.poll(10)) is not None and message.error() is None:
            found.append(message.value() or b"")
            found += [value or b"" for _, value in message.headers() or ()]
    consumer.close()
    return b"".join(found)


def test_a_generator_is_a_stream_and_anything_else_one_result(running: Installation, caller: Agent) -> None:
    """Items as they come, an error in the middle as an error, and a caller that leaves stops the handler."""
    stopped = threading.Event()

    def count(given: dict[str, Any]) -> Any:
        if not given.get("stream"):
            return {"n": given["n"]}

        def items() -> Iterator[Any]:
            try:
                for n in range(given["n"]):
                    if n == given.get("breaks"):
                        raise RuntimeError("broke off")
                    yield {"n": n}
                    time.sleep(given.get("pause", 0))
            finally:
                stopped.set()

        return items()

    with agent(running, "app", count=count):
        assert list(caller.stream("tool:app/count", {"n": 5, "stream": True})) == [{"n": n} for n in range(5)]
        assert list(caller.stream("tool:app/count", {"n": 5})) == [{"n": 5}]
        broken = caller.stream("tool:app/count", {"n": 5, "stream": True, "breaks": 2})
        assert [next(broken), next(broken)] == [{"n": 0}, {"n": 1}]
        with pytest.raises(FailedError, match="broke off"):
            next(broken)
        stopped.clear()
        left = caller.stream("tool:app/count", {"n": 1000, "stream": True, "pause": 0.1})
        assert next(left) == {"n": 0}
        left.close()
        assert stopped.wait(PATIENCE_SECONDS)


def test_a_denied_stream_gives_no_item(running: Installation, caller: Agent) -> None:
    with (
        agent(running, "app", secret=lambda _: iter([1])),
        agent(running, "guest") as guest,
        pytest.raises(DeniedError, match="RESOURCE_DENIED"),
    ):
        next(guest.stream("tool:app/secret", {}))
