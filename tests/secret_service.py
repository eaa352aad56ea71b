"""A keyring of the system for a test: GNOME's, on a message bus of its own, in a folder of the test (no display)."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("dbus-daemon", "gnome-keyring-daemon")
PASSWORD = "the-password-of-the-login"
VARIABLES = ("DBUS_SESSION_BUS_ADDRESS", "HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")


def missing_programs() -> list[str]:
    """Return the programs that this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def secret_service(folder: Path) -> Iterator[dict[str, str]]:
    """Run an unlocked keyring until the block ends; yield the environment in which it is found."""
    folder.mkdir(mode=0o700)
    command = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1"]
    bus = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert bus.stdout is not None
        address = bus.stdout.readline().strip()
        found = dict(zip(VARIABLES, (address, str(folder), str(folder / "share"), str(folder)), strict=True))
        with _keyring({**os.environ, **found}):
            yield found
    finally:
        _end(bus)


@contextmanager
def _keyring(environ: dict[str, str]) -> Iterator[None]:
    command = ["gnome-keyring-daemon", "--unlock", "--components=secrets", "--foreground"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    daemon = subprocess.Popen(command, env=environ, **pipes)  # type: ignore[call-overload]
    try:
        daemon.stdin.write(PASSWORD.encode())
        daemon.stdin.close()
        _wait_for_name(environ)
        yield
    finally:
        _end(daemon)


def _wait_for_name(environ: dict[str, str]) -> None:
    """Wait until the service answers on the bus."""
    from jeepney import DBusAddress, new_method_call
    from jeepney.io.blocking import open_dbus_connection

    bus = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
    with open_dbus_connection(environ["DBUS_SESSION_BUS_ADDRESS"]) as connection:
        for _ in range(600):
            asked = new_method_call(bus, "NameHasOwner", "s", ("org.freedesktop.secrets",))
            if connection.send_and_get_reply(asked, timeout=10).body[0]:
                return
            time.sleep(0.05)
    raise AssertionError("the keyring did not come up")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
