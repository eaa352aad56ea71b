"""Large texts and secrets between a client and a tool on a real broker, and every way in which a body can be wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from macaw.installation.registrations import register_with_admin
from macaw.installation.tenancy import publish_policies, register_agent
from processors.calls.bodies import written
from producers.client import AsyncClient, Client, DeniedError, FailedError, ValueTooLargeError
from producers.client.beside import BodyPathError
from producers.kafka.bodies import Bodies
from producers.kafka.body_records import Outgoing
from producers.kafka.outcomes import ResultMissingError
from producers.kafka.publisher import PublishError
from producers.tools import tool
from schemas import limits, topics
from schemas.events.bodies import BodyReference
from schemas.records import InvocationRequested
from streams.local.choose import BrokerInfo
from tests.builders import keys_of
from tests.installation import Installation, installed
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

POLICY = {"policy_id": "role:writer", "resources": ["tool:files/*", "vault:team/**"]}
LARGE = 20 * 1024 * 1024
SECRET = "hunter2-of-nobody-else"


class Files:
    """A tool that takes large texts and secrets."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.key = ""

    @tool(bodies=("text",))
    def put(self, name: str, text: str) -> dict[str, object]:
        self.calls.append(("put", name, len(text)))
        return {"name": name, "characters": len(text), "end": text[-4:]}

    @tool(bodies=("*",))
    def join(self, parts: list[str], note: str = "") -> str:
        self.calls.append(("join", len(parts)))
        return "".join(parts) + note

    @tool
    def get(self, size: int) -> dict[str, str]:
        return {"text": "é" * (size // 2)}

    @tool
    def marked(self) -> dict[str, object]:
        return {"$body": {"digest": "0" * 64, "size": 3}}

    @tool(secrets=("api_key",))
    def ask(self, question: str, api_key: str) -> str:
        self.key = api_key
        if question == "fail":
            raise RuntimeError("no")
        return question.upper()


@pytest.fixture(scope="module")
def files() -> Files:
    return Files()


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory, files: Files) -> Iterator[Installation]:
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, tmp_path_factory.mktemp("home"), tenant) as here:
        register_agent(here.home, here.folder, "writer", attributes={"roles": ["writer"]})
        register_agent(here.home, here.folder, "eve", attributes={"roles": ["writer"]})
        publish_policies(here.home, here.folder, [json.dumps(POLICY)], {})
        with here.hosting("files", files):
            yield here


@pytest.fixture(scope="module")
def client(running: Installation) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "writer", home=running.home) as connected:
        yield connected


@pytest.fixture(scope="module")
def eve(running: Installation) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "eve", home=running.home) as connected:
        yield connected


# ---- large texts


def test_a_text_of_twenty_mebibytes_comes_through(client: Client, files: Files) -> None:
    """As a parameter: the tool gets it at its place."""
    text = "a" * (LARGE - 4) + "last"
    assert client.invoke("tool:files/put", {"name": "n", "text": text}) == {
        "name": "n",
        "characters": LARGE,
        "end": "last",
    }
    assert files.calls[-1] == ("put", "n", LARGE)


def test_a_result_of_twenty_mebibytes_comes_back(client: Client) -> None:
    assert client.invoke("tool:files/get", {"size": LARGE}) == {"text": "é" * (LARGE // 2)}


def test_several_texts_at_any_path_are_moved_until_the_rest_fits(client: Client, files: Files) -> None:
    """The largest first; small ones stay."""
    parts = [secrets.token_hex(40_000), "small", secrets.token_hex(50_000)]
    assert client.invoke("tool:files/join", {"parts": parts, "note": "end"}) == "".join(parts) + "end"


def test_a_small_call_has_no_body(client: Client) -> None:
    assert client.invoke("tool:files/put", {"name": "n", "text": "tiny"})["characters"] == 4


def test_an_asyncio_client_sends_and_gets_them_too(running: Installation) -> None:
    """Without blocking the loop: the upload is in another thread."""

    async def call() -> Any:
        async with await AsyncClient.connect(running.folder.tenant, "writer", home=running.home) as agent:
            text = "a" * 3_000_000
            put, got = await asyncio.gather(
                agent.invoke("tool:files/put", {"name": "n", "text": text}),
                agent.invoke("tool:files/get", {"size": 1_000_000}),
            )
            return put["characters"], len(got["text"])

    assert asyncio.run(call()) == (3_000_000, 500_000)


def test_a_result_that_looks_like_a_reference_is_data(client: Client) -> None:
    """Only a report that lists a body refers to one."""
    assert client.invoke("tool:files/marked", {}) == {"$body": {"digest": "0" * 64, "size": 3}}


def test_a_result_that_cannot_be_fetched_says_that_the_call_took_effect(
    running: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the way back stays: it is fetched later, by whoever comes back."""
    with Client.connect(running.folder.tenant, "writer", home=running.home) as client:
        with monkeypatch.context() as away:
            away.setattr("producers.kafka.answers.BODY_SECONDS", 0.0)
            away.setattr(Bodies, "_bounds", lambda *_: (0, 0))
            with pytest.raises(ResultMissingError, match="took effect") as missing:
                client.invoke("tool:files/get", {"size": 2_000_000})
        assert missing.value.reason == "RESULT_MISSING"
        (left,) = client.left
    assert Client.resume(running.folder.tenant, left.event_id, home=running.home) == {"text": "é" * 1_000_000}


# ---- secrets


def bytes_on(running: Installation, *names: topics.Topic) -> bytes:
    """Return everything that stands on some topics, headers too."""
    consumer = Consumer(
        {"bootstrap.servers": running.home.bootstrap, "group.id": "look", "auto.offset.reset": "earliest"}
    )
    found = []
    for topic in names:
        name = topic.of(running.folder.tenant)
        for partition in range(topic.partitions):
            _, end = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=PATIENCE_SECONDS)
            consumer.assign([TopicPartition(name, partition, 0)])
            while end and (message := consumer.poll(5.0)) is not None and message.error() is None:
                found += [message.value() or b"", message.key() or b"", *(v or b"" for _, v in message.headers() or [])]
                if message.offset() >= end - 2:  # a marker of a transaction may be last
                    break
    consumer.close()
    return b"".join(found)


def test_a_secret_stands_nowhere(
    client: Client, files: Files, running: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    """Not on any topic, in a log line, an error, or a representation; the tool has it."""
    caplog.set_level(logging.DEBUG)
    assert client.invoke("tool:files/ask", {"question": "why", "api_key": SECRET}) == "WHY"
    assert files.key == SECRET
    with pytest.raises(FailedError) as failed:
        client.invoke("tool:files/ask", {"question": "fail", "api_key": SECRET})
    with pytest.raises((DeniedError, FailedError)) as denied:  # too late for the log, or for the tool
        client.invoke("tool:files/ask", {"question": "why", "api_key": SECRET}, deadline=0.001)

    assert SECRET not in caplog.text + str(failed.value) + repr(failed.value.answer) + str(denied.value)
    stands = bytes_on(running, topics.INTAKE, topics.DECISIONS, topics.RESULTS, topics.AUDIT, topics.BODIES)
    assert b"$body" in stands
    assert SECRET.encode() not in stands


def test_a_caller_may_call_any_body_a_secret(client: Client, files: Files) -> None:
    """However small; elsewhere it is refused before anything is sent."""
    assert client.invoke("tool:files/put", {"name": "n", "text": "pin"}, secrets=["text"])["characters"] == 3
    for path in ("name", "absent", "a..b", "text[0]"):
        with pytest.raises(BodyPathError):
            client.invoke("tool:files/put", {"name": "n", "text": "pin"}, secrets=[path])
    with pytest.raises(BodyPathError, match="declares no bodies"):
        client.invoke("tool:files/get", {"size": 1}, secrets=["size"])


def test_a_policy_sees_that_a_secret_is_there_and_no_more(running: Installation) -> None:
    """Its presence counts; a pattern denies."""
    for at, (constraint, reason) in enumerate(
        ((["*"], ""), ({"required": True}, ""), ({"pattern": ".*"}, "BODY_UNSEEN"))
    ):
        policy = {
            "policy_id": f"role:careful{at}",
            "resources": ["tool:files/*"],
            "constraints": {"parameters": {"tool:files/*": {"api_key": constraint}}},
        }
        register_agent(running.home, running.folder, f"careful{at}", attributes={"roles": [f"careful{at}"]})
        publish_policies(running.home, running.folder, [json.dumps(policy)], {})
        with Client.connect(running.folder.tenant, f"careful{at}", home=running.home) as client:
            if not reason:
                assert client.invoke("tool:files/ask", {"question": "a", "api_key": SECRET}) == "A"
                continue
            with pytest.raises(DeniedError) as denied:
                client.invoke("tool:files/ask", {"question": "a", "api_key": SECRET})
            assert denied.value.reason == reason


# ---- attacks: the caller's own event is sent by hand


def sent(client: Client, parameters: Any, *bodies: BodyReference, resource: str = "tool:files/put") -> Any:
    body = InvocationRequested(
        resource=resource, parameters=json.dumps(parameters), intents=(), prompts=(), bodies=bodies,
        begin_by=int(time.time() * 1000) + 3_000,
    )  # fmt: skip
    return client.connection.send(body).answer.result(PATIENCE_SECONDS)


def by_hand(client: Client, body: Outgoing, *, sender: Client | None = None, named: BodyReference | None = None) -> Any:
    """Send a body, and a call that names it, without the checks of a client."""
    connection = (sender or client).connection
    connection.link.bodies.send([body], connection.key, connection.registry.readers_of("tool:files/put"))
    reference = named or body.reference
    return sent(client, {"name": "n", "text": written(reference)}, reference)


def test_a_body_of_ones_own_is_taken(client: Client) -> None:
    assert by_hand(client, Outgoing.of(b"mine")).result.outcome == "ok"


@pytest.mark.parametrize("attack", ["foreign", "swapped", "longer", "shorter", "truncated", "absent", "not a text"])
def test_a_body_that_is_not_the_callers_is_a_named_failure(
    client: Client, eve: Client, files: Files, attack: str
) -> None:
    """Nothing is executed, the tenant goes on, and other calls are executed meanwhile."""
    body = Outgoing.of(b"content" * 200_000)
    before, sender, named = len(files.calls), None, None
    if attack == "foreign":  # another session's body, sealed to the same tool
        sender = eve
    elif attack == "swapped":  # other content under the digest that was signed
        named, body = body.reference, replace(body, content=b"kontent" * 200_000)
    elif attack == "longer":
        named = replace(body.reference, size=body.reference.size + 1)
    elif attack == "shorter":
        named = replace(body.reference, size=body.reference.size - 1)
    elif attack == "truncated":  # the last chunk never comes
        named, body = body.reference, replace(body, reference=replace(body.reference, chunks=2))
    elif attack == "absent":
        named = Outgoing.of(body.content).reference
    else:
        body = Outgoing.of(b"\xff\xfe")

    answers = []
    waiting = threading.Thread(target=lambda: answers.append(by_hand(client, body, sender=sender, named=named)))
    waiting.start()
    for _ in range(3):
        assert (
            client.invoke("tool:files/ask", {"question": "go on", "api_key": "k"}, seconds=PATIENCE_SECONDS) == "GO ON"
        )
    waiting.join(PATIENCE_SECONDS)

    (answer,) = answers
    assert answer.result.outcome == "failed"
    assert "BODY_MISSING" in (answer.body or "")
    assert len(files.calls) == before


def test_a_replayed_body_of_another_callers_call_is_none(client: Client, eve: Client) -> None:
    """Eve names a body that the client has sent: the tool holds it against Eve's session."""
    body = Outgoing.of(b"of the client")
    assert by_hand(client, body).result.outcome == "ok"
    answer = sent(eve, {"name": "n", "text": written(body.reference)}, body.reference)
    assert (answer.result.outcome, "BODY_MISSING" in (answer.body or "")) == ("failed", True)


def test_smuggled_and_unlisted_bodies_are_denied(client: Client) -> None:
    """At an undeclared path, in an object of the caller's own, or too many."""
    body = Outgoing.of(b"x")
    mark = written(body.reference)
    for parameters, bodies in (
        ({"name": mark, "text": "t"}, [body.reference]),
        ({"name": "n", "text": mark}, []),
        ({"name": "n", "text": {**mark, "more": 1}}, [body.reference]),
        ({"name": "n", "text": "t"}, [body.reference]),
    ):
        assert sent(client, parameters, *bodies).result.reason == "BODY_REFERENCE"
    many = [Outgoing.of(b"x").reference for _ in range(limits.BODIES_PER_CALL_MAX + 1)]
    answer = sent(client, {"parts": [written(one) for one in many]}, *many, resource="tool:files/join")
    assert answer.result.reason == "LIMIT_EXCEEDED"
    with pytest.raises(BodyPathError, match=r"\$body"):
        client.invoke("tool:files/put", {"name": "n", "text": mark})


def test_many_missing_bodies_stall_nobody(client: Client, files: Files) -> None:
    """Calls without a body, and calls whose bodies are there, are executed while forty others are waited for."""
    lost = [Outgoing.of(b"lost").reference for _ in range(40)]
    body = [
        InvocationRequested(
            resource="tool:files/put", parameters=json.dumps({"name": "n", "text": written(one)}), intents=(),
            prompts=(), bodies=(one,), begin_by=int(time.time() * 1000) + 8_000,
        )
        for one in lost
    ]  # fmt: skip
    waiting = [client.connection.send(one).answer for one in body]
    started = time.monotonic()
    assert client.invoke("tool:files/marked", {}, seconds=PATIENCE_SECONDS)
    assert (
        client.invoke("tool:files/put", {"name": "n", "text": "t" * 100_000}, seconds=PATIENCE_SECONDS)["characters"]
        == 100_000
    )
    assert time.monotonic() - started < 15
    assert {future.result(PATIENCE_SECONDS).result.outcome for future in waiting} == {"failed"}


# ---- approvals


def test_a_call_that_waited_for_people_gets_its_text(running: Installation, files: Files) -> None:
    """They approve the digest; the body is looked for from the call's own time on."""
    register_agent(running.home, running.folder, "patient", attributes={"roles": ["patient"]})
    register_with_admin(running.home, running.folder, "approver", "boss", {"roles": ["boss"]})
    policy = {
        "policy_id": "role:patient",
        "resources": ["tool:files/*"],
        "attestations": ["seen"],
        "constraints": {"attestations": {"seen": {"approval_criteria": "role:boss", "timeout": 60}}},
    }
    publish_policies(running.home, running.folder, [json.dumps(policy)], {})
    tenant, text = running.folder.tenant, "a" * 300_000
    with (
        Client.connect(tenant, "patient", home=running.home) as client,
        Client.for_approver(tenant, "boss", home=running.home) as boss,
    ):
        call = client.begin("tool:files/put", {"name": "n", "text": text}, seconds=PATIENCE_SECONDS)
        assert call.first(30).result.outcome == "pending"
        (request,) = boss.list_attestations(status="pending")
        assert boss.show_call(request["request"]).parameters["text"].keys() == {"$body"}
        assert boss.approve_attestation(request)
        assert client.finish(call)["characters"] == len(text)


# ---- the vault


def test_a_large_value_of_the_own_scope_is_kept(client: Client) -> None:
    """Beside small ones, and as its author signed it; a shared scope takes small values only."""
    value = {"notes": "é" * 400_000, "$body": 1}
    version = client.context_set("large", value)
    client.context_set("small", {"$body": {"digest": "0" * 64, "size": 3}})

    assert client.context_get("large") == value
    assert client.context_entry("large").version == version
    assert client.context_get("small") == {"$body": {"digest": "0" * 64, "size": 3}}
    with pytest.raises(ValueTooLargeError):
        client.context_set("large", value, scope="team")


def test_a_body_without_a_reader_is_not_sent(running: Installation) -> None:
    """No live instance: the caller hears it at once, and nothing was sent."""
    bodies = Bodies(running.home.bootstrap, tenant=running.folder.tenant)
    try:
        with pytest.raises(PublishError):
            bodies.send([Outgoing.of(b"x")], keys_of("nobody"), ())
    finally:
        bodies.close()
