"""Where a passphrase or PIN comes from: a file, a command's output, or a person at a terminal. Never from arguments.

    file:PATH       one line in a file of mode 0600; a relative path begins at .macaw
    |COMMAND        one line on the command's standard output; no shell; MACAW_KEY names the key

Both forms are those of `pin-source` in a PKCS#11 URI (RFC 7512, section 2.4).
"""

from __future__ import annotations

import getpass
import os
import selectors
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from producers.home.files import FileError, read_secret_line, secret_line
from producers.home.keystores.errors import PassphraseError

SECRET_BYTES_MAX = 1024
COMMAND_SECONDS = 60.0  # a person may have to touch something
_KILLED_SECONDS = 1.0  # for a killed command to be gone; one of another user's cannot be killed
_TERMINAL = threading.Lock()  # one question at a time


@dataclass(frozen=True, slots=True)
class SecretSource:
    """A file or a command. Its text is public: it stands in config.json and in messages."""

    text: str
    folder: Path

    @classmethod
    def parse(cls, text: str, folder: Path) -> SecretSource:
        """Return the source in a text; relative paths begin at `folder`. Raises ValueError, which quotes nothing."""
        try:
            is_command = text.startswith("|") and bool(shlex.split(text[1:]))
        except ValueError:
            is_command = False
        if not is_command and not (text.startswith("file:") and len(text) > len("file:")):
            raise ValueError("it must be file:PATH or |COMMAND")  # a passphrase in the wrong place is not repeated
        return cls(text, folder)

    def read(self, about: str) -> str:
        """Return the secret for the key called `about`.

        Raises:
            PassphraseError: the file or the command does not give one line.
        """
        if self.text.startswith("|"):
            return _from_command(shlex.split(self.text[1:]), about)
        path = self.folder / self.text.removeprefix("file:")
        try:
            return read_secret_line(path, SECRET_BYTES_MAX)
        except FileError as exc:
            raise PassphraseError(f"{about}: cannot read the passphrase or PIN in {path}: {exc.why}") from None


def ask(what: str, about: str, instead: str, *, twice: bool = False) -> str:
    """Ask a person at the terminal for `what`, "passphrase" or "PIN", of the key called `about`.

    `instead` says how a service without a terminal gets it.

    Raises:
        PassphraseError: there is no terminal, or nothing usable was typed.
    """
    if not sys.stdin.isatty():
        raise PassphraseError(f"{about}: its {what} is needed, and there is no terminal to ask at: {instead}")
    with _TERMINAL:
        typed = getpass.getpass(f"{what} of {about}: ")
        if twice and getpass.getpass(f"{what} of {about}, again: ") != typed:
            raise PassphraseError(f"{about}: the two were not the same; nothing was changed")
    if secret_line(typed.encode("utf-8", "surrogateescape"), SECRET_BYTES_MAX) is None:
        raise PassphraseError(f"{about}: the {what} must be 1 to {SECRET_BYTES_MAX} bytes, printable UTF-8")
    return typed


def _from_command(argv: list[str], about: str) -> str:
    """Return the one line that a command writes, within COMMAND_SECONDS. Its standard error is the user's."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command, from config.json or the environment
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, "MACAW_KEY": about},
            process_group=0,
        )
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it cannot be a command"
        raise PassphraseError(f"{about}: cannot run the command {argv[0]!r} for its passphrase or PIN: {why}") from None
    try:
        data, status = _output_of(process, time.monotonic() + COMMAND_SECONDS)
    except TimeoutError:
        raise PassphraseError(
            f"{about}: the command {argv[0]!r}, or a program that it has started, still holds its standard output; it "
            f"must end within {COMMAND_SECONDS:g} s, and what it leaves running must write elsewhere"
        ) from None
    line = secret_line(data, SECRET_BYTES_MAX)
    if status != 0 or line is None:
        raise PassphraseError(
            f"{about}: the command {argv[0]!r} ended with {status}; within {COMMAND_SECONDS:g} s it must end with 0 "
            f"and write one line of 1 to {SECRET_BYTES_MAX} bytes, printable UTF-8"
        )
    return line


def _output_of(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, int]:
    """Return what a command writes, to its end or just past the longest line, and its exit status.

    Raises:
        TimeoutError: the command has not ended, or its output is still open, at `deadline` (monotonic seconds).
    """
    assert process.stdout is not None
    try:
        with process.stdout as output:
            data = _read_until(output.fileno(), SECRET_BYTES_MAX + 3, deadline)
        if len(data) > SECRET_BYTES_MAX + 2:  # and no further: a command may write for ever
            _kill(process)
        return data, process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    finally:
        if process.returncode is None:
            _kill(process)


def _read_until(descriptor: int, bytes_max: int, deadline: float) -> bytes:
    """Return what a pipe gives, at most so many bytes. Raises TimeoutError at the deadline if it is still open."""
    data = b""
    with selectors.DefaultSelector() as ready:
        ready.register(descriptor, selectors.EVENT_READ)
        while len(data) < bytes_max:
            if not ready.select(max(0.0, deadline - time.monotonic())):
                if time.monotonic() < deadline:
                    continue
                raise TimeoutError
            more = os.read(descriptor, bytes_max - len(data))
            if not more:
                break
            data += more
    return data


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and what it has started. It is waited for no longer than _KILLED_SECONDS."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired, PermissionError):
        process.kill()
        process.wait(_KILLED_SECONDS)
