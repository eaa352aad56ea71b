"""A user at a terminal: real processes, on a broker that `macaw up` starts.

It is the embedded one, which starts in a second, but where the broker matters.
"""

import base64
import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.plain_keys import PLAIN_KEYS
from tests.waiting import PATIENCE_SECONDS, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
PAYER = str(EXAMPLES / "policies-quickstart" / "payer.json")
COMMAND = [sys.executable, "-m", "macaw.cli"]
UP = ["up", "--broker", "embedded"]
HOSTILE = "tool:bank/\x1b[2Jtransfer"


@dataclass
class Served:
    """A command that stays, with what it has printed."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def await_line(self, text: str) -> None:
        """Wait until a line with `text` was printed."""
        with self.changed:
            came = self.changed.wait_for(lambda: any(text in line for line in self.lines), PATIENCE_SECONDS)
        assert came, f"no line with {text!r} in:\n{''.join(self.lines)}"

    def interrupt(self) -> int:
        """Send what Ctrl-C sends and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_SECONDS)


@dataclass
class Terminal:
    """A user's terminal: a working directory, an environment, and all that was ever shown."""

    folder: Path
    shown: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MACAW_") or k == "MACAW_KAFKA_LIBS"}
        root = str(Path(__file__).parents[2])
        own = {"MACAW_HOME": str(self.folder), "BANK_DB": str(self.folder / "bank.db"), "PYTHONPATH": root}
        return {**kept, **own, **self.changed}

    def run(self, *argv: str, status: int = 0, given: str | None = None) -> str:
        """Run a command to its end, check its exit status, and return what it wrote to stdout."""
        ran = subprocess.run(
            [*COMMAND, *argv],
            cwd=self.folder,
            env=self.environ(),
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        self.shown += [ran.stdout, ran.stderr]
        assert ran.returncode == status, f"{argv} ended with {ran.returncode}: {ran.stderr}"
        assert "Traceback" not in ran.stderr
        return ran.stdout if status == 0 else ran.stdout + ran.stderr

    @contextmanager
    def serving(self, argv: Sequence[str], ready: str) -> Iterator[Served]:
        """Start a command that stays and wait until it is ready; what is left of it at the end is killed."""
        process = subprocess.Popen(
            [*COMMAND, *argv],
            cwd=self.folder,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        served = Served(process)
        reader = threading.Thread(target=served.read)
        reader.start()
        try:
            served.await_line(ready)
            yield served
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # its children end with it; SIGKILL would leave that to the kernel
                try:
                    process.wait(PATIENCE_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()
            reader.join()
            assert process.stderr is not None
            process.stderr.close()
            self.shown += served.lines


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


@pytest.mark.broker
def test_from_an_empty_folder_to_evidence(terminal: Terminal) -> None:
    """All that the quick start does, and beside it what is refused and what must never be shown."""
    with terminal.serving(UP, "Ctrl-C stops everything") as up:
        found_and_register(terminal)
        bank = ["tool", "serve", f"bank={EXAMPLES / 'tools' / 'bank.py'}"]
        with terminal.serving(bank, "bank serves transfer, balance") as host:
            call(terminal)
            look(terminal)
            check_evidence(terminal)
            assert host.interrupt() == 130
        refuse_what_is_wrong(terminal)
        assert up.interrupt() == 130
        up.await_line("everything is stopped")
    assert not (terminal.folder / ".macaw" / "broker" / "embedded.running").exists()
    no_secret_was_shown(terminal)


def found_and_register(terminal: Terminal) -> None:
    genesis = terminal.run("tenant", "create", "acme").strip()
    assert len(bytes.fromhex(genesis)) == 32
    terminal.run("agent", "register", "shopper", "--role", "payer")
    terminal.run("policy", "publish", PAYER)
    assert "role:payer" in terminal.run("policy", "list")


def call(terminal: Terminal) -> None:
    transfer = ["invoke", "tool:bank/transfer", "--as", "shopper", "--params"]
    assert json.loads(terminal.run(*transfer, '{"to": "bob", "amount": 25}')) == {"sent": 25, "to": "bob"}
    assert "PARAM_NOT_ALLOWED" in terminal.run(*transfer, '{"to": "eve", "amount": 25}', status=1)
    assert "amount must be above 0" in terminal.run(*transfer, "-", status=1, given='{"to": "bob", "amount": -1}')
    with sqlite3.connect(terminal.folder / "bank.db") as ledger:
        entries = ledger.execute("SELECT account, amount FROM entries ORDER BY account").fetchall()
    ledger.close()
    assert entries == [("alice", -25.0), ("bob", 25.0)]


def look(terminal: Terminal) -> None:
    sessions = json.loads(terminal.run("sessions", "--json"))
    assert {row["principal_id"] for row in sessions} == {"shopper"}
    assert len(sessions) == 3
    assert "RESOURCE_INVALID" in terminal.run("invoke", HOSTILE, "--as", "shopper", status=1)
    intake = terminal.run("log", "intake", "--from-start")
    assert all(line.isprintable() for line in intake.splitlines())
    assert r"tool:bank/\x1b[2Jtransfer" in intake
    kinds = [json.loads(line)["record"]["kind"] for line in terminal.run("log", "--json", "-n", "1000").splitlines()]
    assert kinds[0] == "TenantFounded"
    assert kinds.count("InvocationRequested") == 4


def check_evidence(terminal: Terminal) -> None:
    terminal.run("audit", "export", "evidence")
    assert "UNWITNESSED" in terminal.run("audit", "verify", "evidence", status=1)
    assert "UNWITNESSED" in terminal.run("audit", "verify", "evidence", "--allow-unwitnessed")
    other = "00" * 32
    terminal.run("audit", "verify", "evidence", "--genesis", other, "--allow-unwitnessed", status=1)
    assert "every byte the same" in terminal.run("replay")


def refuse_what_is_wrong(terminal: Terminal) -> None:
    assert "runs already" in terminal.run("up", status=1)
    assert "exists" in terminal.run("tenant", "create", "acme", status=1)
    assert "is revoked" not in terminal.run("agent", "revoke", "nobody", status=1)
    terminal.run("agent", "revoke", "shopper")
    assert "macaw agent register shopper" in terminal.run("invoke", "tool:bank/balance", "--as", "shopper", status=1)


def no_secret_was_shown(terminal: Terminal) -> None:
    shown = "".join(terminal.shown)
    folder = terminal.folder / ".macaw" / "tenants" / "acme"
    for front in ("views", "authzen"):
        assert (folder / f"{front}.token").read_text().strip() not in shown
    archive_keys = [*folder.glob("archive-keys/*.key")]
    assert len(archive_keys) == 2
    for path in archive_keys:
        assert path.stat().st_mode & 0o077 == 0
        assert path.read_text().strip() not in shown
    keys = [*({*folder.rglob("*.key")} - {*archive_keys}), *folder.rglob("*.revoked")]
    assert len(keys) == 7
    for path in keys:
        assert path.stat().st_mode & 0o077 == 0
        pair = PLAIN_KEYS.load(path)
        for secret in (pair.signing.seed, pair.sealing.secret):
            assert secret.hex() not in shown
            assert base64.b64encode(secret).decode().rstrip("=") not in shown


@pytest.mark.broker
def test_up_leaves_nothing_behind_and_takes_up_where_it_ended(terminal: Terminal) -> None:
    """A tenant is founded, everything stops, and the next `macaw up` has its log and its policies."""
    with terminal.serving(UP, "Ctrl-C stops everything") as up:
        terminal.run("tenant", "create", "acme")
        terminal.run("policy", "publish", PAYER)
        assert up.interrupt() == 130
    assert "no broker answers" in terminal.run("log", status=1)
    with terminal.serving(UP, "Ctrl-C stops everything") as up:
        assert "role:payer" in terminal.run("policy", "list")
        assert "in force already" in run_talk(terminal, "policy", "publish", PAYER)
        up.process.terminate()
        assert up.process.wait(PATIENCE_SECONDS) == 0


def run_talk(terminal: Terminal, *argv: str) -> str:
    terminal.run(*argv)
    return terminal.shown[-1]


@pytest.mark.broker
def test_an_unclean_stop_is_refused_until_the_data_is_discarded(terminal: Terminal) -> None:
    """The embedded broker may lack acknowledged records then: the log must not go on as if it were whole."""
    with terminal.serving(UP, "Ctrl-C stops everything") as up:
        terminal.run("tenant", "create", "acme")
        up.process.kill()
        up.process.wait()
    until_lock_is_free(terminal, "embedded")
    assert "macaw up --discard" in terminal.run("up", status=1)
    with terminal.serving(["up", "--discard"], "Ctrl-C stops everything") as up:
        up.await_line("their keys are kept in")
        terminal.run("tenant", "create", "acme")
        assert up.interrupt() == 130


def until_lock_is_free(terminal: Terminal, broker: str) -> None:
    """Wait until the broker has followed its killed starter: it holds the data's lock until then."""
    with (terminal.folder / ".macaw" / "broker" / f"{broker}.lock").open("rb") as lock:

        def is_free() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        wait_until(is_free, "another process holds the lock", pause=0.05)
