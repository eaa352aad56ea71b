"""A client that was connected before a fork: the child is told at once, and the parent does not notice."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.client import Client
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.producers.session_place import is_open
from tests.producers.workflow_bank import Bank, banking
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
BEFORE = """
import asyncio, gc, multiprocessing, os, sys, time
from producers.client import AsyncClient, Client, ForkedError
from producers.home.home import Home

tenant = sys.argv[1]
client = Client.connect(tenant, "payer")
PAY = ("tool:bank/pay", {"amount": 1})
assert client.invoke(*PAY) == {"paid": 1}

def told(act):
    began = time.monotonic()
    try:
        act()
    except ForkedError as exc:
        assert "connect in each process" in str(exc) and "nothing was sent" in str(exc), exc
        assert time.monotonic() - began < 5  # not its whole time; nothing is waited for
        print("told", flush=True)
    else:
        print("NOT TOLD", flush=True)

def child(act):
    pid = os.fork()
    if pid == 0:
        act()
        sys.exit(0)  # with everything that an interpreter destroys at its end
    assert os.waitpid(pid, 0)[1] == 0, "the child crashed"
"""
AFTER = """
assert client.invoke(*PAY) == {"paid": 1}
client.close()
print("parent goes on")
"""


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with banking(broker, tmp_path_factory.mktemp("home"), f"w{secrets.token_hex(4)}", Bank()) as here:
        yield here


def play(here: Installation, script: str) -> list[str]:
    """Run a script in a process of its own, between a call before it and one after it; return its lines."""
    program = BEFORE + textwrap.dedent(script) + AFTER
    environment = {**os.environ, "MACAW_HOME": str(here.home.path.parent), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", program, here.folder.tenant]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    "use",
    [
        "client.invoke(*PAY)",
        "client.submit(*PAY)",
        "client.start(*PAY)",
        "client.context_set('k', 1)",
        "client.list_delegations()",
        "client.close_session()",
        "client._connection.registry.refresh()",
        "asyncio.run(AsyncClient(client).invoke(*PAY))",
        "call.first(60)",
        "asyncio.run(call.first_async(60))",
    ],
)
def test_whatever_is_used_in_the_child_says_at_once_what_to_do(running: Installation, use: str) -> None:
    """Also the child of a child, and what was begun before the fork."""
    script = f"""
    call = client.begin("tool:bank/pay", {{"amount": 500}})
    child(lambda: told(lambda: {use}))
    child(lambda: child(lambda: told(lambda: {use})))
    """
    assert play(running, script) == ["told", "told", "parent goes on"]


def test_a_child_that_closes_or_drops_it_hurts_nobody(running: Installation) -> None:
    """By close, by the end of a block, by the collector, and by the interpreter's end."""
    script = """
    def leave_block():
        with client:
            pass

    def drop():
        global client
        del client
        gc.collect()

    for act in (client.close, leave_block, drop, lambda: None):
        child(act)
    """
    assert play(running, script) == ["parent goes on"]


def test_processes_of_the_library_are_told_too(running: Installation) -> None:
    """`multiprocessing` forks as well; a client of its own works there."""
    script = """
    def work():
        told(lambda: client.invoke(*PAY))
        with Client.connect(tenant, "payer") as own:
            print(own.invoke(*PAY), flush=True)

    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    worker.join(300)
    assert worker.exitcode == 0
    """
    assert play(running, script) == ["told", "{'paid': 1}", "parent goes on"]


def test_a_host_that_is_run_after_a_fork_is_told(running: Installation) -> None:
    """gunicorn --preload would make it before."""
    script = """
    from pathlib import Path
    from producers.kafka.connection import Connection
    from producers.tools.host import HostSettings, ToolHost
    home = Home.find()
    folder = home.tenant(tenant)
    connection = Connection(home, folder, folder.keys.load(folder.key_file("tool", "bank")), "bank")
    settings = HostSettings(bootstrap=home.bootstrap, group_managed=False, executed_path=Path(folder.path, "other.db"))
    host = ToolHost(connection, "bank", [], settings)
    child(lambda: told(host.run))
    connection.close()
    """
    assert play(running, script) == ["told", "parent goes on"]


def test_the_parents_session_outlives_its_children(running: Installation) -> None:
    """What a child closes is not its own: the session is ended by whoever opened it."""
    script = """
    child(client.close)
    print(client.session_id.hex())
    """
    session, _ = play(running, script)
    with Client.connect(running.folder.tenant, "payer", home=running.home) as other:
        assert not is_open(running, other, bytes.fromhex(session))  # by now the parent has closed it
