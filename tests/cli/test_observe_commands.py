"""`macaw observe`, `freeze`, `break-glass` and `policy suggest` on a real log, with a person and a tool."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_policy_on_the_log import Desk, Ran, desk

pytestmark = pytest.mark.broker
__all__ = ["desk"]

RESOURCE = "tool:analyzer/generate"
PERSON = "user:alice"


def generate(desk: Desk, tokens: int) -> Ran:
    parameters = json.dumps({"model": "gpt-3.5-turbo", "max_tokens": tokens})
    return desk.run("invoke", RESOURCE, "--as", PERSON, "--params", parameters)


def test_what_is_observed_is_reported_and_filtered(desk: Desk) -> None:
    assert generate(desk, 501).status == 1
    assert desk.run("observe", "report").out == "no observed calls: enforcement would have denied none\n"
    assert desk.run("observe", "on", "--policy", "role:nobody").status == 1
    assert desk.run("observe", "on", "--policy", "role:analyst").status == 0
    for tokens in (501, 502, 400):
        assert generate(desk, tokens).status == 0, tokens
    row = {
        "reason": "PARAM_OUT_OF_RANGE",
        "outcome": "denied",
        "principal_id": PERSON,
        "resource": RESOURCE,
        "calls": 2,
        "by_break_glass": 0,
    }
    for options in (
        (),
        ("--policy", "role:analyst"),
        ("--policy", "company:FinTech Corp"),
        ("--resource", "tool:analyzer/*"),
        ("--hours", "1"),
    ):
        [found] = desk.run("observe", "report", "--json", *options).json
        assert found.items() >= row.items(), options
    assert desk.run("observe", "report", "--json", "--resource", "tool:other/*").json == []
    assert desk.run("observe", "report", "--json", "--hours", "0").json == []
    assert "no policy role:nobody is in force" in desk.run("observe", "report", "--policy", "role:nobody").err
    assert desk.run("observe", "on", "--policy", "a", "--resource", "b").status == 2

    log = desk.run("log", "decisions", "--from-start").out
    assert "observed denied PARAM_OUT_OF_RANGE /constraints/parameters" in log
    assert "observed PARAM_OUT_OF_RANGE" in desk.run("log").out
    assert "EnforcementSet" in (said := desk.run("log", "intake").out)
    assert "observe on: policy role:analyst: to see what would be denied" in said
    assert desk.run("observe", "off", "--policy", "role:analyst").status == 0
    assert generate(desk, 501).status == 1
    assert desk.run("replay").status == 0


def test_a_broken_glass_is_loud_and_ends(desk: Desk) -> None:
    opened = ("break-glass", RESOURCE, "--for", PERSON)
    assert desk.run(*opened).status == 2
    assert desk.run(*opened, "--minutes", "61", "--reason", "r").status == 2
    assert desk.run(*opened, "--minutes", "5", "--end").status == 2
    assert desk.run(*opened, "--minutes", "5", "--reason", "payroll").status == 0
    assert generate(desk, 501).status == 0
    [found] = desk.run("observe", "report", "--json").json
    assert (found["calls"], found["by_break_glass"]) == (1, 1)
    event = desk.run("observe", "list", "--json").json[0]["event"]
    explained = desk.run("policy", "explain", found["last_event_id"])
    assert "observed: enforcement would have said denied PARAM_OUT_OF_RANGE" in explained.out
    assert f"break-glass {event}" in explained.out
    told = [line for line in desk.run("doctor").out.splitlines() if " enforced " in line]
    assert len(told) == 1
    assert f"warning  enforced  break-glass: resource {RESOURCE} for {PERSON} by admin, for " in told[0]
    assert desk.run(*opened, "--end").status == 0
    assert generate(desk, 501).status == 1
    assert "everything is enforced" in desk.run("observe", "list").out


def test_a_suggestion_is_written_and_simulated(desk: Desk) -> None:
    desk.run("observe", "on")
    for tokens in (501, 400):
        assert generate(desk, tokens).status == 0
    ran = desk.run("policy", "suggest", "--out", "suggested")
    assert ran.status == 0, ran.err
    [file] = (desk.folder / "suggested").iterdir()
    document = json.loads(file.read_text("utf-8"))
    assert document["resources"] == [RESOURCE]
    assert document["constraints"]["parameters"][RESOURCE]["max_tokens"] == {
        "allowed_values": [400, 501],
        "required": True,
    }
    assert desk.run("policy", "validate", "suggested").status == 0
    assert desk.run("policy", "suggest", "--out", "suggested").status == 1  # nothing is written over
    found = desk.run("policy", "simulate", "--policy", "suggested", "--json").json
    # The role's own bound still denies: a suggestion lifts no other document.
    assert [one["after"][1] for one in found["turned"] if one["before"][0] == "denied"] == []
    desk.run("audit", "export", "evidence")
    exported = desk.run("policy", "suggest", "--log", "evidence", "--json").json
    assert [one["policy_id"] for one in exported["documents"]] == [document["policy_id"]]
