"""The drills of docs/incidents.md, played on a real log: stolen and lost keys, and the way back."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from macaw.cli import main
from macaw.installation.registrations import register_with_admin
from macaw.installation.rotation import rotate_key
from macaw.installation.tenancy import (
    create_tenant,
    publish_policies,
    register_agent,
    register_enrolment,
    revoke_principal,
)
from macaw.policies.in_force import read_policies
from processors.effects import output_place
from processors.evidence.audit_log import log_leaf
from processors.proof import signing
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.client import Client
from producers.home.home import Home
from producers.home.keys import KeyPair
from producers.kafka.connection import Connection
from schemas import codec
from schemas.events.attributes import NONE
from schemas.events.keys import KeyRotated
from schemas.records import AuditEntry, Decision, PrincipalRegistered, PrincipalRevoked, Result
from schemas.topics import AUDIT, DECISIONS, RESULTS, Topic
from streams.local.choose import BrokerInfo
from streams.worker.monitor import Monitor
from tests.installation import Installation, monitoring, unanswered
from tests.paying import PAYER, Bank
from tests.streams.loop_oracle import read_topic
from tests.streams.loop_world import World
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker
POLICY = json.dumps(PAYER)


def await_pause(monitor: Monitor, code: str) -> None:
    """Wait until the monitor does not go on with a tenant, for this reason."""
    wait_until(lambda: code in str(monitor.paused), lambda: f"want {code}, paused: {monitor.paused}", pause=0.05)


@dataclass
class Stage:
    """An installation whose monitor is started and stopped by the drill."""

    here: Installation
    patch: pytest.MonkeyPatch
    bank: Bank = field(default_factory=Bank)

    def macaw(self, *arguments: str, status: int = 0) -> None:
        """Run a command of this installation."""
        self.patch.setenv("MACAW_HOME", str(self.here.home.path.parent))
        assert main([*arguments, "--tenant", self.here.folder.tenant]) == status

    def monitoring(self):
        return monitoring(self.here.broker, self.here.home, [self.here.folder.tenant])

    def call(self, count: int = 5) -> None:
        """Make calls and check their results."""
        first = len(self.bank.paid)
        with (
            self.here.hosting("bank", self.bank),
            Client.connect(self.here.folder.tenant, "shopper", home=self.here.home) as agent,
        ):
            for number in range(first, first + count):
                assert agent.invoke("tool:bank/pay", {"number": number}) == {"paid": number}

    def verified(self, target: Path) -> None:
        """Check that the log can be computed again, and that an export of it holds offline."""
        self.macaw("replay")
        self.macaw("audit", "export", str(target))
        arguments = ["audit", "verify", str(target), "--genesis", self.here.folder.genesis.hex()]
        assert main([*arguments, "--allow-unwitnessed"]) == 0


@pytest.fixture
def stage(broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Stage:
    home = Home.create(tmp_path / "home", {"bootstrap": broker.bootstrap, "deployment": "test", "tenant": unique})
    folder = create_tenant(home, unique)
    made = Stage(Installation(home, folder, broker), monkeypatch)
    with made.monitoring():
        assert register_enrolment(home, folder) is not None
        register_agent(home, folder, "shopper", attributes={"roles": ["payer"]})
        publish_policies(home, folder, [POLICY], {})
        made.call()
    return made


class Thief:
    """The holder of a stolen decision key, with access to the tenant's topics."""

    def __init__(self, stage: Stage, key: KeyPair) -> None:
        self._folder, self.key = stage.here.folder, key
        self._world = World.__new__(World)
        self._world.broker, self._world.unique = stage.here.broker, stage.here.folder.tenant
        self._producer = Producer({"bootstrap.servers": stage.here.broker.bootstrap, "log_level": 0})

    def last(self, topic: Topic, kind: type) -> tuple[int, object]:
        """Return the partition and the content of the last record of a topic that has one."""
        for partition in range(topic.partitions):
            found = read_topic(self._world, topic.of(self._folder.tenant), partition)
            if found:
                return partition, codec.decode_as(kind, found[-1].value() or b"")
        raise AssertionError(f"{topic.name} is empty")

    def write(self, topic: Topic, tag: bytes, record: object, partition: int) -> tuple[str, int, int]:
        """Append a record under the stolen key and return its place."""
        name = type(record).__name__
        body = codec.encode(record)
        leaf = output_place(tag, self._folder.genesis, topic.of(self._folder.tenant), partition, name).leaf(body)
        [proof] = self.key.signing.sign_leaves([leaf])
        return self._append(topic, codec.frame(record), [(PROOF_HEADER, proof), (KID_HEADER, self.key.kid)], partition)

    def garble(self, topic: Topic) -> tuple[str, int, int]:
        """Append bytes that are nothing."""
        return self._append(topic, b"nothing", [], 0)

    def _append(
        self, topic: Topic, value: bytes, headers: Sequence[tuple[str, bytes]], partition: int
    ) -> tuple[str, int, int]:
        places = []
        self._producer.produce(
            topic.of(self._folder.tenant),
            value,
            partition=partition,
            headers=list(headers),
            on_delivery=lambda error, message: places.append(message.offset()) if error is None else None,
        )
        assert self._producer.flush(PATIENCE_SECONDS) == 0
        return topic.of(self._folder.tenant), partition, places[0]

    def steal(self) -> dict[tuple[str, int, int], str]:
        """Write a decision, a result and two audit entries that nobody caused; return their places and claims."""
        partition, decision = self.last(DECISIONS, Decision)
        assert isinstance(decision, Decision)
        forged = replace(decision, event=bytes(32), principal_id="mallory", audit_index=decision.audit_index + 1)
        found = {
            self.write(DECISIONS, signing.DECISION_TAG, forged, partition): "decision: 'mallory' on 'tool:bank/pay'"
        }
        partition, result = self.last(RESULTS, Result)
        assert isinstance(result, Result)
        forged_result = replace(result, event=bytes(32), outcome="ok")
        found[self.write(RESULTS, signing.RESULT_TAG, forged_result, partition)] = "result: 'ok'"
        _, entry = self.last(AUDIT, AuditEntry)
        assert isinstance(entry, AuditEntry)
        leaf = log_leaf(codec.current("AuditEntry").sha256, codec.encode(entry))
        linked = replace(entry, index=entry.index + 1, prev=leaf, offset=entry.offset + 1, outcome="allowed")
        found[self.write(AUDIT, signing.AUDIT_TAG, linked, 0)] = f"audit entry {linked.index}"
        found[self.write(AUDIT, signing.AUDIT_TAG, entry, 0)] = f"audit entry {entry.index}"
        found[self.garble(AUDIT)] = "7 bytes"
        return found


def test_a_stolen_decision_key_that_is_found_a_day_later(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The thief's records are named one by one; then revoke, new key, new state secret, and calls go on."""
    folder, home = stage.here.folder, stage.here.home
    stolen = folder.key("monitor")
    thief = Thief(stage, stolen)
    with stage.monitoring():
        stage.call()
        written = thief.steal()
        stage.call()  # the worker does not read what it writes, and nobody has noticed yet
        more = thief.steal()
    written |= more
    with caplog.at_level(logging.ERROR), stage.monitoring() as monitor:  # a restart notices
        await_pause(monitor, "LOG_MISMATCH")

    capsys.readouterr()
    stage.macaw("audit", "foreign", "--json", status=1)
    told = {(one["topic"], one["partition"], one["offset"]): one for one in json.loads(capsys.readouterr().out)}
    assert told.keys() == written.keys(), "every record of the thief, and no other"
    for place, claim in written.items():
        assert claim in told[place]["claim"]
        assert told[place]["kid"] in {stolen.kid.hex(), ""}

    stage.macaw("audit", "foreign", "--set-aside", status=1)
    old_secret = folder.state_secret
    with stage.monitoring():
        stage.macaw("key", "recover")
    assert folder.state_secret != old_secret
    assert folder.key("monitor").kid != stolen.kid
    caplog.clear()
    with caplog.at_level(logging.WARNING), stage.monitoring():
        stage.call()
        assert "do not match their head; folding intake again" in caplog.text
        publish_policies(home, folder, [POLICY], {i: p.digest for i, p in read_policies(home, folder).policies.items()})
        # The stolen key is worth nothing any more.
        late = thief.steal()
        stage.call()
    capsys.readouterr()
    stage.macaw("audit", "foreign", "--json", status=1)
    told = {(one["topic"], one["partition"], one["offset"]): one for one in json.loads(capsys.readouterr().out)}
    assert told.keys() == written.keys() | late.keys()
    stage.macaw("audit", "foreign", "--set-aside", status=1)
    stage.verified(tmp_path / "evidence")
    assert stage.bank.paid == list(range(len(stage.bank.paid)))


def test_a_stolen_admin_key(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """The thief publishes a policy and registers a principal: both are listed by signer; the roots remove the key."""
    home, folder = stage.here.home, stage.here.folder
    stolen = folder.path.parent / "stolen.key"
    shutil.copy(folder.path / "admin.key", stolen)
    with stage.monitoring():
        publish_policies(home, folder, [json.dumps({"policy_id": "agent:mallory", "resources": ["tool:**"]})], {})
        register_agent(home, folder, "mallory", attributes={})
        kid = folder.key("admin").kid
        capsys.readouterr()
        stage.macaw("audit", "signed-by", kid.hex(), "--json")
        told = [(one["kind"], one["outcome"]) for one in json.loads(capsys.readouterr().out)]
        assert told[-2:] == [("PolicyPublished", "accepted"), ("PrincipalRegistered", "accepted")]
        stage.macaw("admin", "add", "olga")
        stage.macaw("admin", "remove", "admin", "--reason", "stolen")
        folder.key_file("admin", "olga").replace(folder.path / "admin.key")
        revoke_principal(home, folder, "mallory", reason="registered by a thief")
        stage.macaw("policy", "withdraw", "agent:mallory")
        stage.call()
        stage.macaw("admin", "list", "--json")


def test_a_stolen_admin_key_that_takes_the_decision_key(
    stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tenant stands still with the calls of meanwhile; the roots remove the admin, and each is answered."""
    home, folder = stage.here.home, stage.here.folder
    thief = KeyPair.generate()
    spare = thief.offer("monitor", "monitor", folder.genesis)
    successor = KeyPair.generate().offer("monitor", "monitor", folder.genesis)
    with caplog.at_level(logging.ERROR), stage.monitoring() as monitor:
        stage.macaw("key", "check")
        register = PrincipalRegistered(role="monitor", key=spare, attributes=NONE, tools=())
        rotate = KeyRotated(kid=folder.key("monitor").kid, key=successor, reason="planned")
        with Connection(home, folder, folder.key("admin"), "admin") as admin:
            admin.ask(register)
            stage.macaw("key", "check", status=1)
            assert f"monitor {thief.kid.hex()[:16]}: may sign this tenant's decisions" in capsys.readouterr().err
            admin.send(rotate)
        await_pause(monitor, "KEY_MISSING")
        stage.macaw("admin", "remove", "admin", "--reason", "stolen")
        stage.macaw("admin", "add", "olga")
        folder.key_file("admin", "olga").replace(folder.path / "admin.key")
        stage.macaw("key", "revoke", folder.key("monitor").kid.hex()[:6], status=1)
        stage.macaw("key", "revoke", thief.kid.hex()[:16], "--reason", "a thief's")
        stage.macaw("key", "revoke", folder.key("monitor").kid.hex(), status=1)
        assert "is the tenant's only decision key here: `macaw key recover` replaces it" in capsys.readouterr().err
        stage.macaw("key", "check")
        stage.call()
        assert main(["archive", "run", "--once"]) == 0
        stage.macaw("archive", "verify")
        stage.macaw("archive", "trim")
    stage.verified(tmp_path / "evidence")


@pytest.mark.parametrize("has_admin_key", [True, False])
def test_a_stolen_admin_key_that_ends_all_decision_keys(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, has_admin_key: bool
) -> None:
    """Nothing is answered meanwhile; with the admin key the next decision key is registered first, else at the end."""
    home, folder = stage.here.home, stage.here.folder
    thief = KeyPair.generate().offer("monitor", "monitor", folder.genesis)
    with stage.monitoring() as monitor:
        with Connection(home, folder, folder.key("admin"), "admin") as admin:
            admin.send(PrincipalRevoked(principal_id="monitor", kid=None, reason="planned"))
            admin.send(PrincipalRegistered(role="monitor", key=thief, attributes=NONE, tools=())).settle()
            await_pause(monitor, "KEY_MISSING")
        if has_admin_key:
            with unanswered():
                stage.macaw("key", "rotate", "monitor", status=1)
            stage.macaw("admin", "remove", "admin", "--reason", "stolen")
            stage.macaw("admin", "add", "olga")
            stage.macaw("key", "rotate", "monitor")  # it stands on the log already: the file is put in its place
        else:
            with unanswered():
                stage.macaw("admin", "remove", "admin", "--reason", "stolen", status=1)
                stage.macaw("admin", "add", "olga", "--after", "1", status=1)
            assert "it stands on the log" in capsys.readouterr().err
        if not has_admin_key:
            folder.key_file("admin", "olga").replace(folder.path / "admin.key")
            stage.macaw("key", "rotate", "monitor", "--admin", "olga")
        stage.call()
    stage.verified(tmp_path / "evidence")


def test_all_decision_keys_expired(stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The tenant stands still and says so; a registered key ends that, and the calls of meanwhile are refused."""
    home, folder = stage.here.home, stage.here.folder
    with stage.monitoring():
        rotate_key(
            home, folder, folder.path / "monitor.key", reason="planned", expires_at=int(time.time() * 1000) + 3000
        )
        time.sleep(4)
    with caplog.at_level(logging.ERROR), stage.monitoring() as monitor:
        with Connection(home, folder, folder.key("admin"), "admin") as admin:
            admin.send(PrincipalRevoked(principal_id="nobody", kid=None, reason=""))
        await_pause(monitor, "NO_DECISION_KEY")
        assert "macaw key rotate monitor" in str(monitor.paused)
        stage.macaw("key", "rotate", "monitor")
        stage.call()
    stage.verified(tmp_path / "evidence")


def test_a_lost_root_key_and_lost_root_keys(
    broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the threshold the others replace it; below it the next keys, kept elsewhere, recover."""
    home = Home.create(tmp_path / "home", {"bootstrap": broker.bootstrap, "deployment": "test", "tenant": unique})
    folder = create_tenant(home, unique, roots=3, threshold=2)
    vault = tmp_path / "vault"
    vault.mkdir()
    for path in folder.path.glob("next-root*.key"):
        path.rename(vault / path.name)
    stage = Stage(Installation(home, folder, broker), monkeypatch)
    with stage.monitoring():
        assert register_enrolment(home, folder) is not None
        lost = folder.key("root.2")
        (folder.path / "root.2.key").unlink()
        stage.macaw("root", "rotate", "--drop", lost.kid.hex())
        for path in [p for p in folder.path.glob("root*.key") if p.name != "root.1.key"]:
            path.unlink()
        stage.macaw("admin", "add", "olga", "--out", str(tmp_path / "act.json"))  # one of two: it waits for ever
        for path in vault.glob("next-root*.key"):
            path.rename(folder.path / path.name)
        stage.macaw("root", "recover")
        stage.macaw("admin", "add", "olga")
        register_with_admin(home, folder, "approver", "desk", {"roles": ["desk"]})
