"""Key files under a passphrase: what opens them, where the passphrase comes from, and what is refused by name."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from producers.home.keystores import asking, passphrases, pem, pkcs8
from producers.home.keystores.errors import KeyFileError, PassphraseError
from producers.home.keystores.stores import KeyStores
from tests.passphrase_keys import PAIR, PASSPHRASE, encrypted, kept, other_encrypted, secret, stores


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (passphrases.FILE_VARIABLE, passphrases.COMMAND_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(passphrases, "_TYPED", {})


@pytest.fixture
def under(tmp_path: Path) -> KeyStores:
    """Stores whose new keys are files under the passphrase in a file."""
    secret(tmp_path / "passphrase")
    return stores(tmp_path, default="passphrase", passphrase="file:passphrase")


# --- the form


def test_a_key_under_a_passphrase_is_opened_by_it_and_shows_its_public_halves(under: KeyStores, tmp_path: Path) -> None:
    path = tmp_path / "tenants" / "acme" / "agents" / "shopper.key"
    made = under.create(path, "agent")

    assert under.load(path) == made
    assert under.facts(path).store == "passphrase"
    assert under.facts(path).publics == (made.signing.public, made.sealing.public)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_bytes()
    assert made.signing.seed.hex().encode() not in text
    assert b"BEGIN PRIVATE" not in text


def test_every_file_is_encrypted_anew() -> None:
    """Two files of one pair share no salt: the same passphrase is guessed for each on its own."""
    one, other = encrypted(), pem.written(PAIR, PASSPHRASE)

    assert one.splitlines()[0] == other.splitlines()[0]
    assert not set(one.splitlines()[2:5]) & set(other.splitlines()[2:5]) - {b""}


def test_openssl_opens_it_too(tmp_path: Path) -> None:
    """The form is that of PKCS #8, not one of our own."""
    kept(tmp_path)
    secret(tmp_path / "passphrase")
    command = ["openssl", "pkey", "-in", "a.key", "-passin", "file:passphrase", "-outform", "DER"]
    der = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout

    key = serialization.load_der_private_key(der, None)
    assert key.private_bytes_raw() == PAIR.signing.seed  # type: ignore[union-attr]


def spoilt(text: bytes, what: str) -> bytes:
    lines = text.splitlines(keepends=True)
    second = lines.index(b"-----END ENCRYPTED PRIVATE KEY-----\n") + 1
    other = other_encrypted().splitlines(keepends=True)
    ways = {
        "cut": lambda: text[:-40],
        "first line of another": lambda: b"".join([other[0], *lines[1:]]),
        "keys swapped": lambda: b"".join([lines[0], *lines[second:], *lines[1:second]]),
        "one key of another": lambda: b"".join([*lines[:second], *other[second:]]),
        "more work": lambda: _with_rounds(text),
        "weaker form": lambda: _weaker(lines),
        "clear key behind": lambda: text + b"-----BEGIN PRIVATE KEY-----\n",
        "no PEM": lambda: lines[0] + b"hello\n",
    }
    return ways[what]()


def _with_rounds(text: bytes) -> bytes:
    """Return the text with another number of rounds in its first key."""
    import base64

    body = b"".join(text.partition(b"KEY-----\n")[2].partition(b"-----END")[0].splitlines())
    der = base64.b64decode(body)
    changed = der.replace(bytes.fromhex("020105"), bytes.fromhex("02017f"), 1)
    assert changed != der
    new = base64.b64encode(changed)
    return text.replace(
        b"\n".join(body[at : at + 64] for at in range(0, len(body), 64)),
        b"\n".join(new[at : at + 64] for at in range(0, len(new), 64)),
    )


def _weaker(lines: list[bytes]) -> bytes:
    """Return a file as the library's own writer would make it, with 2,048 rounds."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    block = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSPHRASE.encode()),
    )
    return lines[0] + block + block


@pytest.mark.parametrize(
    "what",
    [
        "cut",
        "first line of another",
        "keys swapped",
        "one key of another",
        "more work",
        "weaker form",
        "clear key behind",
        "no PEM",
    ],
)
def test_a_spoilt_file_is_refused_by_name(under: KeyStores, tmp_path: Path, what: str) -> None:
    path = kept(tmp_path)
    path.write_bytes(spoilt(path.read_bytes(), what))

    with pytest.raises(KeyFileError, match=r"a\.key"):
        under.load(path)


def test_a_file_that_asks_for_much_memory_is_not_tried() -> None:
    """Only our own parameters are worked on: a file could ask for any amount."""
    der = pkcs8.encrypt(bytes(48), b"x", bytes(32))
    assert pkcs8.has_our_form(der)

    for at in range(len(der) - pkcs8.ENCRYPTED_BYTES):
        changed = bytearray(der)
        changed[at] ^= 1
        is_salt_or_iv = changed.count(0) > der.count(0) - 2 and der[at] == 0 and pkcs8.has_our_form(bytes(changed))
        assert is_salt_or_iv or not pkcs8.has_our_form(bytes(changed))


# --- the passphrase


def test_a_wrong_passphrase_is_told_and_quoted_nowhere(under: KeyStores, tmp_path: Path) -> None:
    path = kept(tmp_path)
    secret(tmp_path / "passphrase", "another-horse")

    with pytest.raises(PassphraseError, match=r"a\.key: the passphrase from passphrase does not open it") as raised:
        under.load(path)
    assert "another-horse" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mode": 0o640}, "others may read"),
        ({"text": ""}, "one line"),
        ({"text": "two\nlines"}, "one line"),
        ({"text": "x" * 2000}, "one line"),
        ({"text": "a\x00bcdefgh"}, "one line"),
        ({"text": "short"}, "at least 8"),
    ],
)
def test_a_passphrase_file_is_its_owners_and_one_line(tmp_path: Path, given: dict[str, object], says: str) -> None:
    secret(tmp_path / "passphrase", **given)  # type: ignore[arg-type]
    keys = stores(tmp_path, default="passphrase", passphrase="file:passphrase")

    with pytest.raises(PassphraseError, match=says):
        keys.create(tmp_path / "a.key", "agent")
    assert not (tmp_path / "a.key").exists()


def test_the_environment_comes_before_the_configuration(
    under: KeyStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(tmp_path)
    secret(tmp_path / "passphrase", "something else")

    monkeypatch.setenv("MACAW_PASSPHRASE_FILE", str(secret(tmp_path / "given")))
    assert under.load(path) == PAIR
    monkeypatch.setenv("MACAW_PASSPHRASE_COMMAND", "echo no")
    with pytest.raises(PassphraseError, match="both set"):
        under.load(path)
    monkeypatch.delenv("MACAW_PASSPHRASE_FILE")
    monkeypatch.setenv("MACAW_PASSPHRASE_COMMAND", f"cat {tmp_path / 'given'}")
    assert under.load(path) == PAIR


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("false", "ended with 1"),
        ("no-such-program", "cannot run"),
        ("true", "one line"),
        ("yes", "one line"),
        ("cat /dev/zero", "one line"),
        ("sh -c 'printf secret-of-two; exit 3'", "ended with 3"),
    ],
)
def test_a_command_that_gives_no_passphrase_is_told(
    under: KeyStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, says: str
) -> None:
    """It is read no further than a line can be long, and its output is quoted nowhere."""
    kept(tmp_path)
    monkeypatch.setenv("MACAW_PASSPHRASE_COMMAND", command)

    with pytest.raises(PassphraseError, match=says) as raised:
        under.load(tmp_path / "a.key")
    assert "secret-of-two" not in str(raised.value)


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'sleep 60 & sleep 60; wait'",
        "sh -c 'setsid sleep 8 & echo passphrase'",  # what it has started has left its group
        "sh -c 'echo passphrase; exec >&-; sleep 8'",
        "sh -c 'while :; do printf a; sleep 0.05; done'",
    ],
)
def test_a_command_that_does_not_end_is_ended(
    under: KeyStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """With the programs that it has started, or without those that have left its group."""
    kept(tmp_path)
    monkeypatch.setattr(asking, "COMMAND_SECONDS", 0.3)
    monkeypatch.setenv("MACAW_PASSPHRASE_COMMAND", command)

    begin = time.monotonic()
    with pytest.raises(PassphraseError, match=r"within 0\.3 s"):
        under.load(tmp_path / "a.key")
    assert time.monotonic() - begin < 5


def test_a_command_hears_which_key_is_meant(tmp_path: Path) -> None:
    """So that one command serves keys with different passphrases."""
    command = "|sh -c 'echo passphrase-of-$(basename \"$MACAW_KEY\" .key)'"
    keys = stores(tmp_path, default="passphrase", passphrase=command)
    made = [keys.create(tmp_path / f"{name}.key", "agent") for name in ("a", "b")]

    assert [keys.load(tmp_path / f"{name}.key") for name in ("a", "b")] == made
    assert pem.decrypted((tmp_path / "a.key").read_bytes(), "passphrase-of-a") == made[0]


def test_without_a_terminal_nobody_is_asked(tmp_path: Path) -> None:
    """A service that would wait for a person for ever ends with the next step instead."""
    kept(tmp_path)
    code = (
        "from pathlib import Path; from tests.plain_keys import PLAIN_KEYS; PLAIN_KEYS.load(Path('a.key').absolute())"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    ran = subprocess.run(  # noqa: PLW1510 - its error is looked at
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )

    assert "PassphraseError" in ran.stderr
    assert "there is no terminal to ask at: set MACAW_PASSPHRASE_FILE" in ran.stderr


def test_a_person_at_a_terminal_is_asked_and_nothing_is_echoed(tmp_path: Path) -> None:
    kept(tmp_path)
    code = (
        "from pathlib import Path; from tests.plain_keys import PLAIN_KEYS; "
        "print(PLAIN_KEYS.load(Path('a.key').absolute()), PLAIN_KEYS.load(Path('a.key').absolute()))"
    )
    shown = at_a_terminal([sys.executable, "-c", code], tmp_path, [PASSPHRASE])

    assert PAIR.kid.hex()[:16] in shown
    assert PASSPHRASE not in shown
    assert shown.count("passphrase of") == 1  # it is remembered


def at_a_terminal(argv: list[str], folder: Path, typed: list[str]) -> str:
    """Run a program on a terminal of its own, type a line after each question, and return all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(argv[0], argv, {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    shown, waiting = b"", list(typed)
    guard = threading.Timer(60, os.kill, (pid, 9))
    guard.start()
    try:
        while chunk := _read(terminal):
            shown += chunk
            if waiting and shown.count(b": ") > len(typed) - len(waiting):
                os.write(terminal, waiting.pop(0).encode() + b"\n")
    finally:
        guard.cancel()
        os.waitpid(pid, 0)
        os.close(terminal)
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # its other end is closed
        return b""
