"""Who registers with which key: on the administrator's machine, on one that has an enrolment key, and on neither."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from macaw.cli import main
from macaw.installation.enrolments import create_enrolment, grant_of
from macaw.installation.tenancy import (
    create_tenant,
    publish_policies,
    register_agent,
    register_enrolment,
    revoke_principal,
)
from producers.client import Client
from producers.home.home import Home, HomeError, TenantHome
from producers.kafka.outcomes import RefusedError
from producers.kafka.registry_view import RegistryView
from producers.tools import collect_tools, tool
from producers.tools.registration import register_tool
from schemas.events.attributes import Attributes
from schemas.events.tools import ToolDeclaration
from schemas.records import EnrolmentGrant
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed, monitoring
from tests.plain_keys import PLAIN_KEYS
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker


class Bank:
    @tool
    def pay(self, to: str) -> dict[str, str]:
        """Send money."""
        return {"paid": to}


class Described:
    @tool
    def pay(self, to: str) -> dict[str, str]:
        """Send money to somebody."""
        return {"paid": to}


class Larger(Described):
    @tool
    def balance(self) -> int:
        """Tell what is left."""
        return 7


class Changed:
    @tool(timeout_seconds=1)
    def pay(self, to: str) -> dict[str, str]:
        """Send money."""
        return {"paid": to}


@pytest.fixture
def here(broker: BrokerInfo, tmp_path: Path, unique: str) -> Iterator[Installation]:
    with installed(broker, tmp_path / "admin", unique) as made:
        yield made


def another_machine(here: Installation, folder: Path, name: str, *kinds: str, **granted: object) -> Installation:
    """Return the installation that an enrolment key makes for another machine."""
    how = {"names": name, "count": 1, "attributes": {}, "lists": {}, **granted}
    create_enrolment(here.home, here.folder, name, grant_of(list(kinds), **how), machine=folder)  # type: ignore[arg-type]
    home = Home.open(folder)
    return Installation(home, home.tenant(None), here.broker)


def offered(here: Installation, app: str) -> dict[str, ToolDeclaration]:
    with Client.connect(here.folder.tenant, "shopper", home=here.home) as client:
        client._connection.registry.refresh()
        return {one.resource: one for one in client._connection.registry.tables.principals.rows[app.encode()].tools}


def test_a_tools_machine_can_register_its_tool_once_and_nobody_else(here: Installation, tmp_path: Path) -> None:
    """It holds no key that makes a treasurer, and what it registers executes calls like any other tool."""
    there = another_machine(here, tmp_path / "bank", "bank", "tool")
    kept = {path.name for path in (tmp_path / "bank").rglob("*") if path.is_file()}
    assert kept == {"config.json", "config.lock", "genesis", "bank.key"}

    register_agent(here.home, here.folder, "shopper", attributes={"roles": ["payer"]})
    publish_policies(here.home, here.folder, ['{"policy_id": "role:payer", "resources": ["tool:bank/*"]}'], {})
    for tools in (Bank(), Described()):  # once it is registered it needs the enrolment key no more
        with there.hosting("bank", tools), Client.connect(here.folder.tenant, "shopper", home=here.home) as client:
            assert client.invoke("tool:bank/pay", {"to": "bob"}) == {"paid": "bob"}

    bare = {"home": there.home, "folder": there.folder}
    with pytest.raises(HomeError, match="macaw enrolment create treasurer --for agent --home FOLDER"):
        register_agent(**bare, name="treasurer", attributes={"roles": ["treasurer"]})
    with pytest.raises(RefusedError, match="may not register role 'agent'"):
        register_agent(**bare, name="treasurer", attributes={"roles": ["treasurer"]}, enrolment="bank")
    with pytest.raises(RefusedError, match=r"ENROLMENT_EXCEEDED.*macaw enrolment create bank --for tool"):
        register_tool(there.home, there.folder, "bank", collect_tools(Larger()))
    with pytest.raises(HomeError, match="--for tool"):
        register_tool(there.home, there.folder, "other", collect_tools(Bank()))
    there.folder.key_file("tool", "bank").unlink()
    with pytest.raises(RefusedError, match=r"ENROLMENT_EXCEEDED.*macaw enrolment create bank --for tool"):
        register_tool(there.home, there.folder, "bank", collect_tools(Bank()))
    again = another_machine(here, tmp_path / "bank", "bank", "tool")  # the spent key makes room for a new one
    register_tool(again.home, again.folder, "bank", collect_tools(Larger()))
    assert set(offered(here, "bank")) == {"tool:bank/pay", "tool:bank/balance"}


def test_an_enrolment_key_gives_what_it_is_told_to(here: Installation, tmp_path: Path) -> None:
    """Fixed attributes are added without being asked for; more is refused, and leaves no key behind."""
    granted = {"names": "ci-*", "count": 2, "attributes": {"company": "ACME"}, "lists": {"roles": ["payer", "clerk"]}}
    there = another_machine(here, tmp_path / "ci", "ci", "agent", **granted)
    agents = {"home": there.home, "folder": there.folder, "enrolment": "ci"}

    key = register_agent(**agents, name="ci-1", attributes={"roles": ["payer"]})
    assert register_agent(**agents, name="ci-1", attributes={"roles": ["payer"]}) == key
    with Client.connect(here.folder.tenant, "ci-1", home=there.home) as client:
        row = client._connection.registry.live_key(key.kid, "agent")
    assert row is not None
    assert row.attributes == Attributes(company="ACME", roles=("payer",))
    for name, attributes in (
        ("ci-2", {"roles": ["treasurer"]}),
        ("ci-2", {"company": "Other"}),
        ("ci-2", {"user": "carol"}),
        ("ci-1/x", {}),
        ("ceo", {}),
    ):
        with pytest.raises(RefusedError, match="the enrolment key 'enrolment:ci' may not do that"):
            register_agent(**agents, name=name, attributes=attributes)
        assert not there.folder.key_file("agent", name).exists()
    with pytest.raises(RefusedError, match="KEY_TAKEN"):
        register_agent(**agents, name="ci-1", attributes={"roles": ["clerk"]})
    assert there.folder.key_file("agent", "ci-1").exists()


def test_a_tool_is_described_anew_and_grows_while_it_runs(
    here: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What changes a contract is refused with the command that helps; that command helps, and the evidence verifies."""
    register_agent(here.home, here.folder, "shopper", attributes={})
    first = register_tool(here.home, here.folder, "bank", collect_tools(Bank()))
    for tools in (Described(), Larger(), Bank()):
        assert register_tool(here.home, here.folder, "bank", collect_tools(tools)) == first
    assert {name: one.description for name, one in offered(here, "bank").items()} == {
        "tool:bank/pay": "Send money to somebody.",  # an older version describes nothing anew
        "tool:bank/balance": "Tell what is left.",
    }

    with pytest.raises(RefusedError, match=r"changes tool:bank/pay.*`macaw tool revoke bank`"):
        register_tool(here.home, here.folder, "bank", collect_tools(Changed()))
    [aside] = revoke_principal(here.home, here.folder, "bank", reason="changed")
    assert PLAIN_KEYS.load(aside).kid == first.kid
    assert register_tool(here.home, here.folder, "bank", collect_tools(Changed())) != first
    assert [one.timeout_ms for one in offered(here, "bank").values()] == [1000]

    monkeypatch.setenv("MACAW_HOME", str(here.home.path.parent))
    tenant, evidence = ["--tenant", here.folder.tenant], str(tmp_path / "evidence")
    assert main(["audit", "export", evidence, *tenant]) == 0
    assert main(["audit", "verify", evidence, "--allow-unwitnessed", *tenant]) == 0
    assert main(["replay", *tenant]) == 0

    aside.rename(here.folder.key_file("tool", "bank2"))
    with pytest.raises(RefusedError, match=r"was revoked or has ended: remove .*bank2.key"):
        register_tool(here.home, here.folder, "bank2", collect_tools(Bank()))


def test_a_new_key_is_kept_before_it_is_registered(broker: BrokerInfo, tmp_path: Path, unique: str) -> None:
    """While nobody has answered yet the key is in its file; a key that is registered and lost could never speak."""
    home = Home.create(tmp_path, {"bootstrap": broker.bootstrap, "deployment": "test"})
    folder: TenantHome = create_tenant(home, unique)
    path, made = folder.key_file("agent", "ann+1@example.com"), []
    thread = threading.Thread(
        target=lambda: made.append(register_agent(home, folder, "ann+1@example.com", attributes={}))
    )
    thread.start()
    wait_until(path.exists, "the new key file")
    kept = PLAIN_KEYS.load(path)
    assert thread.is_alive()

    with monitoring(broker, home, [unique]):
        thread.join(PATIENCE_SECONDS)
        assert made == [kept] or register_agent(home, folder, "ann+1@example.com", attributes={}) == kept


@pytest.mark.parametrize(("development", "offers"), [(True, ("**",)), (False, ())])
def test_an_enrolment_key_has_its_rights_also_where_no_monitor_has_seen_the_founding(
    broker: BrokerInfo, tmp_path: Path, unique: str, development: bool, offers: tuple[str, ...]
) -> None:
    """The registry is empty then: how the tenant was founded must not be read from its silence."""
    home = Home.create(tmp_path / "home", {"bootstrap": broker.bootstrap, "deployment": "test"})
    folder = create_tenant(home, unique, development=development)
    home = Home.open(tmp_path / "home")
    assert register_enrolment(home, folder, development=development, seconds=0.5) is None
    with monitoring(broker, home, [unique]), closing(RegistryView.of(home, folder)) as view:
        kid = folder.key("enrol").kid

        def rights() -> EnrolmentGrant | None:
            view.refresh()
            row = view.tables.keys.get(kid)
            return None if row is None else row.enrolment

        grant = wait_until(rights, "the enrolment key")
    assert grant is not None
    assert grant.attributes.offers == offers
