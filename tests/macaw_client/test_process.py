"""A program's process: it writes nothing of ours to stdout, and ends at once although nobody unregistered."""

from __future__ import annotations

import time

import pytest

from tests.macaw_client.company import Company

pytestmark = pytest.mark.broker

BEGIN = """
import time, threading
from macaw_client import MACAWClient
client = MACAWClient(app_name="desk")
client.register()
"""
# The last line that the program itself writes to stderr tells when its own work was over.
END = """
import sys
print(time.time(), file=sys.stderr, flush=True)
"""
CALLING = """
def call():
    client.invoke_tool("tool:bank/slow", {})
threading.Thread(target=call, daemon=True).start()
time.sleep(1)
"""
SERVING = """
client.register_tool("tool:desk/wait", lambda _: time.sleep(30))
def call():
    client.invoke_tool("tool:desk/wait", {}, target_agent=client.agent_id)
threading.Thread(target=call, daemon=True).start()
time.sleep(1)
"""
STREAMING = """
def endless(_):
    while True:
        yield {"now": time.time()}
        time.sleep(0.05)
client.register_tool("tool:desk/endless", endless)
parts = client.invoke_tool("tool:desk/endless", {}, stream=True)
next(parts)
"""
NOTING = """
for n in range(50):
    client.log_event("at the end", metadata={"n": n})
"""


MIDDLES = {
    "registered": "",
    "calls": CALLING,
    "serves a call": SERVING,
    "streams": STREAMING,
    "has events on their way": NOTING,
}


@pytest.mark.parametrize("middle", MIDDLES.values(), ids=MIDDLES.keys())
def test_the_interpreter_ends_within_a_second_of_its_last_line(firm: Company, middle: str) -> None:
    ended = firm.run(f"{BEGIN}{middle}{END}")
    now = time.time()

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    lines = ended.stderr.strip().splitlines()
    assert now - float(lines[0]) < 1.0, ended.stderr
    assert lines[1:] == []


def test_events_and_the_end_of_the_session_are_on_the_log_although_nobody_unregistered(firm: Company) -> None:
    ended = firm.run(BEGIN + NOTING + "print(client.agent_id.rpartition(':')[2])")
    session = ended.stdout.strip()
    kinds = firm.kinds_of(session)

    assert len(session) == 8
    assert kinds.count("ApplicationEventLogged") == 50
    assert kinds[-1] == "SessionClosed"


def test_nothing_of_ours_is_written_to_stdout(firm: Company) -> None:
    """On stdio it is the wire of a server. Failures and warnings are no exception."""
    script = """
from macaw_client import MACAWClient, PermissionDenied, RemoteIdentityProvider
import logging
logging.getLogger("macaw_client").warning("a warning of a library without a handler")
with MACAWClient(app_name="desk") as client:
    client.context_set("a", 1)
    client.invoke_tool("tool:bank/count", {})
    try:
        client.invoke_tool("tool:bank/say", {"text": "secret"})
    except PermissionDenied:
        pass
    client.list_agents()
"""
    ended = firm.run(script)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""


def test_a_broker_that_is_not_there_is_told_at_once(firm: Company) -> None:
    began = time.monotonic()
    ended = firm.run(
        """
from macaw_client import MACAWClient
try:
    MACAWClient(app_name="desk").register()
except ConnectionError as exc:
    print(exc)
""",
        MACAW_BOOTSTRAP_SERVERS="127.0.0.1:1",
    )

    assert ended.stdout.startswith("Cannot connect to MACAW: Connection refused: no broker answers at 127.0.0.1:1")
    assert time.monotonic() - began < 8


def test_the_original_name_of_the_process_says_what_it_is(firm: Company) -> None:
    """It is `macaw up`, which knows its options."""
    ended = firm.run(
        "import sys; sys.argv[1:] = ['--help']; import runpy; runpy.run_module('macaw_agent.main', run_name='__main__')"
    )

    assert ended.returncode == 0
    assert "Start broker, monitor, bridge, views and archive" in ended.stdout
    assert "is `macaw up`" in ended.stderr
