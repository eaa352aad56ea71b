"""The supervisor with real child processes: restarted, given up, stopped in order, and none left behind."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streams.local.supervisor import LINE_BYTES_MAX, Child, GaveUpError, Patience, Supervisor
from tests.waiting import wait_until

HASTY = Patience(pause_seconds=0.01, pause_seconds_max=0.02, fast_failures_max=3)
PAUSE = threading.Event()

WAITS = "import signal, sys; print('ready', flush=True); signal.sigwait([signal.SIGTERM]); sys.exit(0)"
BLOCKED = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); "


def is_gone(pid: int) -> bool:
    """Whether a process has ended; nobody may be there to collect one that was left to init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@dataclass
class Heard:
    """What a supervisor said and forwarded; `on_line` is called with each line."""

    on_line: Callable[[str, str], None] = lambda name, line: None
    said: list[str] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)

    def forward(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        self.on_line(name, line)


def child(name: str, program: str, *arguments: str, stop_seconds: float = 10.0) -> Child:
    return Child(name=name, argv=[sys.executable, "-u", "-c", program, *arguments], stop_seconds=stop_seconds)


def supervisor_of(*children: Child, heard: Heard, patience: Patience = HASTY) -> Supervisor:
    return Supervisor(children, say=heard.said.append, forward=heard.forward, patience=patience)


def stop_when(heard: Heard, holds: Callable[[], bool], supervisor: Supervisor) -> None:
    heard.on_line = lambda name, line: supervisor.stop() if holds() else None


def test_a_child_that_fails_is_started_again(tmp_path: Path) -> None:
    """It fails twice and then stays: the third process serves until the supervisor is stopped."""
    fails_twice = (
        "import pathlib, sys; tries = pathlib.Path(sys.argv[1]); tries.write_text(tries.read_text() + 'x')\n"
        f"if len(tries.read_text()) < 3: sys.exit(7)\n{BLOCKED}{WAITS}"
    )
    tries = tmp_path / "tries"
    tries.write_text("")
    heard = Heard()
    supervisor = supervisor_of(child("worker", fails_twice, str(tries)), heard=heard)
    stop_when(heard, lambda: ("worker", "ready") in heard.lines, supervisor)

    supervisor.run()

    assert tries.read_text() == "xxx"
    assert sum("with status 7; it starts again" in said for said in heard.said) == 2


def test_a_child_that_keeps_failing_ends_everything(tmp_path: Path) -> None:
    """A trust layer that runs in part would look as if it ran."""
    heard = Heard()
    pids: list[int] = []
    heard.on_line = lambda name, line: pids.append(int(line)) if name == "good" else None
    started = str(tmp_path / "started")
    shows = "import os, sys; print(os.getpid()); open(sys.argv[1], 'w').close(); signal.sigwait([signal.SIGTERM])"
    good = child("good", BLOCKED + shows, started)
    # It fails only once the good one runs: so there was one to be stopped.
    fails = "import os, sys\nwhile not os.path.exists(sys.argv[1]): pass\nsys.exit(1)"
    supervisor = supervisor_of(good, child("bad", fails, started), heard=heard)

    with pytest.raises(GaveUpError, match=r"bad ended 3 times in a row, the last time with status 1"):
        supervisor.run()

    assert pids
    assert all(is_gone(pid) for pid in pids)


def test_children_are_stopped_in_reverse_order(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    program = (
        f"{BLOCKED}import sys; print('ready'); signal.sigwait([signal.SIGTERM]); "
        "open(sys.argv[2], 'a').write(sys.argv[1] + ' ')"
    )
    heard = Heard()
    names = ("first", "second", "third")
    supervisor = supervisor_of(*(child(n, program, n, str(notes)) for n in names), heard=heard)
    stop_when(heard, lambda: len(heard.lines) == 3, supervisor)

    supervisor.run()

    assert notes.read_text() == "third second first "


def test_a_child_that_does_not_listen_is_killed_after_its_time() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); signal.pause()"
    heard = Heard()
    supervisor = supervisor_of(child("deaf", deaf, stop_seconds=0.2), heard=heard)
    stop_when(heard, lambda: bool(heard.lines), supervisor)

    supervisor.run()

    assert "deaf did not end within 0.2 s and was killed" in heard.said


def test_what_a_child_started_ends_with_it() -> None:
    """A grandchild in the child's session is no orphan afterwards, although nobody asked it to end."""
    program = (
        f"{BLOCKED}import subprocess, sys\n"
        "command = [sys.executable, '-c', 'import signal; signal.pause()']\n"
        "print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid); signal.sigwait([signal.SIGTERM])"
    )
    heard = Heard()
    supervisor = supervisor_of(child("parent", program), heard=heard)
    stop_when(heard, lambda: bool(heard.lines), supervisor)

    supervisor.run()

    grandchild = int(heard.lines[0][1])
    wait_until(lambda: is_gone(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_children_do_not_outlive_a_supervisor_that_is_killed() -> None:
    """SIGKILL leaves no time to stop anybody; the kernel does it."""
    program = (
        "import sys; from streams.local.supervisor import *\n"
        "waits = 'import os, signal; print(os.getpid()); signal.pause()'\n"
        "child = Child(name='c', argv=[sys.executable, '-u', '-c', waits])\n"
        "Supervisor([child], say=lambda s: None, forward=lambda name, line: print(line, flush=True)).run()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path.cwd()) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())

        running.kill()

        wait_until(lambda: is_gone(pid))


def test_a_child_has_a_session_of_its_own() -> None:
    """Ctrl-C in a terminal goes to the session in front: children must not get it before the supervisor."""
    heard = Heard()
    supervisor = supervisor_of(
        child("c", f"import os; print(os.getsid(0)); {BLOCKED}signal.sigwait([15])"), heard=heard
    )
    stop_when(heard, lambda: bool(heard.lines), supervisor)

    supervisor.run()

    assert int(heard.lines[0][1]) != os.getsid(0)


def test_a_child_that_ends_without_an_error_is_started_again_too() -> None:
    """Nobody but the supervisor says that a service is over: a SIGTERM to a monitor leaves no tenant undecided."""
    heard = Heard()
    supervisor = supervisor_of(child("asked", f"{BLOCKED}{WAITS}"), heard=heard)

    def ask(_: str, __: str) -> None:
        if len(heard.lines) == 1:
            pid = next(int(said.rsplit(maxsplit=1)[1]) for said in heard.said if said.startswith("asked runs"))
            os.kill(pid, signal.SIGTERM)
        else:
            supervisor.stop()

    heard.on_line = ask
    supervisor.run()

    assert [line for _, line in heard.lines] == ["ready", "ready"]
    assert any("asked ended with status 0; it starts again" in said for said in heard.said)


def test_a_child_that_keeps_ending_without_an_error_ends_everything() -> None:
    with pytest.raises(GaveUpError, match=r"once ended 3 times in a row, the last time with status 0"):
        supervisor_of(child("once", "print('done')"), heard=Heard()).run()


def test_lines_are_forwarded_with_the_name_and_long_ones_in_pieces() -> None:
    heard = Heard()
    program = (
        f"import sys; print('out'); sys.stderr.write('e' * {LINE_BYTES_MAX + 1} + '\\n'); "
        f"sys.stdout.buffer.write(b'\\xff\\n'); sys.stdout.flush()\n{BLOCKED}signal.sigwait([signal.SIGTERM])"
    )
    supervisor = supervisor_of(child("talks", program), heard=heard)
    stop_when(heard, lambda: len(heard.lines) == 4, supervisor)

    supervisor.run()

    assert all(name == "talks" for name, _ in heard.lines)
    assert sorted(len(line) for _, line in heard.lines) == [1, 1, 3, LINE_BYTES_MAX]


def test_stop_before_run_starts_nothing() -> None:
    heard = Heard()
    supervisor = supervisor_of(child("never", "print('here')"), heard=heard)
    supervisor.stop()

    supervisor.run()

    assert heard.lines == []


def test_a_stop_from_a_signal_handler_ends_the_run() -> None:
    """`macaw up` stops from its handler, in the very thread that runs."""
    heard = Heard()
    supervisor = supervisor_of(child("c", f"{BLOCKED}{WAITS}"), heard=heard)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: supervisor.stop())
    heard.on_line = lambda name, line: os.kill(os.getpid(), signal.SIGUSR1)
    try:
        supervisor.run()
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert heard.lines == [("c", "ready")]
