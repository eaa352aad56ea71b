"""The command line without a broker: sentences and exit statuses, and nothing that must not be shown."""

import base64
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from macaw.cli import main
from macaw.cli.errors import sentence
from macaw.locking import LockedError, only_one, update_config
from producers.home import Home
from producers.keys import KeyPair

GENESIS = bytes(range(32))


@dataclass
class Ran:
    status: int
    out: str
    err: str


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the commands take for the place of an installation."""
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    monkeypatch.delenv("MACAW_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.delenv("MACAW_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def known(home: Path) -> Iterator[Path]:
    """An installation with one tenant, whose broker listens and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        update_config(home, {"bootstrap": f"127.0.0.1:{listening.getsockname()[1]}", "tenant": "acme"})
        folder = home / ".macaw" / "tenants" / "acme"
        for name in ("root", "admin", "monitor", "enrol"):
            KeyPair.generate().save(folder / f"{name}.key")
        KeyPair.generate().save(folder / "agents" / "shopper.key")
        (folder / "genesis").write_text(GENESIS.hex())
        (folder / "views.token").write_text("a-token-of-the-views")
        yield home


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> Ran:
    capsys.readouterr()
    status = main(argv)
    out, err = capsys.readouterr()
    return Ran(status, out, err)


def assert_one_sentence(ran: Ran, status: int) -> None:
    assert ran.status == status
    assert ran.err.startswith("macaw: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err


# --- usage


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ((), "missing command"),
        (("tnant",), "did you mean"),
        (("tenant",), "missing command"),
        (("invoke", "tool:bank/transfer"), "'--as'"),
        (("invoke", "r", "--as", "a", "--params", "{"), "strict json"),
        (("invoke", "r", "--as", "a", "--params", "[1]"), "strict json object"),
        (("invoke", "r", "--as", "a", "--params", '{"a":1,"a":2}'), "has a member twice (line 1, column 8, at '/a')"),
        (("invoke", "r", "--as", "a", "--params", "@absent.json"), "absent.json"),
        (("invoke", "r", "--as", "a", "--timeout", "0"), "--timeout"),
        (("log", "diary"), "no topic"),
        (("log", "-n", "-1"), "-n"),
        (("agent", "register", "a", "--attribute", "novalue"), "key=value"),
        (("agent", "register", "a", "--attribute", "k=1", "--attribute", "k=2"), "key=value"),
        (("agent", "register", "a", "--attribute", "roles=admin"), "key=value"),
        (("policy", "publish"), "files"),
        (("policy", "publish", "absent.json"), "absent.json"),
        (("tool", "serve", "bank"), "app=module"),
        (("tool", "serve", "Bank!=bank.py"), "app=module"),
        (("audit", "verify", "absent"), "absent"),
        (("audit", "verify", ".", "--genesis", "abc"), "64 hex digits"),
        (("topic", "plan", "--tenant", "ACME"), "no tenant id"),
        (("up", "--broker", "rabbit"), "rabbit"),
        (("monitor", "--worker", "-1"), "--worker"),
    ],
)
def test_a_wrong_command_line_exits_2_with_one_sentence(
    home: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], says: str
) -> None:
    ran = run(capsys, *argv)

    assert_one_sentence(ran, 2)
    assert says in ran.err.lower()
    assert "--help` shows" in ran.err
    assert ran.out == ""


def test_help_is_data_and_loads_nothing_that_takes_time() -> None:
    """The budget of `macaw --help` is 300 ms: what takes longer to import must not be imported for it."""
    program = (
        "import sys; from macaw.cli import main; status = main(['--help']); "
        "heavy = {'confluent_kafka', 'cryptography', 'nacl', 'fastavro', 'rich', 'faust', 'starlette', 'asyncio'}; "
        "sys.exit(status or ' '.join(heavy & sys.modules.keys()) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert "Usage: macaw" in ran.stdout
    assert ran.stderr == ""


# --- refusals


@pytest.mark.parametrize("argv", [("log",), ("tenant", "list"), ("tenant", "create", "acme"), ("monitor",), ("views",)])
def test_without_an_installation_it_says_what_to_run(
    home: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    ran = run(capsys, *argv)

    assert_one_sentence(ran, 1)
    assert "run `macaw up`" in ran.err


@pytest.mark.parametrize("argv", [("log",), ("invoke", "r", "--as", "a"), ("replay",), ("sessions",)])
def test_an_unknown_tenant_is_told_as_such(
    known: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    ran = run(capsys, *argv, "--tenant", "globex")

    assert_one_sentence(ran, 1)
    assert "tenant 'globex' is not known here: run `macaw tenant create globex`" in ran.err


def test_an_unknown_agent_is_told_as_such(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "invoke", "tool:bank/transfer", "--as", "stranger")

    assert_one_sentence(ran, 1)
    assert "run `macaw agent register stranger`" in ran.err


@pytest.mark.parametrize("name", ["../../etc/passwd", ".hidden", "a/b", "ann smith", "$(id)"])
def test_no_name_leaves_the_folder_or_its_word(known: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A slash stays in the name of its file, and what is advised can be pasted into a shell."""
    ran = run(capsys, "invoke", "tool:bank/transfer", "--as", name)

    assert_one_sentence(ran, 1)
    [advised] = re.findall("run `(.*)`", ran.err)
    assert shlex.split(advised) == ["macaw", "agent", "register", name]


@pytest.mark.parametrize("name", ["\x1b[2J", "bo\ufe0fb", "*", " x", "x" * 257])
def test_a_name_that_nobody_can_have_is_told_as_such(
    known: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    ran = run(capsys, "invoke", "tool:bank/transfer", "--as", name)

    assert_one_sentence(ran, 1)
    assert "nobody can be called so: want 1 to 256" in ran.err


def test_a_broker_that_is_not_there_is_told_at_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Kafka client alone would try for a quarter of a minute."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = listening.getsockname()[1]
    folder = home / ".macaw" / "tenants" / "acme"
    folder.mkdir(parents=True)
    (folder / "genesis").write_text(GENESIS.hex())
    update_config(home, {"bootstrap": f"127.0.0.1:{free}", "tenant": "acme"})

    ran = run(capsys, "log")

    assert_one_sentence(ran, 1)
    assert f"no broker answers at 127.0.0.1:{free}: run `macaw up`" in ran.err


def test_a_key_that_others_may_read_is_refused(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = known / ".macaw" / "tenants" / "acme" / "agents" / "shopper.key"
    key.chmod(0o644)

    ran = run(capsys, "invoke", "tool:bank/transfer", "--as", "shopper")

    assert_one_sentence(ran, 1)
    assert "chmod 600" in ran.err


def test_a_broken_configuration_is_told_by_its_path(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".macaw").mkdir()
    (home / ".macaw" / "config.json").write_text("{")

    ran = run(capsys, "tenant", "list")

    assert_one_sentence(ran, 1)
    assert "config.json" in ran.err


def test_a_policy_with_a_fault_is_named_and_nothing_is_sent(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Judged before any connection: the broker of this installation would never answer."""
    good, bad = known / "good.json", known / "bad.json"
    good.write_text(json.dumps({"policy_id": "role:a", "resources": ["tool:a/b"]}))
    bad.write_text(json.dumps({"policy_id": "role:b", "resources": ["tool:a/b"], "surprise": 1}))

    ran = run(capsys, "policy", "publish", str(good), str(bad))

    assert_one_sentence(ran, 1)
    assert "bad.json is no policy: E_" in ran.err
    assert "nothing was published" in ran.err


def test_a_tool_module_that_fails_is_told_without_a_traceback(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (known / "broken.py").write_text("raise RuntimeError('no such bank')")

    ran = run(capsys, "tool", "serve", "bank=broken.py")

    assert_one_sentence(ran, 1)
    assert "broken.py cannot be imported: RuntimeError: no such bank" in ran.err


def test_an_unforeseen_error_tells_its_kind_and_not_its_message() -> None:
    """Nobody knows what such a message quotes."""
    told = sentence(ValueError("the seed is 5ec4e7"))

    assert "ValueError" in told
    assert "MACAW_DEBUG=1" in told
    assert "5ec4e7" not in told


def test_a_traceback_comes_only_when_asked_for(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACAW_DEBUG", "1")

    ran = run(capsys, "tenant", "list")

    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("macaw: ")


# --- data


def test_tenants_are_listed_for_people_and_programs(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, document = run(capsys, "tenant", "list"), run(capsys, "tenant", "list", "--json")

    assert table.out.splitlines()[1].split()[:3] == ["acme", "*", GENESIS.hex()]
    assert json.loads(document.out)[0]["genesis"] == GENESIS.hex()
    assert (table.status, table.err) == (document.status, document.err) == (0, "")


def test_an_export_is_judged_without_an_installation(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "empty").mkdir()

    ran = run(capsys, "audit", "verify", "empty", "--genesis", GENESIS.hex(), "--json", "--allow-unwitnessed")

    assert ran.status == 1
    assert json.loads(ran.out)["verdict"] not in {"OK", "UNWITNESSED"}


def test_a_script_is_not_told_ok_where_there_is_no_genesis_to_pin(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "empty").mkdir()

    assert_one_sentence(run(capsys, "audit", "verify", "empty"), 1)


# --- what must not be shown


def test_no_command_shows_a_secret(
    known: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on stdout, not in a sentence, not in a traceback."""
    monkeypatch.setenv("MACAW_DEBUG", "1")
    folder = known / ".macaw" / "tenants" / "acme"
    (known / "broken.py").write_text("raise RuntimeError('x')")
    commands = [
        ("tenant", "list", "--json"),
        ("tenant", "create", "acme"),
        ("agent", "register", "shopper", "--tenant", "globex"),
        ("invoke", "r", "--as", "stranger"),
        ("policy", "publish", str(folder / "admin.key")),
        ("tool", "serve", "bank=broken.py"),
        ("tool", "serve", f"bank={folder / 'admin.key'}"),
        ("invoke", "r", "--as", "a", "--params", f"@{folder / 'admin.key'}"),
        ("audit", "verify", str(folder)),
    ]
    shown = "".join(f"{ran.out}{ran.err}" for ran in (run(capsys, *argv) for argv in commands))

    assert "a-token-of-the-views" not in shown
    for path in folder.rglob("*.key"):
        pair = KeyPair.load(path)
        for secret in (pair.signing.seed, pair.sealing.secret):
            assert secret.hex() not in shown
            assert base64.b64encode(secret).decode().rstrip("=") not in shown
        lines = [line for line in path.read_text().splitlines() if not line.startswith("-")]
        assert not any(line in shown for line in lines)


# --- processes beside each other


def test_a_lock_has_one_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    with (
        only_one(tmp_path / "a.lock", "taken"),
        pytest.raises(LockedError, match="taken"),
        only_one(tmp_path / "a.lock", "taken"),
    ):
        pass
    with only_one(tmp_path / "a.lock", "taken"):
        assert (tmp_path / "a.lock").stat().st_mode & 0o077 == 0


def test_settings_that_are_written_at_once_are_all_kept(tmp_path: Path) -> None:
    """`macaw views` writes its address while `macaw tenant create` writes the default tenant."""
    names = [f"key-{number}" for number in range(16)]
    writers = [threading.Thread(target=update_config, args=(tmp_path, {name: name})) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert Home.open(tmp_path).config == {name: name for name in names}
    assert (tmp_path / ".macaw" / "config.json").stat().st_mode & 0o077 == 0


# --- output that nobody takes, and files that are none


def test_a_full_disk_is_told_as_one_and_nobody_is_told_to_repeat() -> None:
    """What acts has acted: whoever runs it again for its output pays twice."""
    program = "from macaw.cli.output import show_json; from macaw.cli import entry; import macaw.cli.app as app\n"
    for size in (1, 1_000_000):  # at the end, and in the middle
        code = (
            program + f"app.build_app = lambda: lambda **_: show_json('x' * {size})\nraise SystemExit(entry.main([]))"
        )
        with Path("/dev/full").open("w") as full:
            ran = subprocess.run(
                [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )

        assert ran.returncode == 1
        assert ran.stderr.startswith("macaw: the output could not be written: No space left on device")
        assert "do not run it again" in ran.stderr
        assert ran.stderr.count("\n") == 1


def test_an_error_that_cannot_be_told_is_still_a_failure() -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run([sys.executable, "-m", "macaw.cli", "tnant"], stdout=full, stderr=full, check=False)

    assert ran.returncode == 2


def test_no_sentence_advises_to_repeat_what_may_have_acted() -> None:
    told = sentence(RuntimeError("x"))

    assert "run it again with" not in told
    assert "not known" in told


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "secret", "huge", "not text"])
def test_what_is_named_and_is_no_such_file_is_told(known: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each kind, to each command that reads one: it answers at once, in one sentence."""
    path = known / "given.json"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
        case "secret":
            path.write_text("{}")
            path.chmod(0)
        case "huge":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "not text":
            path.write_bytes(b"\xff\xfe\x00")
    if kind == "secret" and os.geteuid() == 0:
        return  # root reads it
    at = [] if kind == "pipe" else [("invoke", "r", "--as", "a", "--params", f"@{path}")]
    commands = [
        ("policy", "publish", str(path)),
        ("policy", "test", str(path)),
        ("dev", "session", "open", "alice", "--persons", str(path)),
        *at,
    ]
    for argv in commands:
        ran = run(capsys, *argv)

        assert ran.status in {1, 2}, argv
        assert ran.err.startswith("macaw: "), argv
        assert "Traceback" not in ran.err
        assert "unexpected" not in ran.err, argv


@pytest.mark.parametrize("text", ["", "ab", "z" * 64, "ab" * 33, "\x00" * 64])
def test_a_genesis_that_is_none_is_told(known: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    [file] = (known / ".macaw" / "tenants").glob("*/genesis")
    file.write_text(text)

    for argv in (("audit", "verify", "."), ("invoke", "tool:a/b", "--as", "x")):
        ran = run(capsys, *argv)

        assert_one_sentence(ran, 1)
        assert "64 hex digits" in ran.err


def test_a_stranger_is_told_where_the_genesis_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who checks evidence has no installation, and needs none."""
    monkeypatch.delenv("MACAW_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    ran = run(capsys, "audit", "verify", ".")

    assert_one_sentence(ran, 1)
    assert "--genesis HEX" in ran.err
    assert ran.err.count(str(tmp_path)) == 1  # the working and the home directory are one


def test_files_beside_policies_are_not_passed_over_in_silence(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = known / "policies"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps({"policy_id": "role:a", "resources": ["tool:a/b"]}))
    (folder / "b.yaml").write_text("policy_id: role:b")

    ran = run(capsys, "policy", "validate", str(folder))

    assert_one_sentence(ran, 1)
    assert "b.yaml would be passed over" in ran.err


def test_a_fault_of_a_policy_has_a_line_and_what_is_wanted(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = known / "role.json"
    path.write_text('{\n  "policy_id": "role:x",\n  "resources": [\n    "tool:a/*",\n  ]\n}')
    assert f"{path}:5:3" in run(capsys, "policy", "validate", str(path)).out
    path.write_text('{\n  "policy_id": "role:x",\n  "resources": "tool:a"\n}')
    ran = run(capsys, "policy", "publish", str(path))

    assert_one_sentence(ran, 1)
    assert "E_TYPE in line 3, column 3, at '/resources': want an array" in ran.err
