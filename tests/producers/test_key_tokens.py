"""Keys on a PKCS#11 token (SoftHSM): they sign and open like keys in memory, and never leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from processors.proof.sealing import SealingError, SealingKey
from processors.proof.signing import Proof, SigningKey, verify_signature
from producers.home.keys import KeyPair
from producers.home.keystores import token_session
from producers.home.keystores.errors import KeyFileError, PassphraseError, TokenError
from producers.home.keystores.pem import KeyStaysError
from producers.home.keystores.stores import KeyStores
from producers.home.process import ForkedError
from tests.softhsm import PIN, SoftHSM
from tests.waiting import PATIENCE_SECONDS


def stores(folder: Path, **tokens: str) -> KeyStores:
    return KeyStores.read({"default": next(iter(tokens)), "tokens": tokens}, folder)


@pytest.fixture
def hsm(softhsm: SoftHSM, tmp_path: Path) -> KeyStores:
    """Stores whose new keys are made on a token."""
    softhsm.token("macaw")
    return stores(tmp_path, hsm=softhsm.uri("token=macaw"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenants" / "acme" / "monitor.key"


# --- keys


def test_a_key_on_a_token_does_what_a_key_in_memory_does(hsm: KeyStores, path: Path) -> None:
    made = hsm.create(path, "monitor")
    kept = hsm.load(path)

    assert kept.kid == made.kid
    assert hsm.facts(path).store == "hsm"
    assert hsm.facts(path).publics == (made.signing.public, made.sealing.public)
    leaves = [os.urandom(32) for _ in range(5)]
    for leaf, header in zip(leaves, kept.signing.sign_leaves(leaves), strict=True):
        proof = Proof.parse(header)
        verify_signature(made.signing.public, proof.head(leaf), proof.signature)
    other = SealingKey.from_secret(os.urandom(32))
    assert kept.sealing.shared_with(other.public) == other.shared_with(made.sealing.public)
    offered = kept.offer("monitor", "monitor", bytes(32))
    assert (offered.ed25519, offered.x25519) == hsm.facts(path).publics


def test_a_moved_key_is_the_same_key_and_does_not_come_back(hsm: KeyStores, path: Path) -> None:
    """Its signatures are those that it made before, byte for byte: Ed25519 has no randomness."""
    hsm.put(path, before := KeyPair.generate(), "file")
    hsm.move(path, "hsm")
    after = hsm.load(path)

    assert after.signing.sign(b"message") == before.signing.sign(b"message")
    other = SealingKey.from_secret(os.urandom(32))
    assert after.sealing.shared_with(other.public) == before.sealing.shared_with(other.public)
    assert isinstance(before.signing, SigningKey)
    assert b"PRIVATE" not in path.read_bytes()
    text = path.read_bytes()
    for store in ("file", "passphrase", "keyring", "hsm"):
        with pytest.raises(KeyStaysError, match="does not leave it"):
            hsm.move(path, store)
    assert path.read_bytes() == text


def test_nothing_in_this_process_is_a_secret(hsm: KeyStores, path: Path) -> None:
    """The token says that its keys are sensitive, and refuses their values; no object here has one."""
    from pkcs11 import Attribute
    from pkcs11.exceptions import PKCS11Error

    made = hsm.create(path, "monitor")
    for key in (made.signing._key, made.sealing._key):  # type: ignore[attr-defined]
        assert key[Attribute.SENSITIVE] is True
        assert key[Attribute.EXTRACTABLE] is False
        with pytest.raises(PKCS11Error):
            key[Attribute.VALUE]
    assert made.kid.hex()[:16] in repr(made)
    assert PIN not in repr(made) + repr(vars(made.signing._token))  # type: ignore[attr-defined]


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"short", b""])
def test_a_key_of_small_order_or_wrong_length_is_refused(hsm: KeyStores, path: Path, point: bytes) -> None:
    """As in memory; and the session with the token goes on."""
    made = hsm.create(path, "monitor")
    in_memory = SealingKey.from_secret(os.urandom(32))
    try:
        in_memory.shared_with(point)
    except SealingError:
        with pytest.raises(SealingError):
            made.sealing.shared_with(point)
    else:
        assert made.sealing.shared_with(point)
    assert made.signing.sign(b"on")


def test_a_discarded_key_is_gone_from_the_token(hsm: KeyStores, path: Path) -> None:
    made = hsm.create(path, "monitor")
    text = path.read_bytes()
    hsm.discard(path)

    assert not path.exists()
    with pytest.raises(TokenError, match="fails"):
        made.signing.sign(b"message")
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(TokenError, match="has 0 private keys with the id"):
        hsm.load(path)


def test_a_second_file_of_a_key_does_not_take_it_from_the_token(hsm: KeyStores, path: Path) -> None:
    """As a copy of its file, with the ids in another spelling."""
    made = hsm.create(path, "monitor")
    copy = path.with_name("monitor.key.older")
    copy.write_text(path.read_text().replace(entry := json.loads(path.read_text())["entry"], entry.upper()))
    copy.chmod(0o600)
    hsm.discard(copy)
    assert not copy.exists()
    assert hsm.load(path).kid == made.kid


def test_what_cannot_be_written_leaves_no_key_on_the_token(
    hsm: KeyStores, path: Path, softhsm: SoftHSM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk."""
    hsm.create(path, "monitor")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    objects = set((softhsm.folder / "tokens").rglob("*.object"))
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            hsm.create(path.with_name("admin.key"), "admin")
    assert set((softhsm.folder / "tokens").rglob("*.object")) == objects


def test_threads_use_one_token_at_once(hsm: KeyStores, path: Path) -> None:
    """The library is told that one thread calls it; so one does."""
    made, wrong = hsm.create(path, "monitor"), []
    other = SealingKey.from_secret(os.urandom(32))
    shared = other.shared_with(made.sealing.public)

    def use(number: int) -> None:
        for turn in range(50):
            message = f"{number} {turn}".encode()
            try:
                verify_signature(made.signing.public, message, made.signing.sign(message))
                assert made.sealing.shared_with(other.public) == shared
            except Exception as exc:  # noqa: BLE001 - told below
                wrong.append(exc)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


SIGNER = """
import sys
from pathlib import Path
from processors.proof.signing import verify_signature
from producers.home.home import TenantHome
pair = TenantHome("acme", Path(sys.argv[1])).key("monitor")
print("ready", flush=True)
sys.stdin.readline()
for turn in range(200):
    verify_signature(pair.signing.public, b"%d" % turn, pair.signing.sign(b"%d" % turn))
print(pair.kid.hex(), repr(pair), flush=True)
"""


def test_two_processes_use_one_token_at_once(softhsm: SoftHSM, tmp_path: Path) -> None:
    softhsm.token("macaw")
    folder = tmp_path / ".macaw" / "tenants" / "acme"
    section = {"default": "hsm", "tokens": {"hsm": softhsm.uri("token=macaw")}}
    folder.mkdir(parents=True)
    (tmp_path / ".macaw" / "config.json").write_text(json.dumps({"keys": section}))
    from producers.home.home import TenantHome

    made = TenantHome("acme", folder).keys.create(folder / "monitor.key", "monitor")
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environ}
    signers = [subprocess.Popen([sys.executable, "-c", SIGNER, str(folder)], **pipes) for _ in range(2)]
    for one in signers:
        assert one.stdout.readline() == "ready\n"
        assert PIN.encode() not in Path(f"/proc/{one.pid}/cmdline").read_bytes()
        assert PIN.encode() not in Path(f"/proc/{one.pid}/environ").read_bytes()
    said = [one.communicate("go\n", timeout=PATIENCE_SECONDS)[0] for one in signers]

    assert all(text.startswith(made.kid.hex()) for text in said)


def test_a_child_does_not_use_its_parents_session(hsm: KeyStores, path: Path) -> None:
    """PKCS#11 forbids it: the child says so, and does not sign with what it has inherited."""
    made = hsm.create(path, "monitor")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            made.signing.sign(b"message")
            os.write(write, b"signed")
        except ForkedError:
            os.write(write, b"refused")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"refused"
    assert made.signing.sign(b"message")


# --- what is refused, by name


def test_a_token_that_is_absent_is_told(hsm: KeyStores, path: Path, softhsm: SoftHSM, tmp_path: Path) -> None:
    hsm.create(path, "monitor")
    gone = stores(tmp_path, hsm=softhsm.uri("token=other"))

    with pytest.raises(TokenError, match=r"no token with token 'other' is there: put it in"):
        gone.load(path)
    with pytest.raises(KeyFileError, match=r"refers to the token 'hsm', which config\.json does not name"):
        stores(tmp_path, usb=softhsm.uri("token=macaw")).load(path)
    assert hsm.load(path)


def test_two_tokens_with_one_label_are_told_apart_by_serial(softhsm: SoftHSM, path: Path, tmp_path: Path) -> None:
    serials = [softhsm.token("twin"), softhsm.token("twin")]
    with pytest.raises(TokenError, match=r"2 tokens have token 'twin': add `;serial=`") as raised:
        stores(tmp_path, hsm=softhsm.uri("token=twin")).create(path, "monitor")
    assert all(serial in str(raised.value) for serial in serials)

    one, other = (stores(tmp_path, hsm=softhsm.uri("token=twin", f"serial={serial}")) for serial in serials)
    made = one.create(path, "monitor")
    assert one.load(path).kid == made.kid
    with pytest.raises(TokenError, match="has 0 private keys"):
        other.load(path)


def test_a_wrong_pin_is_told_and_tried_once(hsm: KeyStores, path: Path, softhsm: SoftHSM) -> None:
    """A monitor asks for its key every five seconds: with each try a token would come nearer to locking itself."""
    hsm.create(path, "monitor")
    softhsm.read_again()
    softhsm.set_pin("not-the-pin-at-all")

    with pytest.raises(PassphraseError, match=r"its PIN is wrong: correct `pin-source`") as raised:
        hsm.load(path)
    with pytest.raises(PassphraseError, match=r"has refused this PIN, which is not tried twice"):
        hsm.load(path)
    assert "not-the-pin" not in "".join(traceback.format_exception(raised.value))
    softhsm.set_pin(PIN)
    assert hsm.load(path)


def test_a_token_that_will_lock_itself_is_not_tried(
    hsm: KeyStores, path: Path, softhsm: SoftHSM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SoftHSM never locks itself; the flags are those that other tokens set, after two and after three wrong PINs."""
    import pkcs11

    hsm.create(path, "monitor")
    softhsm.read_again()

    class Flagged:
        label, serial = "macaw", b"1"

        def __init__(self, flag: pkcs11.TokenFlag) -> None:
            self.flags = pkcs11.TokenFlag.LOGIN_REQUIRED | flag

    for flag, says in (
        (
            pkcs11.TokenFlag.USER_PIN_FINAL_TRY,
            "one more wrong PIN would lock it, so none is tried",
        ),
        (pkcs11.TokenFlag.USER_PIN_LOCKED, "its PIN is locked after too many wrong ones: its security officer"),
    ):
        monkeypatch.setattr(token_session, "_token", lambda name, uri, flag=flag: Flagged(flag))
        with pytest.raises(TokenError, match=says):
            hsm.load(path)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("PinLocked", "security officer must set a new one"),
        ("DeviceRemoved", "it was taken away: put it back"),
        ("DeviceMemory", "it is full"),
        ("MechanismInvalid", "it cannot do what the key needs"),
        ("GeneralError", r"it fails \(GeneralError\)"),
    ],
)
def test_every_failure_of_the_library_has_a_sentence(hsm: KeyStores, path: Path, error: str, says: str) -> None:
    import pkcs11

    session = hsm.create(path, "monitor").signing._token  # type: ignore[attr-defined]

    def fail(_: object) -> None:
        raise getattr(pkcs11.exceptions, error)("the PIN is hunter2")

    with pytest.raises(TokenError, match=says) as raised:
        session.run(fail)
    assert "hunter2" not in str(raised.value)
    assert hsm.load(path)  # in another session


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("/nowhere/lib.so", "there is no library"),
        ("/etc/hostname", "is not a PKCS#11 library"),
        ("/dev/zero", "no library"),
    ],
)
def test_a_library_that_is_none_is_told(softhsm: SoftHSM, tmp_path: Path, path: Path, module: str, says: str) -> None:
    keys = stores(tmp_path, hsm=softhsm.uri("token=macaw").replace(softhsm.module, module))

    with pytest.raises(TokenError, match=says):
        keys.create(path, "monitor")


def edited(path: Path, **members: str) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def test_a_token_with_another_key_than_the_file_names_is_refused(hsm: KeyStores, path: Path) -> None:
    """Exchanged ids, another pair's ids, other public halves: the token has to show that it has the key."""
    other = path.with_name("admin.key")
    hsm.create(path, "monitor")
    hsm.create(other, "admin")
    text, foreign = path.read_text(), json.loads(other.read_text())
    signing_id, sealing_id = json.loads(text)["entry"].split()
    its_signing_id, its_sealing_id = foreign["entry"].split()
    for members in (
        {"entry": foreign["entry"]},
        {"entry": f"{its_signing_id} {sealing_id}"},
        {"entry": f"{signing_id} {its_sealing_id}"},
        {"ed25519": foreign["ed25519"]},
        {"x25519": foreign["x25519"]},
        {"ed25519": "01" + "00" * 31},
    ):
        edited(path, **members)
        with pytest.raises(TokenError, match="holds another key than"):
            hsm.load(path)
        path.write_text(text)
    edited(path, entry=f"{sealing_id} {signing_id}")
    with pytest.raises(TokenError, match="a key of another type"):
        hsm.load(path)


SPOILT: list[dict[str, str]] = [
    *({"entry": entry} for entry in ("", "00 11", "x" * 2000, "00" * 16, f"{'00' * 16} {'00' * 16}")),
    {"store": "../hsm"},
    {"more": "x"},
    {"ed25519": "AB" * 32},
    {"x25519": "00"},
    {"macaw-key": "2"},
]


@pytest.mark.parametrize("members", SPOILT)
def test_a_spoilt_reference_is_refused_by_name(hsm: KeyStores, path: Path, members: dict[str, str]) -> None:
    hsm.create(path, "monitor")
    edited(path, **members)

    with pytest.raises((KeyFileError, TokenError), match=r"monitor\.key"):
        hsm.load(path)


def test_a_key_of_another_type_is_told(hsm: KeyStores, path: Path) -> None:
    """An RSA key under the id that the file names."""
    import pkcs11

    made = hsm.create(path, "monitor")
    signing_id, sealing_id = json.loads(path.read_text())["entry"].split()
    rsa = bytes(range(16))
    made.signing._token.write(  # type: ignore[attr-defined]
        lambda session: session.generate_keypair(pkcs11.KeyType.RSA, 2048, id=rsa, store=True)
    )
    edited(path, entry=f"{rsa.hex()} {sealing_id}")
    with pytest.raises(TokenError, match="a key of another type"):
        hsm.load(path)
    edited(path, entry=f"{signing_id} {sealing_id}")
    assert hsm.load(path)
