"""The views' feed is derived from the rows that a transaction writes: however the log is cut, the views end alike."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

import pytest

from processors.state.tables import Tables
from schemas import codec, limits
from schemas.records import PrincipalRevoked
from schemas.topics import OPS_TOPICS, STATE
from streams.views.app import Folding
from streams.views.catalogue import VIEWS
from streams.views.progress import Progress
from streams.worker.fold import Message, TenantFold
from streams.worker.signing.decision_keys import DecisionKeys, Signatory
from streams.worker.state_head import HEAD_KEY, StateMac
from tests.processors.workflow.test_workflow_laws import Script
from tests.streams.views_history import Chance, History
from tests.workflow_world import PAY, Workflow
from tests.world import HOUR_MS, World

OPS = {topic.of("") for topic in OPS_TOPICS}
SEEDS = range(6)
Rows = dict[str, dict[bytes, bytes]]


def played(kind: str) -> Workflow:
    """Return a world in which much has happened."""
    name, _, seed = kind.partition("-")
    if name == "history":
        history = History.opened()
        assert isinstance(history, History)
        return history.play()
    if name == "script":
        return Script(int(seed)).world
    chance = Chance.opened(kind)
    assert isinstance(chance, Chance)
    return chance.happen(int(seed), 150)


_PLAYED: dict[str, Workflow] = {}


@pytest.fixture(params=["history", *(f"{name}-{seed}" for name in ("chance", "script") for seed in SEEDS)])
def world(request: pytest.FixtureRequest) -> Workflow:
    if request.param not in _PLAYED:
        _PLAYED[request.param] = played(request.param)
    return _PLAYED[request.param]


def opened(world: World, tables: Tables | None = None) -> TenantFold:
    """Return a worker's fold of the world's tenant that has folded nothing."""
    keys = world.monitor.keys
    fresh = world.fresh_tables() if tables is None else tables
    return TenantFold(fresh, Signatory(DecisionKeys.of(keys)), StateMac(bytes(32)))


def fold(folding: TenantFold, records: Sequence[Any]) -> None:
    """Fold some records into the batch, however long that takes."""
    for received in records:
        folding.batch.seconds = 0.0
        assert folding.fold([received]) == 1


def transactions(folding: TenantFold, records: Sequence[Any], ends: Iterable[int]) -> list[list[Message]]:
    """Return what the views are told by each transaction, where the log is cut at `ends`."""
    found, start = [], 0
    for end in ends:
        fold(folding, records[start:end])
        found.append(feed_in(folding.take()))
        folding.commit()
        start = end
    return found


def feed_in(messages: Iterable[Message]) -> list[Message]:
    return [one for one in messages if one.topic in OPS]


def cuts(world: World, name: str) -> list[int]:
    """Return ends of batches that cover the log."""
    total = len(world.records)
    chosen = random.Random(f"{world.name} {name}").sample(range(1, total), {"few": 4, "many": total // 3}.get(name, 0))
    return list(range(1, total + 1)) if name == "each" else sorted({*chosen, total})


def shown(told: Iterable[Message]) -> Rows:
    """Return the views' tables after a feed, by view. Nothing is dropped for its age."""
    rows: Rows = {view.name: {} for view in VIEWS}
    progress = Progress()
    folding = {view.source.of(""): Folding(view, rows[view.name], progress, lambda: 0) for view in VIEWS}
    for one in told:
        folding[one.topic].fold(one.key, one.value, one.partition, 0)
    assert progress.poison_records == 0
    return rows


@pytest.fixture(autouse=True)
def _long_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a batch be as long as a test cuts it."""
    for name in ("BATCH_RECORDS_MAX", "BATCH_OUTPUTS_MAX", "BATCH_WRITES_MAX", "BATCH_BYTES_MAX"):
        monkeypatch.setattr(limits, name, 10**9)


@pytest.mark.parametrize("cut", ["whole", "few", "many"])
def test_however_the_log_is_cut_the_views_end_with_the_same_bytes(world: Workflow, cut: str) -> None:
    """One transaction for a record is the finest cut: each change that shows is told. A coarser one tells the last."""
    finest = [one for told in transactions(opened(world), world.records, cuts(world, "each")) for one in told]
    coarser = [one for told in transactions(opened(world), world.records, cuts(world, cut)) for one in told]

    assert shown(coarser) == shown(finest)
    assert len(coarser) <= len(finest)


def test_the_views_show_each_row_and_no_other(world: Workflow) -> None:
    """What left its table is gone, but for sessions: those stay, ended."""
    folding = opened(world)
    rows = shown(one for told in transactions(folding, world.records, cuts(world, "many")) for one in told)
    tables = folding.tables

    def ids(view: str) -> set[str]:
        return {key.decode().rpartition("/")[2] for key in rows[view]}

    def hexed(*found: Iterable[bytes]) -> set[str]:
        return {key.hex() for keys in found for key in keys}

    assert ids("attestations") == hexed(tables.attestations.rows, tables.requests.rows, tables.grants.rows)
    assert ids("delegations") == hexed(tables.delegations.rows)
    assert ids("context") == hexed(sha256(key).digest() for key in tables.vault.rows)
    assert ids("sessions") >= hexed(tables.sessions.rows)
    for key, value in rows["sessions"].items():
        session = tables.sessions.get(bytes.fromhex(key.decode().rpartition("/")[2]))
        change = codec.decode(*codec.unframe(value))
        if session is None:
            assert change.status == "ended"
        else:
            assert change.expires_at == session.expires_at
            assert (change.status == "open") >= (tables.now < session.expires_at)
            assert change.status == "ended" or not session.revoked


def test_what_is_told_is_what_the_row_says(world: Workflow) -> None:
    """Each field of a live row that a view shows comes from the row itself."""
    folding = opened(world)
    rows = shown(one for told in transactions(folding, world.records, cuts(world, "few")) for one in told)
    tables = folding.tables

    def change(view: str, key: bytes) -> Any:
        return codec.decode(*codec.unframe(rows[view][f"{tables.tenant_id}/{key.hex()}".encode()]))

    for key, grant in tables.grants.rows.items():
        told = change("attestations", key)
        over = grant.max_uses is not None and grant.uses >= grant.max_uses
        assert told.status == ("revoked" if grant.revoked else "consumed" if over else "active")
        assert (told.uses, told.approved_by) == (grant.uses, tuple(one.principal_id for one in grant.approvals))
    for key, row in tables.attestations.rows.items():
        told, most = change("attestations", key), 1 if row.one_time else row.max_uses
        assert told.status == ("revoked" if row.revoked else "consumed" if row.uses == most else "active")
        assert told.uses == row.uses or told.status == "active"
        assert told.audit_index >= row.position
    for key, request in tables.requests.rows.items():
        told = change("attestations", key)
        if request.closed:
            assert told.status in {"approved", "denied", "timeout", "cancelled"}
        else:
            assert told.approved_by == tuple(one.principal_id for one in request.approvals)
            assert told.status == ("approved" if len(request.approvals) >= told.quorum else "pending")
    for key, delegation in tables.delegations.rows.items():
        assert change("delegations", key).status == ("revoked" if delegation.revoked else "active")
    for key, kept in tables.vault.rows.items():
        told = change("context", sha256(key).digest())
        assert (told.version, told.principal_id, told.at) == (kept.version, kept.author, kept.set_at)


def test_each_row_is_told_once_in_a_transaction_under_the_entry_that_changed_it(world: Workflow) -> None:
    ends = cuts(world, "few")
    now = {folded.entry.index: folded.entry.now for folded in world.log}
    for start, end, told in zip([0, *ends], ends, transactions(opened(world), world.records, ends), strict=False):
        assert max(Counter((one.topic, one.key) for one in told).values(), default=1) == 1
        for change in (codec.decode(*codec.unframe(one.value)) for one in told if one.value is not None):
            assert start <= change.audit_index < end
            assert change.at == now[change.audit_index]


def test_an_aborted_transaction_tells_nothing_and_its_records_tell_the_same_again(world: Workflow) -> None:
    ends = cuts(world, "few")
    wanted = transactions(opened(world), world.records, ends)
    folding, found = opened(world), []
    for start, end in zip([0, *ends], ends, strict=False):
        fold(folding, world.records[start:end])
        folding.take()
        fold(folding, world.records[end : end + 5])  # ahead, on top of what is about to be aborted
        folding.rollback()
        assert feed_in(folding.take()) == []
        fold(folding, world.records[start:end])
        found.append(feed_in(folding.take()))
        folding.commit()

    assert found == wanted


def test_what_is_folded_while_a_transaction_is_committed_is_told_by_the_next(world: Workflow) -> None:
    ends = cuts(world, "many")
    wanted = transactions(opened(world), world.records, ends)
    folding, found = opened(world), []
    fold(folding, world.records[: ends[0]])
    for start, end in zip(ends, [*ends[1:], ends[-1]], strict=True):
        found.append(feed_in(folding.take()))
        fold(folding, world.records[start:end])
        folding.commit()

    assert found == wanted


def test_rows_that_come_back_from_the_changelog_are_not_told_again(world: Workflow) -> None:
    """A worker that restarts tells of what it folds from there on, as one that never fell."""
    middle, total = len(world.records) // 2, len(world.records)
    whole = opened(world)
    stored: dict[bytes, bytes | None] = {}
    fold(whole, world.records[:middle])
    stored |= {m.key or b"": m.value for m in whole.take() if m.topic == STATE.of(world.tenant)}
    whole.commit()

    again = opened(world)
    for full, value in stored.items():
        name, _, key = full.partition(b"/")
        if full != HEAD_KEY and value is not None:
            again.state.restore(full, value)
            again.tables.by_name[name.decode()].restore(key, codec.decode(*codec.unframe(value)))
    again.tables.resume_at(next_index=whole.tables.next_index, prev=whole.tables.prev, now=whole.tables.now)
    assert feed_in(again.take()) == []

    for folding in (whole, again):
        fold(folding, world.records[middle:total])
    assert feed_in(again.take()) == feed_in(whole.take())


def test_a_revoked_principal_tells_of_each_of_its_sessions_once() -> None:
    world = World.founded("many-sessions")
    bot = world.register("agent", "bot")
    kids = {world.open_session(bot).kid for _ in range(150)}
    folding = opened(world)
    transactions(folding, world.records, [len(world.records)])
    world.send(PrincipalRevoked(principal_id="bot", kid=None, reason="lost"), world.admin)
    fold(folding, world.records[-1:])
    told = feed_in(folding.take())

    assert {codec.decode(*codec.unframe(one.value)).session_id for one in told} == kids
    assert len(told) == len(kids)


def test_a_request_that_keeps_enough_approvals_stays_approved() -> None:
    """One of three managers loses the session; two were wanted. The request still waits for somebody else's key."""
    world = Workflow.opened("withdrawn")
    people = [world.person(name, "manager") for name in ("carol", "dave", "eve")]
    metas = {
        "board": {"approval_criteria": "role:manager", "quorum": 2, "timeout": 600},
        "other": {"approval_criteria": "role:owner", "timeout": 600},
    }
    needed = [f"{key}::{{tool.id == '{PAY}'}}" for key in metas]
    resources = {"resources": ["**"]}
    world.publish_policy(
        {"policy_id": "agent:bot", **resources, "attestations": needed, "constraints": {"attestations": metas}}
    )
    asked = world.pay()
    for one in people:
        assert world.approve(one, asked, "board").says == ("accepted", "")
    revoked = world.revoke_session(people[0])

    [told] = [codec.decode(*codec.unframe(one.value)) for one in revoked.feed if b"board" in (one.value or b"")]
    assert (told.status, told.approved_by) == ("approved", ("user:dave", "user:eve"))


def test_a_batch_ends_when_it_has_written_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else records that each let many rows leave would make a transaction that is too long to commit."""
    world = World.founded("rows")
    bot = world.register("agent", "bot")
    for _ in range(30):
        world.open_session(bot, ttl_ms=HOUR_MS)
    monkeypatch.setattr(limits, "BATCH_WRITES_MAX", 20)
    folding = opened(world)
    folded = folding.fold(world.records)
    writes = sum(1 for _ in folding.tables.changes())

    assert 0 < folded < len(world.records)
    assert writes <= folding.batch.writes
    assert folding.fold(world.records[folded:]) == 0
    folding.take()
    assert folding.fold(world.records[folded:]) > 0
