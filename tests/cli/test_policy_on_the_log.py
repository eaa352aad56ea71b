"""`macaw policy` on a real log: what applies, why a call was decided so, what would flip, and withdrawing."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from macaw.cli import main
from producers.tools import tool
from streams.local.choose import BrokerInfo
from tests.installation import installed

pytestmark = pytest.mark.broker

CHAIN = {
    "company:FinTech Corp": {"resources": ["tool:*"], "constraints": {"rate_limit": 100, "audit_level": "full"}},
    "role:analyst": {
        "extends": "company:FinTech Corp",
        "resources": ["tool:analyzer/*"],
        "constraints": {
            "parameters": {
                "tool:analyzer/generate": {
                    "model": {"allowed_values": ["gpt-3.5*"], "required": True},
                    "max_tokens": {"max": 500, "type": "integer"},
                }
            }
        },
    },
}
PERSONS = "alice: {user: alice@fintech.com, company: FinTech Corp, roles: [analyst]}\n"


class Analyzer:
    """A tool that writes reports."""

    @tool
    def generate(self, model: str, max_tokens: int) -> str:
        """Write a report."""
        return f"{max_tokens} tokens of {model}"


class Ran(NamedTuple):
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Desk:
    """A terminal in the folder of an installation."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def run(self, *words: str) -> Ran:
        self._capsys.readouterr()
        status = main(list(words))
        return Ran(status, *self._capsys.readouterr())

    def write(self, policies: dict[str, Any], folder: str = "policies") -> Path:
        place = self.folder / folder
        place.mkdir(exist_ok=True)
        for at, (policy_id, members) in enumerate(policies.items()):
            (place / f"{at}.json").write_text(json.dumps({"policy_id": policy_id, **members}))
        return place


@pytest.fixture
def desk(
    broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    (tmp_path / "persons.yaml").write_text(PERSONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")
    with installed(broker, tmp_path, unique, development=True) as made, made.hosting("analyzer", Analyzer()):
        terminal = Desk(tmp_path, capsys)
        files = sorted(map(str, terminal.write(CHAIN).iterdir()))
        assert terminal.run("policy", "publish", *files).status == 0
        assert terminal.run("dev", "session", "open", "alice").status == 0
        yield terminal


def calls(desk: Desk) -> list[str]:
    """Make three calls, of which the second breaks two rules, and return their event ids."""
    for model, tokens in (("gpt-3.5-turbo", 400), ("gpt-4", 501), ("gpt-3.5-turbo", 500)):
        parameters = json.dumps({"model": model, "max_tokens": tokens})
        desk.run("invoke", "tool:analyzer/generate", "--as", "user:alice", "--params", parameters)
    log = desk.run("log", "decisions", "--from-start", "--json").out.splitlines()
    found = sorted((json.loads(line)["record"] for line in log), key=lambda one: one["audit_index"])
    assert [one["outcome"] for one in found] == ["allowed", "denied", "allowed"]
    return [one["event_id"] for one in found]


def test_what_applies_to_a_session(desk: Desk) -> None:
    """Every line names the layer and the document it is from; the merged view is the intersection."""
    ran = desk.run("policy", "effective", "--session", "alice", "--json")

    [one] = ran.json["alternatives"]
    assert [(p["id"], p["layer"]) for p in one["policies"]] == [
        ("company:FinTech Corp", "company"),
        ("role:analyst", "role"),
    ]
    assert all(len(p["sha256"]) == 64 for p in one["policies"])
    assert one["merged"]["parameters"]["tool:analyzer/generate"]["max_tokens"] == {"type": "integer", "max": 500}
    assert one["merged"]["rate_limit"] == 100
    told = desk.run("policy", "effective", "--session", "alice").out
    assert "may call" in told
    assert "tool:analyzer/*" in told
    assert desk.run("policy", "effective", "--session", "nobody").status == 1


def test_why_a_call_was_denied_and_what_would_have_allowed_it(desk: Desk) -> None:
    """The rule that decided, every other check, and all edits that are needed: publishing them lets the call pass."""
    _, denied, _ = calls(desk)

    ran = desk.run("policy", "explain", denied, "--json")

    assert ran.status == 0, ran.err
    found = ran.json
    assert (found["recorded"]["outcome"], found["recorded"]["reason"]) == ("denied", "PARAM_OUT_OF_RANGE")
    assert found["decided_by"]["policy"] == "role:analyst"
    assert found["decided_by"]["at"] == found["recorded"]["detail"]
    assert found["explanation"]["reason"] == found["recorded"]["reason"]
    edits = {(one["reason"], one["do"]) for one in found["smallest_change"]}
    assert edits == {
        ("PARAM_OUT_OF_RANGE", "raise `max` to 501"),
        ("PARAM_NOT_ALLOWED", 'add "gpt-4" to allowed_values'),
    }
    told = desk.run("policy", "explain", denied[:12]).out
    assert "The smallest change that would have allowed it (2 edits, all of them):" in told

    wider = json.loads(json.dumps(CHAIN))
    rules = wider["role:analyst"]["constraints"]["parameters"]["tool:analyzer/generate"]
    rules["max_tokens"]["max"] = 501
    rules["model"]["allowed_values"].append("gpt-4")
    simulated = desk.run("policy", "simulate", "--policy", str(desk.write(wider, "wider")), "--json")
    assert [one["event_id"] for one in simulated.json["turned"]] == [denied]


def test_an_id_that_stands_for_several_is_told_as_such(desk: Desk) -> None:
    """The first digits of an id are a minute: its events are listed, and the leaf or the offset chooses."""
    ids = calls(desk)
    [(minute, _)] = Counter(one[:8] for one in ids).most_common(1)
    several = desk.run("policy", "explain", minute)
    assert several.status == 1
    assert several.err.count("\n") == 1
    assert "stands for several events" in several.err
    rows = [line.split() for line in several.out.splitlines()[1:]]
    told = desk.run("policy", "explain", minute, "--json")
    assert told.status == 1
    listed = told.json["ambiguous"]
    assert [str(one["offset"]) for one in listed][:3] == [row[0] for row in rows][:3]

    mine = [one for one in listed if one["event_id"] in ids]
    assert len(mine) >= 2
    for one in mine:
        by_leaf = desk.run("policy", "explain", one["leaf"], "--json")
        by_offset = desk.run("policy", "explain", minute, "--offset", str(one["offset"]), "--json")
        assert (by_leaf.status, by_offset.status) == (0, 0)
        assert by_leaf.json == by_offset.json
        assert by_leaf.json["event_id"] == one["event_id"]


def test_an_allowed_call_is_explained_too_and_nobody_else_is_told(desk: Desk) -> None:
    """It has a grant and nothing to change; without the admin key nothing is told at all."""
    allowed, *_ = calls(desk)

    found = desk.run("policy", "explain", allowed, "--json").json

    assert found["explanation"]["grant"] == "company:FinTech Corp"
    assert found["smallest_change"] == []
    assert desk.run("policy", "explain", "00000000").status == 1
    assert desk.run("policy", "explain", "nohex").status == 1
    [key] = desk.folder.rglob("admin.key")
    key.rename(key.with_name("elsewhere"))
    ran = desk.run("policy", "explain", allowed)
    assert ran.status == 1
    assert ran.out == ""


def test_which_recorded_calls_would_flip(desk: Desk) -> None:
    """Other policies from the first record on: rates follow, from the live log and from an export alike."""
    first, _, third = calls(desk)
    slow = json.loads(json.dumps(CHAIN))
    slow["company:FinTech Corp"]["constraints"]["rate_limit"] = 1
    folder = str(desk.write(slow, "slow"))

    live = desk.run("policy", "simulate", "--policy", folder, "--json")
    assert live.status == 0, live.err
    assert (live.json["calls"], live.json["flips"]) == (3, 1)
    assert [one["event_id"] for one in live.json["turned"]] == [third]
    assert live.json["by_reason"] == [{"before": "allowed", "after": "denied RATE_LIMITED", "calls": 1}]

    assert desk.run("audit", "export", "evidence").status == 0
    exported = desk.run("policy", "simulate", "--policy", folder, "--log", "evidence", "--json")
    assert exported.json == live.json
    gone = desk.run("policy", "simulate", "--withdraw", "role:analyst", "--json").json
    assert gone["flips"] == 1
    same = desk.run("policy", "simulate", "--policy", "policies")
    assert "flips over 3 recorded calls: none found" in same.out
    compared = desk.run("policy", "diff", "policies", folder, "--log", "live")
    assert "flips over 3 recorded calls: 1 found" in compared.out
    assert first not in compared.out


def test_what_is_withdrawn_is_in_force_no_more(desk: Desk) -> None:
    """A parent stays while others extend it; the list, the calls and the log follow."""
    refused = desk.run("policy", "withdraw", "company:FinTech Corp")
    assert refused.status == 1
    assert "role:analyst extends company:FinTech Corp: withdraw it first" in refused.err

    assert desk.run("policy", "withdraw", "role:analyst").status == 0
    assert [one["policy_id"] for one in desk.run("policy", "list", "--json").json] == ["company:FinTech Corp"]
    assert desk.run("policy", "show", "role:analyst").status == 1
    assert desk.run("policy", "withdraw", "role:analyst").status == 1
    assert "rate" in desk.run("policy", "show", "company:FinTech Corp").out
    assert desk.run("policy", "withdraw", "company:FinTech Corp").status == 0
    parameters = json.dumps({"model": "gpt-3.5-turbo", "max_tokens": 1})
    ran = desk.run("invoke", "tool:analyzer/generate", "--as", "user:alice", "--params", parameters)
    assert ran.status == 1
    assert "NO_POLICY" in ran.err
