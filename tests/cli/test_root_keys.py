"""`macaw root` and `macaw admin`, on a real log: custodians on several machines, lost and stolen keys, forged files."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from macaw.cli import main
from macaw.installation.root_acts import RootActError, RootActFile
from macaw.installation.root_keys import propose, propose_rotation, read_roots
from macaw.installation.tenancy import create_tenant, publish_policies, register_agent
from processors.proof.signing import SigningKey
from producers.client import NoAnswerError
from producers.home.home import Home, TenantHome
from producers.home.keys import KeyPair
from producers.kafka.connection import Connection
from producers.kafka.outcomes import RefusedError
from schemas.events.keys import AdminAddition, AdminRemoval
from schemas.records import PolicyPublished
from streams.local.choose import BrokerInfo
from tests.installation import monitoring

pytestmark = pytest.mark.broker
POLICY = json.dumps({"policy_id": "role:payer", "resources": ["tool:bank/*"]})


class Machines:
    """A tenant with three root keys, of which two must sign, each on a machine of its own."""

    def __init__(self, home: Home, folder: TenantHome, base: Path, patch: pytest.MonkeyPatch) -> None:
        self.home, self.folder, self._base, self._patch = home, folder, base, patch
        self.names = ["office"]
        for n in (1, 2, 3):
            self._move(f"root.{n}.key", f"custodian-{n}")
            self._move(f"next-root.{n}.key", f"vault-{n}")

    def _move(self, name: str, machine: str) -> None:
        target = self.at(machine)
        target.path.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder.path / "genesis", target.path / "genesis")
        shutil.copy(self.home.path / "config.json", target.path.parent.parent / "config.json")
        (self.folder.path / name).rename(target.path / name)

    def base_of(self, machine: str) -> Path:
        return self.home.path.parent if machine == "office" else self._base / machine

    def at(self, machine: str) -> TenantHome:
        """Return the tenant's folder on a machine."""
        return TenantHome(self.folder.tenant, self.base_of(machine) / ".macaw" / "tenants" / self.folder.tenant)

    def run(self, machine: str, *arguments: str, status: int = 0) -> None:
        """Run a command on a machine."""
        self._patch.setenv("MACAW_HOME", str(self.base_of(machine)))
        assert main([*arguments, "--tenant", self.folder.tenant]) == status

    def epoch(self) -> int:
        return read_roots(self.home, self.folder).row.root_epoch


@pytest.fixture
def machines(broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    home = Home.create(tmp_path / "office", {"bootstrap": broker.bootstrap, "deployment": "test", "tenant": unique})
    folder = create_tenant(home, unique, roots=3, threshold=2)
    with monitoring(broker, home, [unique]):
        register_agent(home, folder, "first", attributes={})
        yield Machines(home, folder, tmp_path, monkeypatch)


def test_an_admin_is_added_by_custodians_on_their_machines(
    machines: Machines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key never leaves its owner's machine; each custodian sees what the file does; the removed admin is out."""
    office = machines.at("office")
    olga = machines.at("custodian-3")  # any machine may be hers, too
    file, offer = str(tmp_path / "act.json"), str(tmp_path / "offer.json")
    machines.run("custodian-3", "admin", "offer", "olga", "--out", offer)
    machines.run("office", "admin", "add", "olga", "--offer", offer, "--out", file)
    machines.run("office", "root", "submit", file, status=1)
    machines.run("custodian-1", "root", "sign", file, "--yes")
    assert f"add the key {olga.key('admin').kid.hex()[:16]} for the administrator 'olga'" in capsys.readouterr().out
    machines.run("custodian-1", "root", "submit", file, status=1)
    machines.run("custodian-2", "root", "sign", file, "--yes")
    machines.run("custodian-2", "root", "submit", file)
    # The new administrator works under her own name, and the founder's key is removed.
    publish_policies(machines.home, olga, [POLICY], {})
    machines.run("office", "admin", "remove", "admin", "--reason", "stolen", "--out", file)
    copies = []
    for n in (1, 2):
        copies.append(str(tmp_path / f"copy-{n}.json"))
        shutil.copy(file, copies[-1])
        machines.run(f"custodian-{n}", "root", "sign", copies[-1], "--yes")
    machines.run("custodian-1", "root", "submit", *copies)
    body = PolicyPublished(documents=(POLICY,), previous=(None,))
    with Connection(machines.home, office, office.key("admin"), "admin") as gone, pytest.raises(NoAnswerError):
        gone.ask(body, seconds=3)  # a revoked key is nobody's, and nobody is answered
    capsys.readouterr()
    machines.run("custodian-1", "admin", "list", "--json")
    assert {(row["name"], row["live"]) for row in json.loads(capsys.readouterr().out)} == {
        ("olga", True),
        ("admin", False),
    }


def test_a_lost_root_key_is_replaced_by_the_others(machines: Machines, tmp_path: Path) -> None:
    """The threshold is still met: the present keys name another, the commitment to the next ones stays."""
    before = read_roots(machines.home, machines.folder)
    lost = machines.at("custodian-3").keys.load(machines.at("custodian-3").path / "root.3.key").kid
    file = str(tmp_path / "act.json")
    machines.run("custodian-1", "root", "rotate", "--drop", lost.hex(), "--out", file)
    machines.run("custodian-2", "root", "sign", file, "--yes")
    machines.run("custodian-2", "root", "submit", file)
    after = read_roots(machines.home, machines.folder)
    assert (after.row.root_epoch, after.row.root_threshold) == (1, 2)
    assert set(before.kids) - set(after.kids) == {lost}
    assert after.row.next_root_digests == before.row.next_root_digests
    machines.run("custodian-2", "root", "submit", file, status=1)  # its epoch has passed


def test_lost_below_the_threshold_the_next_keys_recover(machines: Machines, tmp_path: Path) -> None:
    """Two of three are lost: the next keys, kept elsewhere, become the root keys and commit to further ones."""
    before = read_roots(machines.home, machines.folder)
    file = str(tmp_path / "act.json")
    publics = []
    for n in (1, 2):
        vault = machines.at(f"vault-{n}")
        publics.append(vault.keys.load(vault.path / f"next-root.{n}.key").signing.public.hex())
    machines.run("vault-1", "root", "recover", "--key", publics[1], "--out", file)
    machines.run("vault-2", "root", "sign", file, "--yes")
    machines.run("vault-2", "root", "submit", file)
    after = read_roots(machines.home, machines.folder)
    assert set(after.kids) < set(before.row.next_root_digests)
    assert not set(after.row.next_root_digests) & set(before.row.next_root_digests)
    assert after.row.root_epoch == 1
    # The new keys act, the old ones do not.
    machines.run("vault-2", "admin", "remove", "admin", "--out", file)
    machines.run("vault-1", "root", "sign", file, "--yes")
    machines.run("vault-1", "root", "submit", file)
    machines.run("custodian-3", "admin", "add", "thief", "--out", file)
    machines.run("custodian-2", "root", "sign", file, "--yes")
    machines.run("custodian-2", "root", "submit", file, status=1)


def test_a_thief_of_the_root_keys_is_put_out_by_the_next_ones(machines: Machines, tmp_path: Path) -> None:
    """He has rotated the roots to keys of his own; he cannot change the commitment, and the owner comes back."""
    file = str(tmp_path / "act.json")
    machines.run("custodian-1", "root", "rotate", "--reason", "mine", "--out", file)
    machines.run("custodian-2", "root", "sign", file, "--yes")
    machines.run("custodian-1", "root", "submit", file)
    thief = machines.at("custodian-1")
    assert not (thief.path / "root.1.key").exists(), "a key that the log no longer has is discarded"
    public = KeyPair.generate().signing.public
    roots = read_roots(machines.home, thief)
    assert roots.row.root_epoch == 1
    for n in (2, 3):
        vault = machines.at(f"vault-{n}")
        (vault.path / f"next-root.{n}.key").rename(machines.at("vault-1").path / f"next-root.{n}.key")
    machines.run("vault-1", "root", "recover")
    assert machines.epoch() == 2
    act = propose(thief, roots, AdminAddition(admin=KeyPair.generate().offer("admin", "mallory", thief.genesis)))
    act.save(tmp_path / "stale.json")
    machines.run("custodian-1", "root", "submit", str(tmp_path / "stale.json"), status=1)
    assert public not in read_roots(machines.home, thief).row.root_keys


def test_an_act_is_not_played_back_after_the_epoch_moved(machines: Machines, tmp_path: Path) -> None:
    """Put onto the log by hand, past the check of the command: the log refuses it."""
    home, folder = machines.home, machines.folder
    for n in (1, 2, 3):
        source = machines.at(f"custodian-{n}").path / f"root.{n}.key"
        shutil.copy(source, folder.path / source.name)
    roots = read_roots(home, folder)
    removal = propose(folder, roots, AdminRemoval(principal_id="admin", reason="withheld"))
    machines.run("office", "root", "rotate", "--drop", roots.kids[2].hex())
    assert machines.epoch() == 1
    with Connection(home, folder, folder.key("root.1"), "root") as connection, pytest.raises(RefusedError) as raised:
        connection.ask(removal.body)
    assert raised.value.reason == "BAD_ROOT_SIGNATURES"
    publish_policies(home, folder, [POLICY], {})


def forged(act: RootActFile) -> dict[str, RootActFile]:
    """Return files that do something else than a custodian was shown, or nothing."""
    other = RootActFile.of(
        AdminRemoval(principal_id="other", reason=""), tenant=act.tenant, genesis=act.genesis, epoch=act.epoch
    )
    return {
        "another act under the signatures": replace(other, signatures=act.signatures),
        "another tenant": replace(act, genesis=bytes(32)),
        "another kind": replace(act, kind="AdminAdded"),
        "cut": replace(act, act=act.act[:-1]),
    }


@pytest.mark.parametrize("how", ["another act under the signatures", "another tenant", "another kind", "cut"])
def test_a_forged_file_is_not_signed_or_submitted(
    tmp_path: Path, how: str, machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a command shows comes from the signed bytes; a sentence beside them is not believed."""
    folder = machines.at("custodian-1")
    roots = read_roots(machines.home, folder)
    act = propose(folder, roots, AdminRemoval(principal_id="admin", reason="\u202egood"))
    file = tmp_path / "act.json"
    act.save(file)
    value = json.loads(file.read_text())
    bad = forged(act)[how]
    value["genesis"], value["kind"] = bad.genesis.hex(), bad.kind
    value["act"] = base64.b64encode(bad.act).decode()
    value["says"] = "nothing bad at all"
    file.write_text(json.dumps(value))
    capsys.readouterr()
    if how == "another act under the signatures":
        machines.run("custodian-2", "root", "sign", str(file), "--yes")
        assert "remove every key of the administrator 'other'" in capsys.readouterr().out
        machines.run("custodian-2", "root", "submit", str(file), status=1)
    else:
        machines.run("custodian-2", "root", "sign", str(file), "--yes", status=1)
        assert json.loads(file.read_text())["signatures"] == value["signatures"]
    publish_policies(machines.home, machines.folder, [POLICY], {})


def test_a_bad_signature_in_a_copy_does_not_spoil_the_good_ones(tmp_path: Path) -> None:
    """Copies are merged whole; only signatures that verify are submitted."""
    keys = [SigningKey.from_seed(bytes([n]) * 32) for n in (1, 2)]
    act = RootActFile.of(AdminRemoval(principal_id="admin", reason=""), tenant="acme", genesis=bytes(32), epoch=0)
    good = act.signed(keys)
    bad = replace(good, signatures=tuple(replace(one, signature=bytes(64)) for one in good.signatures))
    publics = [key.public for key in keys]
    for merged in (bad.merged([good]), good.merged([bad])):
        assert merged.only_good(publics).signatures == good.signatures
    with pytest.raises(RootActError):
        good.merged([replace(good, epoch=1)])


def test_more_is_not_dropped_than_there_is(machines: Machines) -> None:
    folder = machines.at("custodian-1")
    with pytest.raises(Exception, match="is not a present root key"):
        propose_rotation(folder, read_roots(machines.home, folder), dropped=[bytes(32)], reason="")


def test_policy_is_published_by_admins_only() -> None:
    """Roots name administrators, and do nothing in their place."""
    from processors.intake.authority import MAY_SIGN

    assert "root" not in MAY_SIGN[PolicyPublished]
