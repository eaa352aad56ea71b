"""The calls of sessions, counted from decisions: each once, whatever is read again, and of its own tenant only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas import codec
from schemas.changes import SessionChanged
from schemas.events.attributes import Attributes
from schemas.events.verdicts import Observed
from schemas.records import Decision
from schemas.topics import DECISIONS, KEYED_PARTITIONS
from streams.views.counting.counts import Counts, Standing
from tests.streams.views_history import Chance, History
from tests.streams.views_shown import NOW, TOKEN, Shown

ONE, TWO = b"1" * 32, b"2" * 32
Placed = tuple[int, bytes]  # a partition, and a record of it


def decision(index: int, outcome: str, event: int | None = None, session: bytes = ONE, **more: Any) -> Decision:
    given: dict[str, Any] = {
        "origin": "demo/acme",
        "audit_index": index,
        "event": (index if event is None else event).to_bytes(32, "big"),
        "event_id": bytes(16),
        "session_id": session,
        "principal_id": "bot",
        "resource": "tool:bank/pay",
        "outcome": outcome,
        "reason": "",
        "detail": "",
        "decided_at": NOW + index,
        "policies": (),
        "changed": (),
    }
    return Decision(**{**given, **more})


def counted(*decisions: Decision, tenant: str = "acme") -> Counts:
    counts = Counts()
    begin(counts, tenant)
    for one in decisions:
        counts.count(tenant, 0, codec.frame(one))
    return counts


def begin(counts: Counts, tenant: str, since: int = 0) -> None:
    counts.begin(tenant, dict.fromkeys(range(KEYED_PARTITIONS), since))
    for partition in range(KEYED_PARTITIONS):
        counts.note_current(tenant, partition, is_current=True)


def numbers(counts: Counts, session: bytes = ONE, tenant: str = "acme") -> tuple[int, int, int | None]:
    found = counts.of(tenant, session)
    assert found is not None
    return found.calls, found.denials, found.last_seen


class TestRule:
    def test_an_observed_call_is_told_apart(self) -> None:
        would_be = Observed(outcome="denied", reason="NO_POLICY", detail="")
        counts = counted(decision(1, "allowed"), decision(2, "allowed", observed=would_be), decision(3, "denied"))
        found = counts.of("acme", ONE)
        assert found is not None
        assert (found.calls, found.denials, found.observed) == (3, 1, 1)

    def test_a_call_counts_once_however_it_ends(self) -> None:
        counts = counted(
            decision(1, "allowed"),
            decision(2, "denied"),
            decision(3, "pending"),
            decision(4, "pending"),
            decision(5, "allowed", event=3),
            decision(6, "denied", event=4),
        )

        assert numbers(counts) == (4, 2, NOW + 6)

    def test_a_call_that_waits_counts_while_it_waits(self) -> None:
        assert numbers(counted(decision(1, "pending"))) == (1, 0, NOW + 1)

    def test_one_entry_may_end_several_calls(self) -> None:
        """Their deadlines pass with one record of the log: the index alone does not tell them apart."""
        both = [decision(i, "pending") for i in (1, 2)]
        counts = counted(*both, *(decision(9, "denied", event=i) for i in (1, 2)), decision(9, "denied", event=1))

        assert numbers(counts) == (2, 2, NOW + 9)

    @pytest.mark.parametrize("again", range(5))
    def test_records_that_come_again_count_nothing(self, again: int) -> None:
        outcomes = ("allowed", "denied", "pending", "denied", "allowed")
        whole = [decision(i, outcome) for i, outcome in enumerate(outcomes)]

        assert numbers(counted(*whole, *whole[again:])) == numbers(counted(*whole)) == (5, 2, NOW + 4)

    @pytest.mark.parametrize(
        "value", [b"", b"not avro", codec.frame(decision(1, "denied", origin="demo/bank"))], ids=["", "bytes", "bank"]
    )
    def test_what_is_no_decision_of_the_tenant_is_refused(self, value: bytes) -> None:
        counts = counted()

        with pytest.raises(codec.SchemaError):
            counts.count("acme", 0, value)
        assert numbers(counts) == (0, 0, None)

    def test_a_tenant_that_is_begun_anew_counts_from_nothing(self) -> None:
        """Its topic was made anew, with indexes from 0."""
        counts = counted(decision(7, "allowed"))
        begin(counts, "acme", since=NOW)
        counts.count("acme", 0, codec.frame(decision(1, "denied")))

        found = counts.of("acme", ONE)
        assert found is not None
        assert (found.calls, found.denials, found.since) == (1, 1, NOW)

    def test_a_tenant_is_counted_when_every_partition_is_read(self) -> None:
        counts = Counts()
        assert counts.standing("acme") is Standing.COUNTING  # not even looked for
        counts.note_listed(["acme"])
        assert (counts.standing("acme"), counts.standing("bank")) == (Standing.COUNTING, Standing.UNKNOWN)
        counts.begin("acme", dict.fromkeys(range(KEYED_PARTITIONS), 0))
        for partition in range(KEYED_PARTITIONS):
            assert counts.standing("acme") is Standing.COUNTING
            counts.note_current("acme", partition, is_current=True)

        assert counts.standing("acme") is Standing.CURRENT


class TestSweep:
    def sweep(self, counts: Counts, *rows: bytes, reading: int = 1, now: int = 10, as_of: int = 9) -> None:
        counts.sweep(lambda _, session: session in rows, reading=reading, now=now, as_of=as_of)

    def test_a_session_without_a_row_leaves_and_others_stay(self) -> None:
        counts = counted(decision(1, "allowed"), decision(2, "pending", session=TWO))
        self.sweep(counts, ONE)
        assert len(counts) == 2  # the row of a new session may come later than its first decision
        self.sweep(counts, ONE, now=20, as_of=19)

        assert len(counts) == 1
        assert numbers(counts) == (1, 0, NOW + 1)
        assert numbers(counts, TWO) == (0, 0, None)

    def test_nothing_leaves_while_the_table_is_read_anew(self) -> None:
        """Faust empties a table when it recovers it; counts that left then would not come back."""
        counts = counted(decision(1, "allowed"))
        self.sweep(counts)
        self.sweep(counts, reading=2, now=20, as_of=19)
        self.sweep(counts, ONE, reading=2, now=30, as_of=29)
        self.sweep(counts, reading=2, now=40, as_of=29)
        self.sweep(counts, reading=2, now=50, as_of=29)

        assert numbers(counts) == (1, 0, NOW + 1)


def decided(world: Any) -> Iterator[Placed]:
    """Yield the decisions of a tenant that the real rule has written, in the order of the log."""
    for folded in world.log:
        for output in folded.outputs:
            if output.topic is DECISIONS:
                yield output.partition, output.value


@pytest.mark.parametrize("kind", ["history", *(f"chance-{seed}" for seed in range(4))])
def test_the_counts_are_those_of_the_log(kind: str) -> None:
    """Calls that waited, were cancelled and timed out among them; a reading that is set back counts nothing twice."""
    world: Any = (History if kind == "history" else Chance).opened(kind)
    world.play() if kind == "history" else world.happen(int(kind[-1]), 150)
    placed = list(decided(world))
    calls, denials, seen = defaultdict(set), defaultdict(set), defaultdict(int)
    for _, value in placed:
        one: Decision = codec.decode_as(Decision, value)
        calls[one.session_id].add(one.event)
        seen[one.session_id] = max(seen[one.session_id], one.decided_at)
        if one.outcome == "denied":
            denials[one.session_id].add(one.event)
    assert len(placed) > sum(map(len, calls.values())) or kind != "history"  # calls with two decisions

    counts = Counts()
    begin(counts, world.tenant)
    for at in range(0, len(placed), 10):
        for partition, value in placed[max(0, at - 7) : at + 10]:
            counts.count(world.tenant, partition, value)

    assert len(counts) == len(calls)
    for session, events in calls.items():
        assert numbers(counts, session, world.tenant) == (len(events), len(denials[session]), seen[session])


# ---- what the query API says


PERSON = SessionChanged(
    origin="demo/acme",
    audit_index=7,
    tenant="acme",
    session_id=ONE,
    principal_id="user:alice",
    role="user",
    status="open",
    opened_at=NOW,
    expires_at=NOW + 60_000,
    at=NOW,
    issuer="https://id.example",
    attributes=Attributes(team="finance", roles=("manager", "clerk"), issuers=("https://id.example",)),
    opened_by=b"b" * 32,
    actors=("workload:desk",),
)
PROGRAM = replace(PERSON, session_id=TWO, principal_id="bot", role="agent", issuer="", actors=(), attributes=None)


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    shown = Shown(tmp_path)
    for row in (PERSON, PROGRAM, replace(PERSON, tenant="bank", origin="demo/bank")):
        shown.put(row)
    shown.counts = counted(decision(1, "allowed"), decision(2, "denied"), decision(3, "allowed", session=TWO))
    return shown


class TestAnswer:
    def test_a_session_is_described_with_its_calls(self, shown: Shown) -> None:
        [person, program] = shown.all("sessions")

        assert person == {
            "session_id": ONE.hex(),
            "principal_id": "user:alice",
            "role": "user",
            "status": "open",
            "issuer": "https://id.example",
            "opened_by": (b"b" * 32).hex(),
            "actors": ["workload:desk"],
            "attributes": {"team": "finance", "roles": ["manager", "clerk"]},
            "opened_at": NOW,
            "expires_at": NOW + 60_000,
            "audit_index": 7,
            "last_seen": NOW + 2,
            "calls": 2,
            "denials": 1,
            "observed": 0,
            "counted_since": NOW,
        }
        assert (program["attributes"], program["issuer"], program["calls"]) == (None, "", 1)
        alone = shown.get(f"sessions/{ONE.hex()}").json()["session"]
        assert {name: alone[name] for name in person} == person

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("principal=bot", ["bot"]),
            ("principal=user:alice", ["user:alice"]),
            ("principal=alice", []),
            ("issuer=https://id.example", ["user:alice"]),
            ("issuer=https://id.example&principal=bot", []),
            ("status=open&issuer=https://id.example", ["user:alice"]),
            ("status=ended", []),
        ],
    )
    def test_filters(self, shown: Shown, query: str, found: list[str]) -> None:
        assert [row["principal_id"] for row in shown.all("sessions", query)] == found

    @pytest.mark.parametrize("query", ["principal=", "issuer=%00", "principal=a&principal=b", "opened_by=aa"])
    def test_a_malformed_filter_is_refused(self, shown: Shown, query: str) -> None:
        assert shown.get(f"sessions?{query}").status_code == 400

    def test_a_renewed_session_shows_its_newest_end(self, shown: Shown) -> None:
        shown.put(replace(PERSON, audit_index=9, expires_at=NOW + 90_000))
        shown.put(replace(PERSON, audit_index=8, expires_at=NOW + 70_000))

        assert shown.all("sessions", "principal=user:alice")[0]["expires_at"] == NOW + 90_000

    def test_another_tenant_gets_nothing_of_it(self, shown: Shown) -> None:
        """The same session id stands in the other tenant too; nothing is known about its calls."""
        shown.counts.note_listed(["acme"])
        [theirs] = shown.get("sessions", "b" * 43, "bank").json()["sessions"]

        assert (theirs["calls"], theirs["denials"], theirs["last_seen"], theirs["counted_since"]) == (None,) * 4
        assert shown.get("sessions", TOKEN, "bank").status_code == 401
        assert shown.get(f"sessions/{ONE.hex()}", "b" * 43, "acme").status_code == 401

    def test_older_decisions_that_are_gone_are_told(self, shown: Shown) -> None:
        begin(shown.counts, "acme", since=NOW + 5)

        assert shown.all("sessions", "principal=bot")[0]["counted_since"] == NOW + 5

    def test_no_number_is_told_before_it_is_counted(self, shown: Shown) -> None:
        shown.counts.note_current("acme", 3, is_current=False)

        for path in ("sessions", f"sessions/{ONE.hex()}"):
            answer = shown.get(path)
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
            assert "counting" in answer.json()["error"]
        assert shown.get("attestations").status_code == 200


# ---- on a broker
