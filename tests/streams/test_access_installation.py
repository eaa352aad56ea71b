"""A whole installation under the access rules: every process with its own credentials, by the commands of a user."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator

import pytest

from producers.client import Client, DeniedError
from producers.home.home import Home
from streams.local.jars import choose_cache, why_no_kafka
from tests.cli.test_by_hand import EXAMPLES, PAYER, Terminal
from tests.streams.secured_world import SecuredWorld, secured_world

pytestmark = [pytest.mark.broker, pytest.mark.real_broker("access rules are Kafka's authorizer's")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredWorld]:
    if why_no_kafka(choose_cache(os.environ)) is not None:
        pytest.skip("an authorizer needs Apache Kafka from jars: install Java and Maven")
    names = (f"{side}{secrets.token_hex(3)}" for side in ("left", "right", "whole"))
    with secured_world(tmp_path_factory.mktemp("secured"), *names) as made:
        yield made


def terminal(world: SecuredWorld, user: str) -> Terminal:
    return Terminal(world.home(user).path.parent)


@pytest.mark.timeout(300)
def test_a_whole_installation_works_and_nobody_has_more_than_its_role(
    world: SecuredWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    """Monitor, views, tool host, admin, agent and exporter on one cluster, each with what its role may do."""
    own = world.whole
    founder, admin = terminal(world, f"{own}-founder"), terminal(world, f"{own}-admin")
    monitor, views = terminal(world, "monitor"), terminal(world, "views")
    bank, agent = terminal(world, f"{own}-bank"), terminal(world, f"{own}-agent")
    everybody = (founder, admin, monitor, views, bank, agent)

    with monitor.serving(["monitor"], "") as deciding, views.serving(["views"], "the views listen"):
        assert deciding.process.poll() is None
        founder.run("tenant", "create", own)
        admin.run("agent", "register", "shopper", "--role", "payer")
        admin.run("policy", "publish", PAYER)
        with bank.serving(["tool", "serve", f"bank={EXAMPLES / 'tools' / 'bank.py'}"], "bank serves"):
            pay(agent, own)
        sessions = json.loads(views_home_of(agent, views).run("sessions", "--json"))
        assert [s["principal_id"] for s in sessions] == ["shopper"] * len(sessions) != []
        assert sum(s["calls"] for s in sessions) > 0  # the views read decisions, by their own rule
        admin.run("audit", "export", str(world.base / "evidence"))
        admin.run("audit", "verify", str(world.base / "evidence"), "--allow-unwitnessed")
        assert "every byte the same" in admin.run("replay")
        refuse_what_no_role_has(agent, bank)
        founder.run("topic", "check")
    shown = "".join(line for each in everybody for line in each.shown) + "".join(capfd.readouterr())
    for user in ("monitor", "views", *(f"{own}-{name}" for name in ("founder", "admin", "bank", "agent"))):
        assert world.broker.password(user) not in shown


def pay(agent: Terminal, tenant: str) -> None:
    """Call as an agent does, on the command line and from Python."""
    transfer = ["invoke", "tool:bank/transfer", "--as", "shopper", "--params"]
    assert json.loads(agent.run(*transfer, '{"to": "bob", "amount": 25}')) == {"sent": 25, "to": "bob"}
    agent.run(*transfer, '{"to": "eve", "amount": 25}', status=1)
    with Client.connect(tenant, "shopper", home=Home.open(agent.folder)) as client:
        assert client.invoke("tool:bank/balance", {"account": "bob"}) == 25.0
        with pytest.raises(DeniedError):
            client.invoke("tool:bank/transfer", {"to": "eve", "amount": 1})


def views_home_of(agent: Terminal, views: Terminal) -> Terminal:
    """Tell the agent's machine where the views listen, as an operator would."""
    address = Home.open(views.folder).config["views"]
    Home.create(agent.folder, {"views": address})
    return agent


def refuse_what_no_role_has(agent: Terminal, bank: Terminal) -> None:
    """An agent's or tool's credentials open no other door of the command line either."""
    for terminal_, argv in (
        (agent, ("log", "intake")),
        (agent, ("log", "decisions")),
        (bank, ("audit", "export", str(bank.folder / "stolen"))),
        (agent, ("topic", "apply")),
    ):
        said = terminal_.run(*argv, status=1)
        assert "AUTHORIZATION" in said.upper(), said


def test_a_wrong_password_is_refused_and_never_shown(world: SecuredWorld) -> None:
    """Neither the sentence nor any line of a library holds it."""
    wrong = "a-wrong-password-that-nobody-must-see"
    stranger = terminal(world, "stranger")
    (stranger.folder / ".macaw" / "kafka.password").write_text(wrong)
    for argv in (("log", "audit"), ("monitor",), ("tenant", "create", "mine")):
        assert "refuse our login" in stranger.run(*argv, status=1)
    assert wrong not in "".join(stranger.shown)


def test_a_password_file_that_others_may_read_is_refused(world: SecuredWorld) -> None:
    """Before anything is asked of the brokers, and by name."""
    careless = terminal(world, f"{world.left}-agent")
    (careless.folder / ".macaw" / "kafka.password").chmod(0o640)

    said = careless.run("log", "audit", status=1)
    assert "cannot read `sasl.password_file`" in said
    assert "others may read it: run `chmod 600` on it" in said
