"""The worked example in `examples/fintech`: alice, an analyst at FinTech Corp, under five layers of policies."""

import json
from pathlib import Path

import pytest

from macaw.cli import main
from producers.tools import tool
from streams.local.choose import BrokerInfo
from tests.installation import installed

EXAMPLE = Path(__file__).parents[2] / "examples" / "fintech"
POLICIES = EXAMPLE / "policies"
ALICE = {
    "user": "alice@fintech.com",
    "company": "FinTech Corp",
    "business_unit": "Analytics",
    "team": "Reporting",
    "roles": ["analyst"],
}


class Analyzer:
    """The tool of the example."""

    @tool
    def generate(self, model: str, max_tokens: int) -> str:
        """Write a report."""
        return f"{max_tokens} tokens of {model}"


def test_the_policies_could_be_published_and_decide_as_the_cases_say(capsys: pytest.CaptureFixture[str]) -> None:
    """No refusal, no warning, and every case passes."""
    assert main(["policy", "validate", str(POLICIES), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    assert main(["policy", "test", str(EXAMPLE / "cases.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] >= 15


def test_the_final_policy_is_the_one_of_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    """What the five layers come to, field by field, and who said what."""
    words = ["policy", "effective", "--attributes", json.dumps(ALICE), "--policies", str(POLICIES)]
    assert main([*words, "--json"]) == 0
    [one] = json.loads(capsys.readouterr().out)["alternatives"]

    assert {p["id"]: p["layer"] for p in one["policies"]} == {
        "base:role:analyst": "role",
        "restrict:org:fintech-corp": "company",
        "restrict:bu:analytics": "business_unit",
        "restrict:team:reporting": "team",
        "filter:clearance:standard": "clearance",
    }
    assert one["merged"]["parameters"]["tool:*/generate"] == {
        "model": {"required": True, "allowed_values": ["gpt-3.5*"]},
        "max_tokens": {"required": True, "type": "integer", "max": 500},
        "temperature": {"max": 0.3},
        "consistency": {"allowed_values": [True]},
    }
    assert set(one["merged"]["denied_resources"]) == {"*.secret", "*credential*", "data:**/executive/**"}
    assert one["merged"]["audit_level"] == "full"

    assert main(words) == 0
    told = capsys.readouterr().out
    [may_call] = [line for line in told.splitlines() if line.startswith("may call")]
    assert "tool:analyzer/generate, data:finance/reports/**" in may_call  # the intersection, not the lists
    assert "restrict:team:reporting, base:role:analyst" in may_call
    assert "role:analyst" in told.splitlines()[-1]  # looked for, and not there


@pytest.mark.broker
def test_the_example_on_a_log(
    broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alice's session is opened from the file; a call that breaks three rules of three documents is explained."""
    (tmp_path / "persons.yaml").write_bytes((EXAMPLE / "persons.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    with installed(broker, tmp_path, unique, development=True) as made, made.hosting("analyzer", Analyzer()):
        assert main(["policy", "publish", str(POLICIES)]) == 0
        assert main(["dev", "session", "open", "alice"]) == 0
        parameters = json.dumps({"model": "gpt-4", "max_tokens": 501, "temperature": 0.9})
        assert main(["invoke", "tool:analyzer/generate", "--as", "user:alice", "--params", parameters]) == 1
        capsys.readouterr()
        assert main(["log", "decisions", "--from-start", "--json"]) == 0
        decision = json.loads(capsys.readouterr().out)["record"]

        assert main(["policy", "explain", decision["event_id"], "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert main(["policy", "effective", "--session", "alice", "--resource", "tool:analyzer/generate"]) == 0
        effective = capsys.readouterr().out
        assert main(["policy", "explain", decision["event_id"]]) == 0
        told = capsys.readouterr().out

    # Documents are asked layer by layer, so the first that fails is the business unit's.
    assert (found["recorded"]["reason"], found["decided_by"]["policy"]) == (
        "PARAM_OUT_OF_RANGE",
        "restrict:bu:analytics",
    )
    # Outside office hours in New York the condition is a fourth.
    edits = {one["do"]: one["policy"] for one in found["smallest_change"] if one["reason"] != "CONDITION_DENIED"}
    assert edits == {
        "raise `max` to 0.9": "restrict:bu:analytics",
        "raise `max` to 501": "base:role:analyst",
        'add "gpt-4" to allowed_values': "base:role:analyst",
    }
    assert "The smallest change that would have allowed it" in told
    assert "tool:analyzer/generate, data:finance/reports/**" in effective
    print(effective, told, sep="\n")
