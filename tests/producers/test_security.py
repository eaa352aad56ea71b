"""How clients prove who they are: what is taken, what is refused, and that no password is ever shown."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

import pytest

from macaw.cli import main
from producers.home.home import Home, HomeError
from producers.home.security import PASSWORD_BYTES_MAX, UNSECURED, Security, SecurityError, load_security
from producers.tools.host import HostSettings
from streams.views.app import ViewsSettings
from streams.views.credentials import credentials_of
from streams.worker.settings import LoopSettings

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery staple"
SCRAM = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "shopper",
    "sasl.password_file": "kafka.password",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A `.macaw` with a password file."""
    path = tmp_path / ".macaw"
    path.mkdir()
    write_password(path, PASSWORD.encode() + b"\n")
    return path


def write_password(folder: Path, content: bytes, mode: int = 0o600) -> None:
    (folder / "kafka.password").write_bytes(content)
    (folder / "kafka.password").chmod(mode)


def test_the_settings_are_what_the_client_library_takes(folder: Path) -> None:
    """Names pass as they are; the password comes from its file, and paths begin at `.macaw`."""
    found = load_security({**SCRAM, "ssl.ca.location": "ca.pem"}, folder)

    assert dict(found) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "shopper",
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(folder / "ca.pem"),
    }
    assert load_security({}, folder) == UNSECURED
    assert load_security({"security.protocol": "PLAINTEXT"}, folder) == {"security.protocol": "PLAINTEXT"}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ([], "must be an object"),
        (None, "must be an object"),
        ({"sasl.username": "shopper"}, "`security.protocol` is missing"),
        ({"security.protocol": "SASL"}, "want one of"),
        ({"security.protocol": "SASL_SSL"}, "needs sasl.mechanism, sasl.password_file, sasl.username"),
        ({**SCRAM, "security.protocol": "PLAINTEXT"}, "does not take"),
        ({**SCRAM, "security.protocol": "SASL_PLAINTEXT", "ssl.ca.location": "ca.pem"}, "does not take"),
        ({**SCRAM, "sasl.mechanism": "GSSAPI"}, "want one of"),
        (
            {**SCRAM, "sasl.mechanism": "PLAIN", "security.protocol": "SASL_PLAINTEXT"},
            "PLAIN sends the password itself",
        ),
        ({**SCRAM, "enable.ssl.certificate.verification": "false"}, "unknown settings"),
        ({**SCRAM, "ssl.endpoint.identification.algorithm": "none"}, "unknown settings"),
        ({**SCRAM, "plugin.library.paths": "evil.so"}, "unknown settings"),
        ({**SCRAM, "debug": "security"}, "unknown settings"),
        ({**SCRAM, "bootstrap.servers": "elsewhere:9092"}, "unknown settings"),
        ({**SCRAM, "sasl.password": PASSWORD}, "unknown settings"),
        ({**SCRAM, "sasl.username": 7}, "printable characters"),
        ({**SCRAM, "sasl.username": ""}, "printable characters"),
        ({**SCRAM, "sasl.username": "a\x1b[2J"}, "printable characters"),
        ({**SCRAM, "sasl.password_file": "absent"}, "cannot read"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(folder: Path, section: Any, says: str) -> None:
    """Above all what would turn a check off; and no message holds a password, wherever it was put."""
    with pytest.raises(SecurityError) as raised:
        load_security(section, folder)

    assert says in str(raised.value)
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"secret\n", 0o640, "others may read"),
        (b"secret\n", 0o604, "others may read"),
        (b"secret\n", 0o620, "others may read"),
        (b"", 0o600, "one line"),
        (b"\n", 0o600, "one line"),
        (b"secret\nmore\n", 0o600, "one line"),
        (b"sec\x00ret", 0o600, "one line"),
        (b"secret\xff", 0o600, "one line"),
        (b"x" * (PASSWORD_BYTES_MAX + 1), 0o600, "one line"),
        (b"x" * (PASSWORD_BYTES_MAX + 9), 0o600, "one line"),
    ],
)
def test_a_password_file_is_its_owners_and_one_line(folder: Path, content: bytes, mode: int, says: str) -> None:
    """Nothing of its content is in the refusal."""
    write_password(folder, content, mode)

    with pytest.raises(SecurityError, match=says) as raised:
        load_security(SCRAM, folder)

    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    """A pipe without a writer would hold the process for ever."""
    (folder / "kafka.password").unlink()
    os.mkfifo(folder / "kafka.password", 0o600)

    with pytest.raises(SecurityError, match="is not a regular file"):
        load_security(SCRAM, folder)


def test_no_repr_holds_a_password(folder: Path) -> None:
    """Of the settings themselves, and of all that carries them."""
    (folder / "config.json").write_text(json.dumps({"bootstrap": "127.0.0.1:1", "kafka": SCRAM}))
    home = Home.open(folder.parent)
    security = home.security
    carriers = (
        security,
        home,
        HostSettings(bootstrap="b", group_managed=True, executed_path=folder, security=security),
        LoopSettings(bootstrap="b", transactional_id="t", security=security),
        ViewsSettings(bootstrap="b", instance="i", data_dir=folder, security=security),
        credentials_of(Security({**security, "security.protocol": "SASL_PLAINTEXT"})),
    )

    assert security["sasl.password"] == PASSWORD
    assert PASSWORD not in " ".join(f"{c!r} {c!s}" for c in carriers)


def test_a_home_keeps_the_section_and_asks_for_an_object(folder: Path) -> None:
    """Other processes write their own settings beside it."""
    (folder / "config.json").write_text(json.dumps({"bootstrap": "127.0.0.1:1", "kafka": SCRAM}))

    written = Home.create(folder.parent, {"views": "http://127.0.0.1:2"})

    assert written.security == Home.open(folder.parent).security == load_security(SCRAM, folder)
    assert "kafka" not in written.config
    (folder / "config.json").write_text(json.dumps({"kafka": "SASL_SSL"}))
    with pytest.raises(SecurityError, match="must be an object"):
        _ = Home.open(folder.parent).security
    (folder / "config.json").write_text(json.dumps({"bootstrap": {"kafka": {}}}))
    with pytest.raises(HomeError):
        Home.open(folder.parent)


@pytest.mark.parametrize("broker", ["embedded", "kafka"])
def test_a_broker_that_asks_nobody_is_not_started_for_who_says_a_password(
    folder: Path, broker: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`macaw up` starts brokers without an authorizer: what was secured must not quietly become open."""
    (folder / "config.json").write_text(json.dumps({"bootstrap": "127.0.0.1:1", "kafka": SCRAM}))
    monkeypatch.setenv("MACAW_HOME", str(folder.parent))

    assert main(("up", "--broker", broker)) == 1
    assert "a broker that `macaw up` starts does not ask for them" in capsys.readouterr().err
    assert not (folder / "broker").exists()


@pytest.mark.parametrize("named", ["0", "16", "3.0", "three", "", "-1", "03", "٣", "9" * 5000])
def test_a_replication_that_is_no_small_number_is_refused(folder: Path, named: str) -> None:
    (folder / "config.json").write_text(json.dumps({"replication": named}))

    with pytest.raises(HomeError, match="`replication`"):
        _ = Home.open(folder.parent).replication


def test_every_client_that_is_made_takes_the_settings() -> None:
    """A client without them would speak in clear, or as nobody, where the others prove who they are."""
    bare = []
    for path in (p for folder in ("producers", "streams", "macaw") for p in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Dict) and any(_is_address(key) for key in node.keys):
                unpacked = [ast.unparse(v) for key, v in zip(node.keys, node.values, strict=True) if key is None]
                if not any("security" in what for what in unpacked):
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno}")

    assert bare == []


def _is_address(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "bootstrap.servers"
