"""A caller is told for whom its call waits: for verifiers by name, and then, where policies ask, for people."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from macaw.cli import main
from macaw.installation.verifiers import register_verifier, served_key
from macaw.protocol.mcp_types import Invocation
from macaw.security.verification.result import VerificationResult
from macaw.security.verification.serving import declaration_of, judge_of
from macaw.security.verification.verifier import Verifier
from producers.client import AsyncClient, Client, NoAnswerError
from producers.kafka.connection import Connection
from producers.kafka.waiting import WaitingCall
from producers.tools.verifier_host import VerifierHost, VerifierSettings
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.producers.workflow_bank import Bank, approving, banking


class Sums(Verifier):
    """Passes everything."""

    prefix = "sums"
    stamps: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__("Sums")
        self.scope.resource_patterns = ["tool:bank/pay"]
        self.scope.compile_patterns()

    def verify(self, invocation: Invocation, context: Any = None) -> VerificationResult:
        return VerificationResult(True)


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with banking(broker, tmp_path_factory.mktemp("home"), f"v{secrets.token_hex(4)}", Bank()) as here:
        register_verifier(here.home, here.folder, "adder", declaration_of(Sums()))
        yield here


@contextmanager
def judging(here: Installation) -> Iterator[None]:
    """Serve the verifier."""
    judge = Sums()
    declared = declaration_of(judge)
    key = served_key(here.home, here.folder, "adder", declared)
    settings = VerifierSettings(bootstrap=here.home.bootstrap, workers=1, security=here.home.security)
    with Connection(here.home, here.folder, key, "adder") as connection:
        host = VerifierHost(connection, declared, judge_of(judge), settings)
        thread = threading.Thread(target=host.run)
        thread.start()
        try:
            assert host.ready.wait(30)
            yield
        finally:
            host.stop()
            thread.join(60)


@pytest.mark.broker
def test_a_call_without_its_verdict_says_which_verifier_it_waits_for(
    running: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the error of the client, and in the words of the command, which names no approver."""
    told: list[WaitingCall] = []
    with (
        Client.connect(running.folder.tenant, "payer", home=running.home) as payer,
        pytest.raises(NoAnswerError, match="still waits for the verdict of sums,") as error,
    ):
        payer.invoke("tool:bank/pay", {"amount": 5}, approval_seconds=0.5, on_pending=told.append)
    assert error.value.reason == "VERDICT_PENDING"
    assert [one.verifiers for one in told] == [("sums",)]

    monkeypatch.setenv("MACAW_HOME", str(running.home.path.parent))
    place = ("--as", "payer", "--tenant", running.folder.tenant)
    assert main(["invoke", "tool:bank/pay", *place, "--params", '{"amount": 6}', "--approval-timeout", "0.5"]) != 0
    said = capsys.readouterr().err
    assert "tool:bank/pay waits for the verdict of sums until" in said
    assert "approv" not in said


@pytest.mark.broker
def test_who_waits_for_verifiers_and_then_for_people_is_told_both(running: Installation) -> None:
    """The wait goes on as long as people have: the time of the verifiers does not end it."""
    tenant, home = running.folder.tenant, running.home
    told: list[str] = []
    with judging(running), Client.for_person(tenant, "carol", home=home) as carol:

        def on_pending(call: WaitingCall) -> None:
            told.append(call.awaited)
            if not call.verifiers:
                approving(carol)(call)

        with Client.connect(tenant, "payer", home=home) as payer:
            assert payer.invoke("tool:bank/pay", {"amount": 250}, on_pending=on_pending) == {"paid": 250}
            assert told == ["the verdict of sums", "an approval"]
            assert payer.invoke("tool:bank/pay", {"amount": 7}, on_pending=on_pending) == {"paid": 7}
            assert told == ["the verdict of sums", "an approval", "the verdict of sums"]

        async def ask() -> Any:
            waits: asyncio.Queue[WaitingCall] = asyncio.Queue()
            async with await AsyncClient.connect(tenant, "payer", home=home) as client:
                call = client.invoke("tool:bank/pay", {"amount": 260}, on_pending=waits.put_nowait)
                paying = asyncio.create_task(call)
                first, second = await waits.get(), await waits.get()
                await asyncio.to_thread(approving(carol), second)
                return [first.awaited, second.awaited, await paying]

        assert asyncio.run(ask()) == ["the verdict of sums", "an approval", {"paid": 260}]
