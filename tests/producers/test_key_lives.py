"""The whole life of a tenant with its keys under a passphrase, in the system's keyring, and on a token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from macaw.cli import main
from macaw.installation.development import open_person_session
from macaw.installation.registrations import register_with_admin
from macaw.installation.rotation import rotate_sealing
from macaw.installation.tenancy import publish_policies, register_agent, renew_enrolment, revoke_principal
from producers.client import Client, DeniedError
from producers.home.keys import KeyPair
from producers.home.keystores import token_session
from producers.home.keystores.stores import NEW
from producers.home.keystores.token_store import TokenSigningKey
from producers.kafka.sealing_rotation import RotationBusyError
from streams.local.choose import BrokerInfo
from streams.worker.monitor import build_fold
from tests.installation import Installation, installed, monitoring
from tests.passphrase_keys import PASSPHRASE, secret
from tests.paying import PAYER, Bank
from tests.softhsm import PIN, SoftHSM
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture(params=["passphrase", "hsm", "keyring"])
def section(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    """The section `keys` of an installation whose keys all go to one store."""
    match request.param:
        case "hsm":
            softhsm: SoftHSM = request.getfixturevalue("softhsm")
            softhsm.token("macaw")
            # A session's key never lies on a token.
            return {"default": "hsm", "tokens": {"hsm": softhsm.uri("token=macaw")}}
        case "keyring":
            request.getfixturevalue("keyring_service")
            return {"default": "keyring"}
        case _:
            secret(tmp_path / "passphrase")
            return {"default": "passphrase", "passphrase": f"file:{tmp_path / 'passphrase'}"}


def configured(base: Path, section: dict[str, object]) -> Path:
    (base / ".macaw").mkdir(parents=True)
    (base / ".macaw" / "config.json").write_text(json.dumps({"keys": section}))
    return base


def in_the_clear(base: Path) -> Iterator[Path]:
    """Yield the files with a private key that nothing protects."""
    return (path for path in base.rglob("*") if path.is_file() and b"BEGIN PRIVATE KEY" in path.read_bytes())


def test_a_tenants_life(
    broker: BrokerInfo,
    tmp_path: Path,
    unique: str,
    section: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Founded, registered, called, restarted, renewed, revoked, verified and replayed; no log line holds a secret."""
    base, bank = configured(tmp_path / "home", section), Bank()
    with installed(broker, base, unique, development=True) as here:
        home, folder = here.home, here.folder
        agent = register_agent(home, folder, "shopper", attributes={"roles": ["payer"]})
        register_with_admin(home, folder, "approver", "cashier", {"roles": ["cashier"]})
        register_agent(home, folder, "nobody", attributes={})
        open_person_session(home, folder, "ann", {"user": "ann", "roles": ["payer"]}, ttl_ms=60_000)
        publish_policies(home, folder, [json.dumps(PAYER)], {})
        call(here, bank, [1, 2])
        old = folder.key("enrol").kid
        renew_enrolment(home, folder)
        assert folder.key("enrol").kid != old
        assert register_agent(home, folder, "shopper", attributes={"roles": ["payer"]}).kid == agent.kid
        [aside] = revoke_principal(home, folder, "nobody", reason="left")
        assert folder.keys.facts(aside).store == section["default"]
    with monitoring(broker, home, [unique]):  # started again: the state's head is that of the same key
        call(here, bank, [3])
        monkeypatch.setenv("MACAW_HOME", str(base))
        evidence = str(tmp_path / "evidence")
        assert main(["audit", "export", evidence, "--tenant", unique]) == 0
        assert main(["audit", "verify", evidence, "--allow-unwitnessed", "--tenant", unique]) == 0
        assert main(["replay", "--tenant", unique]) == 0

    assert bank.paid == [1, 10, 2, 20, 3, 30]
    sessions = [folder.key_file("session", "ann")] if section["default"] == "hsm" else []
    assert list(in_the_clear(base)) == sessions
    assert not [line for line in caplog.text.splitlines() if PIN in line or PASSPHRASE in line]
    assert "rebuilt" not in caplog.text


def call(here: Installation, bank: Bank, amounts: list[int]) -> None:
    tenant, home = here.folder.tenant, here.home
    with (
        here.hosting("bank", bank),
        Client.connect(tenant, "shopper", home=home) as agent,
        Client.for_person(tenant, "ann", home=home) as person,
    ):
        for amount in amounts:
            assert agent.invoke("tool:bank/pay", {"number": amount}) == {"paid": amount}
            assert person.invoke("tool:bank/pay", {"number": 10 * amount}) == {"paid": 10 * amount}
        with pytest.raises(DeniedError):
            agent.invoke("tool:bank/close", {})


def test_a_key_in_the_keyring_is_rotated_twice_and_the_successor_of_an_admin_is_left_alone(
    broker: BrokerInfo, tmp_path: Path, unique: str, keyring_service: object
) -> None:
    """Each half opens until the next one is in its place; the tool's calls go on, also beside an admin's rotation."""
    base, bank = configured(tmp_path / "home", {"default": "keyring"}), Bank()
    with installed(broker, base, unique) as here:
        home, folder = here.home, here.folder
        register_agent(home, folder, "shopper", attributes={"roles": ["payer"]})
        publish_policies(home, folder, [json.dumps(PAYER)], {})
        with here.hosting("bank", bank), Client.connect(unique, "shopper", home=home) as agent:
            path = folder.key_file("tool", "bank")
            new, seen = path.with_name(path.name + NEW), [folder.keys.load(path).sealing.public]
            for amount in (1, 2):
                assert rotate_sealing(home, folder, path, reason="planned").new == folder.keys.load(path).kid
                seen.append(folder.keys.load(path).sealing.public)
                assert agent.invoke("tool:bank/pay", {"number": amount}) == {"paid": amount}
            folder.keys.put(new, KeyPair.generate(), "keyring")
            with pytest.raises(RotationBusyError):
                rotate_sealing(home, folder, path, reason="planned")
            assert new.exists()
            folder.keys.discard(new)
            assert folder.keys.load(path).sealing.public == seen[-1]
            folder.keys.move(path, "keyring")
            assert agent.invoke("tool:bank/pay", {"number": 3}) == {"paid": 3}
    assert len(set(seen)) == 3


def test_a_monitor_whose_token_goes_signs_nothing_and_goes_on_when_it_is_back(
    broker: BrokerInfo, tmp_path: Path, unique: str, softhsm: SoftHSM
) -> None:
    """The tenant pauses with the sentence of the token; a call that waits is answered afterwards, once."""
    softhsm.token("macaw")
    section = {"roles": {"monitor": "hsm"}, "tokens": {"hsm": softhsm.uri("token=macaw")}}
    base, bank = configured(tmp_path / "home", section), Bank()
    with installed(broker, base, unique) as here:
        register_agent(here.home, here.folder, "shopper", attributes={"roles": ["payer"]})
        publish_policies(here.home, here.folder, [json.dumps(PAYER)], {})
        assert isinstance(here.folder.key("monitor").signing, TokenSigningKey)
        with here.hosting("bank", bank), Client.connect(unique, "shopper", home=here.home) as agent:
            assert agent.invoke("tool:bank/pay", {"number": 1}) == {"paid": 1}
            [token] = (softhsm.folder / "tokens").iterdir()
            token.rename(softhsm.folder / "away")
            with token_session._LIBRARY:
                softhsm.read_again()
            future = agent.submit("tool:bank/pay", {"number": 2})
            with pytest.raises(TimeoutError):
                future.result(8)
            (softhsm.folder / "away").rename(token)
            with token_session._LIBRARY:
                softhsm.read_again()
            assert future.result(PATIENCE_SECONDS).result.outcome == "ok"
    assert bank.paid == [1, 2]


def test_the_secret_of_the_state_is_not_the_tokens_key(softhsm: SoftHSM, tmp_path: Path) -> None:
    """It lies in a file of its own, so that a restart fits, whether a token answers or another key signs."""
    from macaw.installation.monitored import monitored
    from producers.home.home import Home

    softhsm.token("macaw")
    section = {"default": "hsm", "tokens": {"hsm": softhsm.uri("token=macaw")}}
    home = Home.open(configured(tmp_path / "home", section))
    folder = home.tenant("acme")
    made = folder.keys.create(folder.path / "monitor.key", "monitor")
    (folder.path / "genesis").write_text("00" * 32)
    folds = []
    for _ in range(2):
        softhsm.read_again()
        found = monitored(home, "acme")
        assert found is not None
        folds.append(build_fold(found))

    assert folds[0].state.head(1, bytes(32)) == folds[1].state.head(1, bytes(32))
    assert folds[0].signatory.keys.first.kid == made.kid


def test_a_monitor_with_another_key_than_the_registrys_is_told_at_its_start(
    broker: BrokerInfo, tmp_path: Path, unique: str, softhsm: SoftHSM, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a token was exchanged, or a file came from another tenant's backup."""
    softhsm.token("macaw")
    section = {"roles": {"monitor": "hsm"}, "tokens": {"hsm": softhsm.uri("token=macaw")}}
    base = configured(tmp_path / "home", section)
    with installed(broker, base, unique) as here:
        register_agent(here.home, here.folder, "shopper", attributes={})
    path = here.folder.path / "monitor.key"
    path.rename(path.with_suffix(".right"))
    other = here.folder.keys.create(path, "monitor")
    caplog.clear()
    with monitoring(broker, here.home, [unique]) as monitor:
        wait_until(
            lambda: other.kid.hex()[:16] in caplog.text + str(monitor.paused),
            lambda: f"{caplog.text} {monitor.paused}",
            pause=0.1,
        )
    assert other.kid.hex()[:16] in caplog.text


def test_keys_are_listed_with_what_the_log_says_of_them(
    broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Since when each counts, and that one was revoked by another installation."""
    base = tmp_path / "home"
    with installed(broker, base, unique) as here:
        register_agent(here.home, here.folder, "shopper", attributes={})
        register_agent(here.home, here.folder, "leaver", attributes={})
        path = here.folder.key_file("agent", "leaver")
        text = path.read_bytes()
        revoke_principal(here.home, here.folder, "leaver", reason="left")
        path.write_bytes(text)
        path.chmod(0o600)
        monkeypatch.setenv("MACAW_HOME", str(base))
        assert main(["key", "list", "--from-log", "--json", "--tenant", unique]) == 0
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
        assert main(["key", "list", "--from-log", "--tenant", unique]) == 0

    assert {name: row["status"] for name, row in rows.items()} == {
        "admin": "active",
        "enrol": "active",
        "monitor": "active",
        "next-root": "not registered",  # the log has its digest alone
        "root": "active",
        "agents/leaver": "revoked",
        "agents/shopper": "active",
    }
    assert rows["agents/leaver"]["until"] >= rows["agents/leaver"]["since"] > 0
