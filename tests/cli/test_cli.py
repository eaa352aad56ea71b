"""The command line without a broker: sentences and exit statuses, and nothing that must not be shown."""

import base64
import json
import re
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from macaw.cli.terminal.errors import sentence
from macaw.installation.locking import LockedError, only_one, update_config
from processors.policy.errors import PolicyError
from producers.home.home import Home, HomeError
from tests.cli.commands import assert_one_sentence, run
from tests.cli.conftest import GENESIS
from tests.plain_keys import PLAIN_KEYS

ROOT = Path(__file__).parents[2]

# --- usage


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ((), "missing command"),
        (("tnant",), "did you mean"),
        (("tenant",), "missing command"),
        (("invoke", "tool:bank/transfer"), "macaw: `--as` is missing: name the caller"),
        (("invoke",), "macaw: the resource is missing: name the operation"),
        (("invoke", "r", "--resume", "0" * 64), "macaw: `--resume` takes no resource: the saved call already names it"),
        (
            ("invoke", "--resume", "0" * 64, "--detach"),
            "macaw: `--detach` cannot be combined with `--resume`; to limit",
        ),
        (
            ("invoke", "--resume", "0" * 64, "--deadline", "5"),
            "cannot be combined with `--resume`: the call is already",
        ),
        (("decide", "--serve", "--action", "a"), "macaw: with `--serve`, questions come over http: remove `--subject`"),
        (
            ("decide", "--subject", "a", "--action", "b"),
            "macaw: a question needs `--subject`, `--action` and `--resource`",
        ),
        (("delegation", "grant", "b", "--as", "a"), "the delegation has no scope"),
        (("delegation", "grant", "b", "--as", "a", "--operation", "a/b"), "got 'a/b', want the last part"),
        (("policy", "simulate"), "macaw: nothing to simulate: give new documents"),
        (("policy", "effective"), "macaw: the subject is missing: give either `--session`"),
        (("policy", "effective", "--session", "a", "--policies", "."), "`--policies` and `--attributes` go together"),
        (("session", "revoke", "12"), "got '12', want a session's id of 64 hex digits"),
        (("invoke", "r", "--as", "a", "--params", "{"), "not json, syntax error (line 1, column 2)"),
        (("invoke", "r", "--as", "a", "--params", "[1]"), "not a json object"),
        (("invoke", "r", "--as", "a", "--params", '{"a":1,"a":2}'), "has a member twice (line 1, column 8, at '/a')"),
        (("invoke", "r", "--as", "a", "--params", "@absent.json"), "absent.json"),
        (("invoke", "r", "--as", "a", "--timeout", "0"), "--timeout"),
        (("log", "diary"), "'diary' is not a topic: want one of intake"),
        (("log", "-n", "-1"), "-n"),
        (("agent", "register", "a", "--attribute", "novalue"), "key=value"),
        (("agent", "register", "a", "--attribute", "k=1", "--attribute", "k=2"), "key=value"),
        (("agent", "register", "a", "--attribute", "roles=admin"), "key=value"),
        (("enrolment", "create", "desk", "--for", "tool", "--attribute", "attests=checked"), "have an option of"),
        (("policy", "publish"), "files"),
        (("policy", "publish", "absent.json"), "absent.json"),
        (("tool", "serve", "bank"), "app=module"),
        (("tool", "serve", "Bank!=bank.py"), "app=module"),
        (("audit", "verify", "absent"), "absent"),
        (("audit", "verify", ".", "--genesis", "abc"), "64 hex digits"),
        (("topic", "plan", "--tenant", "ACME"), "'acme' is not a tenant id; use 2 to 40"),
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


@pytest.mark.parametrize("argv", [(), ("workflow",), ("workflow", "--keep", "folder")])
def test_a_demo_is_not_installed_and_the_program_says_where_it_is(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    """The demos are in the checkout; the targets that are named exist."""
    ran = run(capsys, "demo", *argv)

    assert_one_sentence(ran, 2)
    for target in ("demo", "demo-workflow", "demo-verifiers"):
        assert f"`make {target}`" in ran.err
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


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


def test_a_folder_that_is_looked_into_twice_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory may be the home directory; the next step is one that works without an installation."""
    monkeypatch.delenv("MACAW_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(HomeError) as found:
        Home.find()

    assert str(found.value).count(str(tmp_path)) == 1
    assert "run `macaw up`" in str(found.value)
    assert "tenant create" not in str(found.value)


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
    assert "this is not a valid name: want 1 to 256" in ran.err


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
    folder = known / "policies"
    folder.mkdir()
    good, bad = folder / "a.json", folder / "bad.json"
    good.write_text(json.dumps({"policy_id": "role:a", "resources": ["tool:a/b"]}))
    bad.write_text(json.dumps({"policy_id": "role:b", "resources": ["tool:a/b"], "surprise": 1}))

    for argv in ((str(good), str(bad)), (str(folder),)):
        ran = run(capsys, "policy", "publish", *argv)

        assert_one_sentence(ran, 1)
        assert f"{bad} is refused: E_UNKNOWN_FIELD in line 1" in ran.err
        assert "unknown field `surprise`; nothing was published" in ran.err


def test_a_fault_of_a_policy_does_not_claim_that_something_was_to_be_published() -> None:
    """Commands that publish nothing meet faulty policies too."""
    assert sentence(PolicyError("E_TYPE", "/resources")) == "the policy is refused: E_TYPE at '/resources'"


def test_a_refusal_of_kafka_names_the_next_step() -> None:
    told = sentence(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))

    assert told.startswith("Kafka refused the request: ")
    assert told.endswith("; check that the brokers are running")


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ({"a.json": {"policy_id": "role:a"}, "b.json": {"policy_id": "role:a"}}, "b.json is refused: E_CONFLICT"),
        ({"a.json": {"policy_id": "role:a", "extends": "role:a"}}, "a.json is refused: E_EXTENDS_CYCLE"),
        ({"a.json": {"policy_id": "org:a"}}, "a.json is refused: E_PREFIX_RESERVED"),
        ({"a.json": {"policy_id": "role:a"}, "b.yaml": {}}, "b.yaml would be passed over"),
        ({"a.json": {"policy_id": "role:a"}, "b.JSON": {}}, "b.JSON would be passed over"),
        ({}, "holds no policies"),
    ],
)
def test_a_folder_that_could_not_be_published_is_refused_before_it_is_sent(
    known: Path, capsys: pytest.CaptureFixture[str], documents: dict[str, object], says: str
) -> None:
    """`publish` reads folders as `validate` does."""
    folder = known / "policies"
    folder.mkdir()
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))

    for command in ("publish", "validate"):
        ran = run(capsys, "policy", command, str(folder))

        assert ran.status == 1
        assert (says if command == "publish" else says.rpartition(" ")[2]) in ran.out + ran.err


@pytest.mark.parametrize(
    ("does", "told"),
    [("raise RuntimeError('no such bank')", "RuntimeError: no such bank"), ("raise SystemExit(0)", "SystemExit: 0")],
)
def test_a_tool_module_that_fails_is_told_without_a_traceback(
    known: Path, capsys: pytest.CaptureFixture[str], does: str, told: str
) -> None:
    """One that ends itself too: nothing was served, and nobody would know."""
    (known / "broken.py").write_text(does)

    ran = run(capsys, "tool", "serve", "bank=broken.py")

    assert_one_sentence(ran, 1)
    assert f"broken.py cannot be imported: {told}" in ran.err


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


def test_a_missing_part_of_the_server_is_named_with_its_installation() -> None:
    """The plain wheel has no server: `macaw decide --serve` says so, and not that something unforeseen has happened."""
    missing = ModuleNotFoundError("No module named 'starlette.routing'", name="starlette.routing")

    assert "pip install 'macaw-streams[server]'" in sentence(missing)
    assert "unexpected" in sentence(ModuleNotFoundError("No module named 'my_tool'", name="my_tool"))


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
        pair = PLAIN_KEYS.load(path)
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
