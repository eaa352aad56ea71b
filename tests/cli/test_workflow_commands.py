"""Workflow state by hand: approvals, the vault, delegations, sessions and notes, on a real log."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from macaw.cli import main
from producers.client import Client, DeniedError
from schemas import limits
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.producers.workflow_bank import Bank, banking

pytestmark = pytest.mark.broker

PAY = "tool:bank/pay"


@dataclass
class Terminal:
    """A user's terminal in the folder of a running installation."""

    here: Installation
    bank: Bank
    capsys: pytest.CaptureFixture[str]

    def run(self, *argv: str, status: int = 0) -> str:
        """Run a command, check its exit status, and return what it wrote: to stdout, or both where it failed."""
        self.capsys.readouterr()
        found = main([*argv, "--tenant", self.here.folder.tenant])
        shown = self.capsys.readouterr()
        assert found == status, shown.err
        return shown.out.strip() if status == 0 else shown.out + shown.err

    def json(self, *argv: str) -> object:
        return json.loads(self.run(*argv, "--json"))


@pytest.fixture(scope="module")
def served(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Bank, Path]]:
    base, bank = tmp_path_factory.mktemp("home"), Bank()
    with banking(broker, base, f"c{base.name.replace('_', '')}{id(bank):x}"[:30], bank) as here:
        yield here, bank, base


@pytest.fixture
def terminal(
    served: tuple[Installation, Bank, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    here, bank, base = served
    monkeypatch.chdir(base)
    monkeypatch.setenv("MACAW_HOME", str(base))
    return Terminal(here, bank, capsys)


def test_a_detached_call_is_shown_approved_and_fetched(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The approver sees the exact parameters and their digest, and answers; the caller fetches the result."""
    asked = ["invoke", PAY, "--as", "payer", "--params", '{"amount": 250.5}', "--detach"]
    event_id = terminal.run(*asked)
    assert len(bytes.fromhex(event_id)) == 16
    [listed] = terminal.json("approvals", "list", "--as", "user:carol")  # type: ignore[misc]
    call = listed["request"]

    shown = terminal.run("approvals", "show", call, "--as", "user:carol")
    assert '"amount": 250.5' in shown
    assert listed["parameters_sha256"] in shown
    assert "role:manager" in shown
    assert "LATER" not in shown

    approve = ["approvals", "approve", call, "--as", "user:carol", "--reason", "agreed"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert "nothing was signed" in terminal.run(*approve, status=1)
    assert terminal.bank.paid == []
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert '"amount": 250.5' in terminal.run(*approve)

    assert json.loads(terminal.run("invoke", "--resume", event_id)) == {"paid": 250.5}
    assert terminal.bank.paid == [250.5]
    assert "no call" in terminal.run("invoke", "--resume", event_id, status=1)
    assert "APPROVAL_UNKNOWN" in terminal.run(*approve, "--yes", status=1)
    assert terminal.run("approvals", "list", "--as", "user:carol").split() == [
        "CALL", "KEY", "RESOURCE", "FOR", "BY", "APPROVED", "UNTIL",
    ]  # fmt: skip


def test_a_registered_approver_says_no(terminal: Terminal) -> None:
    """A system with a key of its own answers as a person does; without limits it is warned of."""
    assert main(["approver", "register", "board", "--role", "manager", "--tenant", terminal.here.folder.tenant]) == 0
    assert "WARNING  board has no limits" in terminal.capsys.readouterr().err
    event_id = terminal.run("invoke", PAY, "--as", "payer", "--params", '{"amount": 999}', "--detach")
    [listed] = terminal.json("approvals", "list", "--as", "approver:board")  # type: ignore[misc]

    denied = terminal.json("approvals", "deny", listed["request"], "--as", "approver:board", "--yes")

    assert denied == {
        "request": listed["request"],
        "key": "manager",
        "parameters_sha256": listed["parameters_sha256"],
        "answer": "denied",
    }
    assert "APPROVAL_DENIED" in terminal.run("invoke", "--resume", event_id, status=1)
    assert 999 not in terminal.bank.paid
    assert "macaw approver register nobody" in terminal.run("approvals", "list", "--as", "approver:nobody", status=1)


def test_a_service_answers_several_calls_in_one_question(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call is shown before the one question, and what fails is told of each; the report tells of the answers."""
    limits = ["--resources", "tool:bank/*", "--keys", "manager", "--condition", "max_amount=500"]
    register = ["approver", "register", "chat", "--role", "manager", *limits, "--once-only"]
    terminal.run(*register, "--speaks-for", "user:*")
    terminal.run(*register, "--speaks-for", "user:*")  # the same again changes nothing
    assert "KEY_TAKEN" in terminal.run(*register, status=1)  # less is not said to be so
    for amount in (301, 302, 999_000):
        terminal.run("invoke", PAY, "--as", "payer", "--params", f'{{"amount": {amount}}}', "--detach")
    listing = ["approvals", "list", "--as", "approver:chat", "--by", "payer"]
    [first, second] = terminal.json(*listing, "--resource", "tool:bank/*")  # type: ignore[misc]
    assert terminal.json(*listing, "--resource", "tool:desk/*") == []
    assert first["scopes"] == {"once": True}
    everything = terminal.json("approvals", "list", "--as", "user:carol")
    [outside] = {row["request"] for row in everything} - {first["request"], second["request"]}  # type: ignore[attr-defined]
    calls = [first["request"], second["request"], outside]

    approve = ["approvals", "approve", *calls, "--as", "approver:chat", "--said-by", "user:mia"]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert "nothing was signed" in terminal.run(*approve, status=1)
    assert not {301, 302} & {*terminal.bank.paid}
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    told = terminal.run(*approve, status=1)
    assert '"amount": 301' in told
    assert '"amount": 302' in told
    assert "approve exactly these 2 calls?" in told
    assert f"FAILED for the call {outside}: " in told
    assert "999" not in told.replace(outside, "")
    assert terminal.json("approvals", "list", "--as", "approver:chat") == []
    denied = terminal.json("approvals", "deny", outside, "--as", "user:carol", "--yes")
    assert denied["answer"] == "denied"  # type: ignore[index]

    rows = terminal.json("approvals", "report", "--within", "600")
    of_chat = [row for row in rows if row["approver"] == "chat"]  # type: ignore[attr-defined]
    assert {(row["said_by"], row["yes"], row["no"], row["warning"]) for row in of_chat} == {
        (None, 2, 0, False),
        ("user:mia", 2, 0, False),
    }
    assert "user:mia via chat" in terminal.run("approvals", "report")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--condition", "max_amount"], "NAME=JSON"),
        (["--condition", "max_amount=lots"], "JSON"),
        (["--condition", 'amount={"max": 5}'], "E_UNKNOWN_FIELD"),
        (["--speaks-for", "tool:*"], "APPROVER_LIMITS_FORM"),
        (["--keys", ""], "APPROVER_LIMITS_FORM"),
    ],
)
def test_limits_that_cannot_be_are_refused_in_words(terminal: Terminal, given: list[str], said: str) -> None:
    """And nothing is registered: an approver without the limit would be wider than meant."""
    told = terminal.run("approver", "register", "odd", "--role", "manager", *given, status=2 if "JSON" in said else 1)

    assert said in told
    assert "macaw approver register odd" in terminal.run("approvals", "list", "--as", "approver:odd", status=1)


def test_nobody_sees_or_answers_what_is_not_asked_of_them(terminal: Terminal) -> None:
    """Neither the intern, nor the agent that asked."""
    terminal.run("invoke", PAY, "--as", "payer", "--params", '{"amount": 998}', "--detach")
    [listed] = terminal.json("approvals", "list", "--as", "user:carol")  # type: ignore[misc]
    call = listed["request"]

    assert terminal.json("approvals", "list", "--as", "user:dave") == []
    assert "APPROVAL_UNKNOWN" in terminal.run("approvals", "approve", call, "--as", "user:dave", "--yes", status=1)
    assert "APPROVER_NOT_AUTHORIZED" in terminal.run("approvals", "approve", call, "--as", "payer", "--yes", status=1)
    assert "is not the digest" in terminal.run("approvals", "show", "zz", "--as", "user:carol", status=1)
    terminal.run("approvals", "deny", call, "--as", "user:carol", "--yes")


def test_a_command_waits_for_people_no_longer_than_it_is_told(terminal: Terminal) -> None:
    """It ends and says how to come back, as often as one likes; the call waits on, and is executed once."""
    pay = ["invoke", PAY, "--as", "payer", "--params", '{"amount": 997}', "--approval-timeout", "0.2"]
    told = terminal.run(*pay, status=1)
    [listed] = terminal.json("approvals", "list", "--as", "user:carol")  # type: ignore[misc]
    [event_id] = {line.split("--resume ")[1].split("`")[0] for line in told.splitlines() if "--resume " in line}

    come_back = ["invoke", "--resume", event_id]
    assert f"--resume {event_id}" in terminal.run(*come_back, "--approval-timeout", "0.2", status=1)
    assert "--approval-timeout" in terminal.run(*come_back, "--detach", status=2)
    terminal.run("approvals", "approve", listed["request"], "--as", "user:carol", "--yes")

    assert json.loads(terminal.run(*come_back)) == {"paid": 997}
    assert terminal.bank.paid.count(997) == 1


def test_a_call_that_nobody_must_approve_is_not_detached(terminal: Terminal) -> None:
    """Its result is printed as ever."""
    pay = ["invoke", PAY, "--as", "payer", "--params", '{"amount": 3}', "--detach"]

    assert json.loads(terminal.run(*pay)) == {"paid": 3}
    assert "RESOURCE" in terminal.run("invoke", "--as", "payer", status=2)


def test_values_of_the_vault(terminal: Terminal) -> None:
    """Set, read, replaced only in place of a version, listed, deleted; a person's own scope lasts over commands."""
    team = ["--as", "payer", "--scope", "team"]
    assert terminal.run("context", "set", "plan", '{"steps": [1]}', *team) == "1"
    assert json.loads(terminal.run("context", "get", "plan", *team)) == {"steps": [1]}
    assert terminal.json("context", "get", "plan", *team) == {
        "scope": "team", "key": "plan", "value": {"steps": [1]}, "version": 1, "author": "payer",
    }  # fmt: skip
    assert "VERSION_CONFLICT" in terminal.run("context", "set", "plan", "2", *team, "--expected", "0", status=1)
    assert terminal.json("context", "list", *team) == [{"key": "plan", "version": 1}]
    terminal.run("context", "delete", "plan", *team, "--expected", "1")
    assert "there is no 'plan'" in terminal.run("context", "get", "plan", *team, status=1)
    assert "is not JSON, syntax error" in terminal.run("context", "set", "plan", "{", *team, status=2)

    terminal.run("context", "set", "mine", "[true]", "--as", "user:carol", "--ttl", "600")
    assert json.loads(terminal.run("context", "get", "mine", "--as", "user:carol")) == [True]
    Path("big").write_text(json.dumps("x" * 2_000_000))
    terminal.run("context", "set", "big", "@big", "--as", "user:carol")
    assert len(json.loads(terminal.run("context", "get", "big", "--as", "user:carol"))) == 2_000_000
    assert "the vault takes 65536" in terminal.run("context", "set", "big", "@big", *team, status=1)


def test_a_delegation_by_hand(terminal: Terminal) -> None:
    """Granted, presented, listed, revoked."""
    grant = ["delegation", "grant", "clerk", "--as", "payer", "--operation", "pay", "--purpose", "small change"]
    given = terminal.run(*grant, "--conditions", '{"max_amount": 5}')
    pay = ["invoke", PAY, "--as", "clerk", "--delegation", given, "--params"]

    assert json.loads(terminal.run(*pay, '{"amount": 5}')) == {"paid": 5}
    assert "DELEGATION_CONDITION" in terminal.run(*pay, '{"amount": 6}', status=1)
    listed = terminal.json("delegation", "list", "--as", "payer")
    assert [one["delegation"] for one in listed["granted"]] == [given]  # type: ignore[index, call-overload]
    assert "small change" in terminal.run("delegation", "list", "--as", "clerk")
    terminal.run("delegation", "revoke", given, "--as", "payer")
    assert "DELEGATION_REVOKED" in terminal.run(*pay, '{"amount": 5}', status=1)
    assert "DELEGATION_SELF" in terminal.run("delegation", "grant", "payer", *grant[3:], status=1)
    assert "E_UNKNOWN_FIELD" in terminal.run(*grant, "--conditions", '{"colour": 1}', status=1)
    assert "--resource" in terminal.run("delegation", "grant", "clerk", "--as", "payer", status=2)


def test_all_delegations_are_listed_however_many(terminal: Terminal) -> None:
    """The command goes on with every page that the log has."""
    tenant, home = terminal.here.folder.tenant, terminal.here.home
    with Client.connect(tenant, "clerk", home=home) as clerk:
        given = {clerk.delegate("payer", operations=["check"]) for _ in range(limits.QUERY_DELEGATIONS_MAX + 2)}

    listed = terminal.json("delegation", "list", "--as", "clerk")
    assert {one["delegation"] for one in listed["granted"]} == given  # type: ignore[index, call-overload]
    shown = terminal.run("delegation", "list", "--as", "payer").splitlines()
    assert given <= {line.split()[0] for line in shown}


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["--operation", "tool:bank/pay"], 2, "give a whole name with --resource"),
        (
            ["--operation", "pay", "--conditions", '{"amount": 5}'],
            1,
            "E_UNKNOWN_FIELD at '/conditions/amount'; nothing was granted",
        ),
        (["--operation", "pay", "--conditions", "[]"], 2, "the value is not a JSON object"),
        (["--operation", "pay", "--minutes", "1e308"], 1, "a delegation's life must be 0.001 to 31622400 seconds"),
        (["--operation", "pay", "--parent", "zz"], 1, "64 hexadecimal digits"),
    ],
    ids=["whole-name", "condition", "list", "for-ever", "parent"],
)
def test_a_delegation_that_cannot_be_is_refused_in_words(
    terminal: Terminal, argv: list[str], status: int, said: str
) -> None:
    """What is wrong with it, and what would be right; nothing about policies, and nothing unexpected."""
    told = terminal.run("delegation", "grant", "clerk", "--as", "payer", *argv, status=status)

    assert said in told
    assert "unexpected" not in told
    assert "published" not in told


def test_an_agent_is_told_that_its_own_scope_ends_with_the_command(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the value is put, and where it is missed; persons have a session that lasts."""
    terminal.run("context", "set", "plan", "1", "--as", "payer")
    assert main(["context", "set", "plan", "1", "--as", "payer", "--tenant", terminal.here.folder.tenant]) == 0
    assert "give --scope NAME" in capsys.readouterr().err
    assert "give --scope NAME" in terminal.run("context", "get", "plan", "--as", "payer", status=1)
    assert "--scope NAME" not in terminal.run("context", "get", "none", "--as", "user:carol", status=1)
    assert "--scope NAME" not in terminal.run("context", "get", "none", "--as", "payer", "--scope", "team", status=1)


@pytest.mark.parametrize("seconds", ["inf", "1e300", "31622401"])
def test_a_value_lives_for_a_time_that_the_log_takes(terminal: Terminal, seconds: str) -> None:
    """Anything else is refused before it is sent, in a sentence."""
    put = ["context", "set", "plan", "1", "--as", "payer", "--scope", "team", "--ttl", seconds]

    assert terminal.run(*put, status=1) == "macaw: a value's life must be 0.001 to 31622400 seconds\n"


def test_a_text_of_the_vault_stands_in_quotes(terminal: Terminal) -> None:
    """It is said so to whoever leaves them out."""
    assert "a text in double quotes" in terminal.run("context", "set", "k", "hello", "--as", "payer", status=2)


def test_a_name_that_no_agent_has_may_be_a_persons(terminal: Terminal) -> None:
    """The hint names who is known here, and else how to register an agent."""
    assert "did you mean --as user:carol?" in terminal.run("approvals", "list", "--as", "carol", status=1)
    assert "macaw agent register nobody" in terminal.run("context", "list", "--as", "nobody", status=1)


def test_a_call_that_is_fetched_is_not_named_again(terminal: Terminal) -> None:
    """Another name beside --resume would be ignored, so it is refused."""
    assert "`--resume` takes no RESOURCE" in terminal.run("invoke", PAY, "--resume", "0" * 32, status=2)
    assert "give the 32 hexadecimal digits that the waiting call printed" in terminal.run(
        "invoke", "--resume", "0" * 64, status=1
    )


def test_an_attester_speaks_of_the_sessions_it_may(terminal: Terminal) -> None:
    """A registered system attests what its registration lists, of whom it lists."""
    terminal.run("attester", "register", "scanner", "--attests", "checked", "--subjects", "payer")
    with Client.connect(terminal.here.folder.tenant, "payer", home=terminal.here.home) as payer:
        session = payer.session_id.hex()
        with pytest.raises(DeniedError):
            payer.invoke("tool:bank/confirm", {})
        terminal.run("attester", "attest", "scanner", session, "checked", "--one-time", "--ttl", "60")

        assert payer.invoke("tool:bank/confirm", {}) == "confirmed"
        other = terminal.run("attester", "attest", "scanner", session, "elsewhere", status=1)
    assert "ATTESTATION_NOT_DECLARED" in other


def test_an_event_of_an_application_stands_on_the_log(terminal: Terminal) -> None:
    """It is printed under an id that the log shows."""
    noted = ["event", "log", "invoice.read", "--as", "payer", "--action", "read", "--metadata", '{"pages": 2}']
    told = terminal.json(*noted, "--signed")

    assert len(bytes.fromhex(told["event_id"])) == 16  # type: ignore[index, call-overload]
    assert "ApplicationEventLogged" in terminal.run("log", "intake", "--from-start")
    assert "APPLICATION_EVENT" in terminal.run(*noted, "--outcome", "maybe", status=1)


def test_sessions_end_before_their_time(terminal: Terminal) -> None:
    """A person closes their own, the administrator revokes any; neither is heard afterwards."""
    tenant, home = terminal.here.folder.tenant, terminal.here.home
    with Client.connect(tenant, "payer", home=home) as payer:
        session = payer.session_id.hex()
        terminal.run("session", "revoke", session, "--reason", "lost")
        with pytest.raises(Exception, match="EXPIRED_SESSION"):
            payer.invoke(PAY, {"amount": 1})
    assert "UNKNOWN_SESSION" in terminal.run("session", "revoke", session, status=1)
    assert "64 hex digits" in terminal.run("session", "revoke", "zz", status=2)
    assert "only a person's session is kept" in terminal.run("session", "close", "--as", "payer", status=1)

    assert "either a session's id, or --user" in terminal.run("session", "revoke", session, "--user", "a", status=2)
    assert terminal.json("session", "revoke", "--user", "nobody") == {"user": "user:nobody", "revoked": []}

    terminal.run("session", "close", "--as", "user:dave")
    assert "macaw dev session open dave" in terminal.run("approvals", "list", "--as", "user:dave", status=1)
