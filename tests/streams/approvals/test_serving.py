"""On a real log: a call waits, Slack asks, a person presses, the call runs, and the log has the person's name."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from macaw.cli import main
from macaw.installation.registrations import limits_from, register_with_admin
from producers.client import Client, DeniedError
from producers.home.keys import KeyPair
from schemas import codec
from schemas.events.workflow import AttestationApproved, AttestationDenied
from schemas.records import Event
from schemas.topics import INTAKE
from schemas.words import Outcome
from streams.address import LOOPBACK
from streams.approvals.desk import GONE
from streams.approvals.process import ApprovalsProcess
from streams.history.signed import signed_by
from streams.history.topics import TopicReader
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.producers.workflow_bank import Bank, banking
from tests.streams.approvals.asked import channel, config
from tests.streams.approvals.slack_stub import CAROL, SlackStub, form_of, send, signed, slack
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank()


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory, bank: Bank) -> Iterator[Installation]:
    with banking(broker, tmp_path_factory.mktemp("home"), f"s{secrets.token_hex(4)}", bank) as found:
        yield found


@pytest.fixture(scope="module")
def key(here: Installation) -> KeyPair:
    """The key of a service that passes on answers of persons, each for one call."""
    limits = limits_from(resources=["tool:bank/*"], once_only=True, speaks_for=["user:*"])
    return register_with_admin(here.home, here.folder, "approver", "slack", {"roles": ["manager"]}, limits)


@contextmanager
def serving(here: Installation, stub: SlackStub) -> Iterator[str]:
    """Run the process, and yield the URL that Slack calls."""
    given = channel(stub.url, shows_parameters=True)
    process = ApprovalsProcess(here.home, here.folder, "slack", given, "slack")
    url = process.door(LOOPBACK, 0, None).address.url
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        yield url
    finally:
        process.stop()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def answers_by(here: Installation, key: KeyPair) -> list[AttestationApproved | AttestationDenied]:
    """Return the answers that the audit log says a key has signed, in the log's order."""
    place = (here.home.bootstrap, here.folder.tenant)
    offsets = {entry.offset for entry in signed_by(*place, key.kid.hex()) if entry.outcome == Outcome.ACCEPTED}
    with TopicReader(place[0], INTAKE, place[1]) as reader:
        events = [codec.decode_as(Event, one.value()) for one in reader.all() if one.offset() in offsets]
    return [one.body for one in events if isinstance(one.body, AttestationApproved | AttestationDenied)]


def test_a_person_presses_and_the_call_runs(here: Installation, bank: Bank, key: KeyPair) -> None:
    with (
        slack() as stub,
        Client.connect(here.folder.tenant, "payer", home=here.home) as payer,
        serving(here, stub) as url,
    ):
        call = payer.begin("tool:bank/pay", {"amount": 4242})
        ts, message = stub.only()
        assert '\\"amount\\": 4242' in json.dumps(message)
        body = form_of(stub.pressing(ts, CAROL))
        headers = signed(body)

        answers = [httpx.post(f"{url}/slack/interactions", content=body, headers=headers) for _ in range(3)]

        assert [one.status_code for one in answers] == [200, 409, 409]
        assert payer.finish(call, seconds=PATIENCE_SECONDS) == {"paid": 4242}
        wait_until(lambda: "approved by `user:carol`" in json.dumps(stub.messages[ts]), "the answer in the message")
        wait_until(lambda: stub.told, "the person is told")
        assert stub.told == ["approved: 1 of 1; the log has the answer"]

    [answer] = answers_by(here, key)
    assert isinstance(answer, AttestationApproved)
    assert (answer.said_by, answer.key) == ("user:carol", "manager")
    assert bank.paid == [4242]


def test_a_no_is_final(here: Installation, bank: Bank, key: KeyPair) -> None:
    before = list(bank.paid)
    with (
        slack() as stub,
        Client.connect(here.folder.tenant, "payer", home=here.home) as payer,
        serving(here, stub) as url,
    ):
        call = payer.begin("tool:bank/pay", {"amount": 555})
        ts, _ = stub.only()

        assert send(url, stub.pressing(ts, CAROL, "macaw-deny")).status_code == 200

        with pytest.raises(DeniedError, match="APPROVAL_DENIED"):
            payer.finish(call, seconds=PATIENCE_SECONDS)
        wait_until(lambda: "denied by `user:carol`" in json.dumps(stub.messages[ts]), "the denial in the message")
    assert isinstance(answers_by(here, key)[-1], AttestationDenied)
    assert bank.paid == before


def test_a_call_that_is_given_up_is_told(here: Installation, key: KeyPair) -> None:
    """The end of a call that nobody answered reaches its message without a look by time."""
    with slack() as stub, Client.connect(here.folder.tenant, "payer", home=here.home) as payer, serving(here, stub):
        call = payer.begin("tool:bank/pay", {"amount": 777})
        ts, _ = stub.only()
        with Client.for_person(here.folder.tenant, "carol", home=here.home) as carol:
            [listed] = carol.list_attestations()
            assert carol.approve_attestation(listed)
        assert payer.finish(call, seconds=PATIENCE_SECONDS) == {"paid": 777}
        wait_until(lambda: GONE in json.dumps(stub.messages[ts]), "the end in the message")


def test_the_command_tells_a_webhook_until_it_is_stopped(
    here: Installation,
    key: KeyPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`macaw approvals serve` as an operator runs it; a wrong file and a wrong name are told first."""
    monkeypatch.setenv("MACAW_HOME", str(here.home.path.parent))
    serve = ["approvals", "serve", "--tenant", here.folder.tenant, "--channel", "webhook"]
    with slack() as stub, Client.connect(here.folder.tenant, "payer", home=here.home) as payer:
        text = f"webhook:\n  url: {stub.url}/asked\n  secret_file: w.secret\n  private_hosts: ['127.0.0.1']\n"
        file = str(config(tmp_path, text, w="whsec_" + "a" * 44))
        assert main([*serve, "--as", "approver:nobody", "--config", file]) == 1
        assert main([*serve, "--as", "approver:slack", "--config", str(tmp_path / "none.yaml")]) == 1
        assert "macaw approver register" in capsys.readouterr().err
        payer.begin("tool:bank/pay", {"amount": 888})

        def stop() -> None:
            wait_until(lambda: stub.requests, "the webhook is told")
            os.kill(os.getpid(), signal.SIGTERM)

        stopping = threading.Thread(target=stop)
        stopping.start()
        assert main([*serve, "--as", "approver:slack", "--config", file]) == 0
        stopping.join(PATIENCE_SECONDS)
    assert stub.requests >= 1
