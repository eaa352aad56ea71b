"""The published scenarios of five suites: staged where we have the concept, named where we lack it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.processors.workflow import scenario_stages as on

ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "tests" / "vectors" / "wf_evidence_scenarios.jsonl"
PAGE = ROOT / "docs" / "workflow-scenarios.md"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in VECTORS.read_text("utf-8").splitlines()]
ACCEPTS = {"allow": True, "accept": True, "deny": False, "reject": False}

STAGED: dict[str, dict[str, on.Stage]] = {
    "approval-binding": {
        "allow-last-second-of-validity": on.last_second,
        "allow-other-approval-distinct-id": on.another_is_presented,
        "approval-already-consumed": on.already_consumed,
        "contract-id-unknown": on.unknown_contract,
        "event-differs": on.another_event,
        "payload-mutated-after-approval": on.another_payload,
        "release-first-served-after-decision": on.policy_comes_later,
        "release-retired-beyond-grace": on.policy_was_retired,
        "tool-differs": on.another_tool,
    },
    "authority-at-dispatch": {
        "contract-id-missing": on.no_contract,
        "dispatched-bytes-differ": on.other_bytes_dispatched,
        "evidence-age-inconsistent": on.evidence_too_old,
        "revoked-before-dispatch": on.first_hop_revoked,
        "stale-authority-evidence": on.evidence_too_old,
    },
    "converted-argument-binding": {
        "approved-digest-not-shown": on.raw_was_approved,
        "clock-default-rebuilds-differently": on.shown_is_not_executed,
        "dict-repr-to-string": on.shown_is_not_executed,
        "float-truncated-to-int": on.shown_is_not_executed,
    },
    "delegation-lifecycle": {
        "recovery-after-compromise-no-revival": on.other_name_presents,
        "rereg-chain-old-middle-new": on.chain_of_successors,
        "rereg-link-after-old-revoked": on.link_after_revocation,
        "rereg-linked-successor": on.linked_successor,
        "subagent-succession-grant-not-carried": on.successors_present_old_grants,
        "subagent-succession-history-only": on.successors_present_new_grants,
        "tree-cascade-victim-after-restoration": on.cascade_after_restoration,
        "tree-chain-valid": on.chain_is_valid,
        "tree-child-presented-before-revocation": on.presented_before,
        "tree-dispute-confirmed": on.dispute_confirmed,
        "tree-dispute-open": on.disputed,
        "tree-grant-tampered": on.grant_tampered,
        "tree-revocation-forged": on.revocation_forged,
        "tree-revocation-incomplete": on.first_hop_revoked,
        "tree-revoked-grant-after-restoration": on.revoked_after_restoration,
    },
    "dispatch-fence": {
        "allow-effect-ends-at-expiry": on.effect_ends_at_expiry,
        "allow-state-event-after-fence": on.state_changes_after,
        "contract-id-missing": on.no_contract,
        "second-dispatch-after-expiry": on.second_dispatch,
    },
}

# What we lack, in one line for each row that is not staged.
LACKING: dict[str, dict[str, str]] = {
    "approval-binding": {
        "allow-release-within-grace": "a grace period: a policy that was withdrawn counts no more from the next record",
    },
    "delegation-lifecycle": {
        "rereg-one-old-two-new": "a sole successor: several keys may stand under one name at a time, as instances",
        "tree-record-not-json": "no verdict: what cannot be read is refused, and has its entry and its dead letter",
    },
    "dispatch-fence": {
        "allow-renewed-hold-covers-effect": "a hold that is renewed: how long a tool may run is in its registration",
    },
}

STAGES = [(row, STAGED[row["suite"]][row["case"]]) for row in ROWS if row["case"] in STAGED[row["suite"]]]


@pytest.mark.parametrize(("row", "stage"), STAGES, ids=[f"{row['suite']}-{row['case']}" for row, _ in STAGES])
def test_a_published_scenario_ends_as_published(row, stage):
    """Played as signed events through the fold, it is accepted or denied as its authors say."""
    assert stage(row).accepted is ACCEPTS[row["decision"]]


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["suite"] == "converted-argument-binding"], ids=lambda r: r["case"]
)
def test_what_would_run_can_be_approved(row):
    """The control of that suite: the digest of what is executed, and no other, lets the same call pass."""
    world, asked, _ = on.converted(row, "executed.json")

    assert on.final(world, asked) == (True, "")


def test_every_row_is_staged_or_says_what_we_lack():
    """All 41 rows of the five suites; at least 20 of them are staged, each row once."""
    known = {(suite, case) for table in (STAGED, LACKING) for suite, cases in table.items() for case in cases}

    assert len(ROWS) == 41
    assert known == {(row["suite"], row["case"]) for row in ROWS}
    assert not {(s, c) for s in STAGED for c in STAGED[s]} & {(s, c) for s in LACKING for c in LACKING[s]}
    assert len(STAGES) >= 20
    assert {ACCEPTS[row["decision"]] for row, _ in STAGES} == {True, False}


def table() -> dict[str, list[str]]:
    """Return the lines of the page, by suite, as the code has them."""
    found: dict[str, list[str]] = {}
    for row in sorted(ROWS, key=lambda row: (row["suite"], row["case"])):
        stage = STAGED[row["suite"]].get(row["case"])
        if stage is None:
            here = f"not staged: {LACKING[row['suite']][row['case']]}"
        else:
            told = stage(row)
            here = "accepted" if told.accepted else f"denied `{told.code}`"
        found.setdefault(row["suite"], []).append(f"| {row['case']} | {row['decision']} | {here} |")
    return found


def test_the_page_shows_what_the_code_does():
    """`docs/workflow-scenarios.md` holds a line for each row, with the code that the fold gives."""
    page = PAGE.read_text("utf-8")
    sections = dict(re.findall(r"^## ([a-z-]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))

    assert {
        suite: re.findall(r"^\| (?!case |---).*\|$", body, re.MULTILINE) for suite, body in sections.items()
    } == table()
    assert f"{len(STAGES)} of the 41" in page
