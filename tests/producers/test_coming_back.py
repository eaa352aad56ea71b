"""Callers that come back for the result of a call that waited, on a real broker."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from producers.client import AsyncClient, Client, NoAnswerError, RefusedError, kept_calls
from producers.client.approvals import CallOverError
from producers.client.kept_calls import WaitingCallError
from producers.home.home import Home
from producers.kafka.waiting import WaitingCall
from schemas.topics import RESULTS
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.plain_keys import PLAIN_KEYS
from tests.producers.workflow_bank import Bank, approving, banking
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank()


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory, bank: Bank) -> Iterator[Installation]:
    with banking(broker, tmp_path_factory.mktemp("home"), f"w{secrets.token_hex(4)}", bank) as here:
        yield here


@pytest.fixture(scope="module")
def payer(running: Installation) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "payer", home=running.home) as connected:
        yield connected


@pytest.fixture(scope="module")
def carol(running: Installation) -> Iterator[Client]:
    with Client.for_person(running.folder.tenant, "carol", home=running.home) as connected:
        yield connected


def test_the_asyncio_twin_comes_back_too(running: Installation, carol: Client) -> None:
    """Started, left, approved, fetched."""
    tenant, home = running.folder.tenant, running.home

    async def start() -> WaitingCall:
        async with await AsyncClient.connect(tenant, "payer", home=home) as client:
            call = await client.start("tool:bank/pay", {"amount": 902})
            assert isinstance(call, WaitingCall)
            return call

    call = asyncio.run(start())
    approving(carol)(call)

    assert asyncio.run(AsyncClient.resume(tenant, call.event_id, home=home, seconds=PATIENCE_SECONDS)) == {"paid": 902}


def test_a_caller_that_gives_up_is_not_waited_for(running: Installation, payer: Client) -> None:
    """A task that is cancelled while its call waits leaves nothing listening, and the call can be fetched later."""

    async def ask() -> WaitingCall:
        async with await AsyncClient.connect(running.folder.tenant, "payer", home=running.home) as client:
            asked: asyncio.Future[WaitingCall] = asyncio.get_running_loop().create_future()
            call = asyncio.create_task(client.invoke("tool:bank/pay", {"amount": 903}, on_pending=asked.set_result))
            kept = await asyncio.wait_for(asked, PATIENCE_SECONDS)
            call.cancel()
            await asyncio.wait({call})
            assert call.cancelled()
            assert client.client._connection.answers._waiters == {}
            return kept

    kept = asyncio.run(ask())
    call, _ = kept_calls.load(running.folder, kept.event_id)
    assert call == replace(kept, ends_session=True)  # its client has gone
    with pytest.raises(NoAnswerError):
        payer.begin("tool:bank/pay", {"amount": 904}).first(0)


def test_a_caller_comes_back_after_its_restart(payer: Client, carol: Client, bank: Bank, running: Installation) -> None:
    """The first process is gone; another one fetches the result with the event id, and then it is given out."""
    tenant, home = running.folder.tenant, running.home
    with Client.connect(tenant, "payer", home=home) as first:
        call = first.start("tool:bank/pay", {"amount": 900})
    assert isinstance(call, WaitingCall)
    approving(carol)(call)

    assert Client.resume(tenant, call.event_id, home=home, seconds=PATIENCE_SECONDS) == {"paid": 900}
    assert bank.paid.count(900) == 1
    with pytest.raises(WaitingCallError, match="no call"):
        Client.resume(tenant, call.event_id, home=home)
    # Whoever has lost the first session's key is told how it ended, not what it gave; nobody else is told anything.
    with pytest.raises(CallOverError) as over:
        payer.show_call(call.event)
    assert over.value.outcome == "ok"
    with pytest.raises(RefusedError, match="APPROVAL_UNKNOWN"):
        carol.show_call(call.event)


def test_a_caller_comes_back_before_anybody_has_approved(carol: Client, bank: Bank, running: Installation) -> None:
    """It is told again that the call waits, and waits on."""
    tenant, home = running.folder.tenant, running.home
    with Client.connect(tenant, "payer", home=home) as first:
        call = first.start("tool:bank/pay", {"amount": 901})
    assert isinstance(call, WaitingCall)

    assert Client.resume(tenant, call.event_id, home=home, on_pending=approving(carol)) == {"paid": 901}
    assert bank.paid.count(901) == 1


def another_key(folder: Path) -> None:
    """Put another key where the session's was."""
    [path] = folder.glob("*.key")
    path.unlink()
    PLAIN_KEYS.create(path, "agent")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(path.read_text().replace('"offset": ', '"offset": -')),
        lambda path: path.write_text(path.read_text().replace('"event": "', '"event": "x')),
        lambda path: path.write_text(path.read_text().replace('"resource"', '"source"')),
        lambda path: another_key(path.parent),
    ],
)
def test_a_kept_call_that_was_changed_is_named(
    running: Installation, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    """No guess is made of what stood there."""
    folder = replace(running.folder, path=tmp_path)
    key = running.folder.key("admin")
    call = WaitingCall(
        event_id="0" * 32,
        event="0" * 64,
        resource="tool:x/y",
        principal_id="p",
        session=key.kid.hex(),
        until=1,
        offset=7,
    )
    kept_calls.keep(folder, call, key)
    assert kept_calls.load(folder, call.event_id)[0] == call
    kept_calls.keep(folder, call, key)
    with pytest.raises(WaitingCallError, match="two calls have the event id"):
        kept_calls.keep(folder, replace(call, event="1" * 64), key)
    spoil(tmp_path / kept_calls.FOLDER / f"{call.event_id}.json")

    with pytest.raises(WaitingCallError, match=r"damaged|another session"):
        kept_calls.load(folder, call.event_id)
    with pytest.raises(WaitingCallError, match="event id"):
        kept_calls.load(folder, "../../etc/passwd")


def test_a_home_is_needed_to_come_back(tmp_path: Path) -> None:
    """A call is kept where it was asked."""
    (tmp_path / "t").mkdir()
    home = Home.create(tmp_path, {"bootstrap": "127.0.0.1:1", "tenant": "acme"})

    with pytest.raises(WaitingCallError, match="no call"):
        Client.resume("acme", "0" * 32, home=home)


def test_what_is_kept_is_bounded_in_time_and_number(
    running: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the log keeps no longer leaves, and of too many the oldest."""
    folder, key = replace(running.folder, path=tmp_path), running.folder.key("admin")
    fields = {"event": "0" * 64, "resource": "r", "principal_id": "p", "session": key.kid.hex(), "until": None}

    def keep(n: int, age_seconds: float) -> None:
        call = WaitingCall(event_id=f"{n:032x}", offset=0, **fields)  # type: ignore[arg-type]
        kept_calls.keep(folder, call, key)
        at = time.time() - age_seconds
        for path in (tmp_path / kept_calls.FOLDER).glob(f"{call.event_id}.*"):
            os.utime(path, (at, at))

    def kept() -> list[int]:
        return sorted(int(path.stem, 16) for path in (tmp_path / kept_calls.FOLDER).glob("*.key"))

    keep(1, RESULTS.retention_ms / 1000 + 60)
    keep(2, RESULTS.retention_ms / 1000 - 60)
    keep(3, 3)
    assert kept() == [2, 3]
    monkeypatch.setattr(kept_calls, "FILES_MAX", 4)
    keep(4, 2)
    keep(5, 1)
    assert kept() == [3, 4, 5]  # two calls and what came then
    assert kept_calls.load(folder, f"{5:032x}")[0].until is None
