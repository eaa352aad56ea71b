"""A bit flips on the broker's disk: the client reads on behind such a batch by itself, and the worker does not."""

from pathlib import Path

import pytest

from schemas.events.rulings import RecordsSkipped
from streams.local.choose import BrokerInfo, KafkaBroker
from tests.streams.loop_oracle import read_log
from tests.streams.loop_world import Tenant, World, fold_all, turn_until

pytestmark = pytest.mark.broker

BATCH_HEAD_BYTES = 61  # of a record batch (format 2), before its first record


def flip_a_bit(store: Path, tenant: Tenant, offset: int) -> range:
    """Damage the batch that holds an offset, on the disk of a broker that is down; return the offsets that it holds."""
    [segment] = store.glob(f"{tenant.intake}-0/*.log")
    data, at = bytearray(segment.read_bytes()), 0
    while at < len(data):
        base, size = int.from_bytes(data[at : at + 8], "big"), int.from_bytes(data[at + 8 : at + 12], "big")
        last = base + int.from_bytes(data[at + 23 : at + 27], "big")
        if size and base <= offset <= last:
            data[at + BATCH_HEAD_BYTES + 20] ^= 1
            segment.write_bytes(data)
            return range(base, last + 1)
        at += 12 + size
    raise AssertionError(f"no batch holds offset {offset}")


@pytest.mark.real_broker("a broker whose disk is damaged")
def test_a_batch_that_the_disk_has_damaged_is_no_gap(
    broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing behind it is folded before an admin has said that it is lost; then each of its offsets has an entry."""
    monkeypatch.delenv("MACAW_BOOTSTRAP_SERVERS", raising=False)  # what it names is not to be damaged
    kafka = KafkaBroker(tmp_path / "kafka")
    with kafka:
        world = World(kafka.info, tmp_path, unique)
        tenant = world.found()
        middle = tenant.appended + 3
        for _ in range(3):
            tenant.call(3)
        port = int(kafka.info.bootstrap.rpartition(":")[2])
    damaged = flip_a_bit(kafka.store, tenant, middle)

    with KafkaBroker(tmp_path / "kafka", port):
        loop = world.loop()
        turn_until(loop, lambda: "macaw intake skip" in loop.paused.get(tenant.intake, ""))
        told = loop.paused[tenant.intake]
        assert told.startswith("UNREADABLE_BATCH: offset")
        assert f"macaw intake skip {damaged.start}" in told
        # The records before it may still be on their way into the log when the pause is told.
        turn_until(loop, lambda: len(read_log(world, tenant).entries) >= damaged.start)
        assert [e.offset for e in read_log(world, tenant).entries] == list(range(damaged.start))

        ruling = RecordsSkipped(first=damaged.start, last=damaged.stop - 1, reason="a bit of the disk has flipped")
        tenant.append(tenant.events(tenant.admin, [ruling]))
        fold_all(loop, tenant)
        loop.close()
        found = read_log(world, tenant).entries
        assert [e.offset for e in found] == list(range(tenant.appended))
        assert [e.offset for e in found if e.outcome == "skipped"] == list(damaged)
