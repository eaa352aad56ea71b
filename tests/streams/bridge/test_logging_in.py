"""People log in with a real provider, through a bridge, on a real log; and none who should not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Producer, TopicPartition

from macaw.installation.providers import say_of_provider
from macaw.installation.rotation import rotate_key
from macaw.installation.tenancy import register_agent, revoke_principal
from processors.proof.sealing import PAYLOAD_HEADER
from producers.client import DeniedError, NoBridgeError, NotATokenError, RefusedError, SessionRefusedError
from producers.identity import RemoteIdentityProvider
from producers.kafka.link import logins_of
from producers.tools import tool
from schemas import topics
from schemas.events.attributes import Attributes
from schemas.events.logins import LoginAnswer
from schemas.events.providers import IdentityProviderDistrusted
from schemas.records import SessionOpened
from streams.bridge.answering import LoginAnswers
from streams.local.choose import BrokerInfo
from tests.builders import keys_of
from tests.cli.commands import Ran, run
from tests.installation import installed
from tests.streams.bridge.office import Office, opened, reader
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker

POLICIES = [
    '{"policy_id": "company:FinTech Corp", "resources": ["tool:desk/*"]}',
    '{"policy_id": "user:bob@fintech.example", "denied_resources": ["tool:desk/secret"], "resources": ["tool:desk/*"]}',
]


class Desk:
    """Tools of the office."""

    @tool
    def balance(self) -> dict[str, str]:
        """Read the balance."""
        return {"balance": "12"}

    @tool
    def secret(self) -> dict[str, str]:
        """Read a secret."""
        return {"secret": "9"}


@pytest.fixture(scope="module")
def office(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with opened(broker, tmp_path_factory.mktemp("office"), POLICIES, desk=Desk()) as made:
        yield made


def test_a_person_acts_with_what_the_provider_says(office: Office) -> None:
    """Alice and Bob have one provider and one company; what the policies of each say, counts for each."""
    with office.login() as alice, office.login(office.token("bob")) as bob:
        assert alice.invoke("tool:desk/secret", {}) == {"secret": "9"}
        assert bob.invoke("tool:desk/balance", {}) == {"balance": "12"}
        with pytest.raises(DeniedError):
            bob.invoke("tool:desk/secret", {})
        assert alice.expires_at is not None
        assert alice.expires_at <= (time.time() + 300) * 1000 + 2000
        assert alice.session_id != bob.session_id


def test_no_token_stands_on_any_topic_in_the_clear(office: Office) -> None:
    """Nor on the topic of logins, where it is sealed."""
    token = office.token()
    office.login(token).close()

    places = [
        TopicPartition(topic.of(office.tenant), partition, OFFSET_BEGINNING)
        for topic in topics.TENANT_TOPICS
        for partition in range(topic.partitions)
    ]
    read, ends = 0, 0
    with closing(reader(office.here)) as consumer:
        consumer.assign(places)
        while ends < len(places):
            message = consumer.poll(10)
            assert message is not None
            if message.error() is not None:
                assert message.error().name() == "_PARTITION_EOF"
                ends += 1
                continue
            whole = (message.value() or b"") + b"".join(v or b"" for _, v in message.headers() or [])
            assert not any(part.encode() in whole for part in token.split("."))
            read += 1
    assert read > 10


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: t[:-6] + ("AAAAAA" if t[-6:] != "AAAAAA" else "BBBBBB"), {"TOKEN_SIGNATURE", "TOKEN_BASE64"}),
        (lambda t: ".".join([*t.split(".")[:2], ""]), {"TOKEN_SIGNATURE", "TOKEN_NOT_COMPACT"}),
    ],
)
def test_a_spoilt_token_is_refused_and_stands_on_the_log(office: Office, spoil: Any, reason: set[str]) -> None:
    text = spoil(office.token())
    try:
        code = office.refused(text)
    except NotATokenError:
        return
    assert code in reason

    def told() -> bool:
        bodies = [event.body for _, event in office.intake()]
        return any(type(one).__name__ == "LoginRefused" and one.reason == code for one in bodies)

    wait_until(told, "the refusal does not stand on the log")


def test_an_expired_token_is_refused(office: Office) -> None:
    """Its own code; nothing is opened."""
    from tests.identity_tokens.minting import token

    assert office.refused(token(iss=office.idp.issuer)).startswith("TOKEN_")


def test_a_rotated_key_is_fetched_and_one_that_left_counts_no_longer(office: Office) -> None:
    old = office.token()
    office.login(old).close()
    office.idp.rotate()
    office.login(office.token()).close()
    office.login(old).close()


def test_a_provider_that_is_down_stops_no_login_with_known_keys(office: Office) -> None:
    token = office.token()
    office.idp.stop()
    try:
        office.login(token).close()
    finally:
        office.idp.start()


def test_a_session_lives_on_with_a_newer_token(office: Office) -> None:
    with office.login(session_ttl_ms=20_000) as alice:
        before = alice.expires_at
        assert before is not None
        assert alice.renew(office.token()) > before
        assert alice.invoke("tool:desk/balance", {}) == {"balance": "12"}
        with pytest.raises(SessionRefusedError, match="LOGIN_CHANGED"):
            alice.renew(office.token("bob"))


def test_a_client_stays_logged_in_with_what_the_provider_renews(office: Office) -> None:
    """In the background, until the provider ends the login: that is told once."""
    idp, lost = office.idp, threading.Event()
    provider = RemoteIdentityProvider(
        idp.issuer, client_id=idp.client_id, client_secret=idp.client_secret, scopes="openid", home=office.here.home
    )
    login = provider.login("alice", idp.people["alice"].password)
    with office.login(login.access_token, session_ttl_ms=20_000) as alice:
        before = alice.expires_at or 0
        kept = alice.stay_logged_in(provider, replace(login, ends_at=0.0), on_lost=lambda _: lost.set())
        wait_until(lambda: (alice.expires_at or 0) > before + 20_000, "a renewed session", pause=0.1)
        kept.stop()
        assert not lost.is_set()


def test_programs_are_listed_and_unregistered_at_a_terminal(office: Office, terminal: Callable[..., Ran]) -> None:
    terminal("agent", "register", "porter", "--role", "carrier")
    [porter, desk] = json.loads(terminal("agent", "list", "--json").out)
    assert (porter["agent_id"], porter["metadata"], desk["agent_id"]) == ("porter", {"roles": ["carrier"]}, "desk")
    assert "porter" not in terminal("agent", "list", "--for", "tool").out
    assert json.loads(terminal("agent", "show", "desk").out)["tools"].keys() >= {"tool:desk/balance"}
    terminal("agent", "unregister", "porter")
    assert "no agent" in terminal("agent", "show", "porter", status=1).err


def test_programs_are_found_by_those_who_may_read_the_registry(office: Office) -> None:
    """Newest first, with their tools; the revoked and the unknown are not told."""
    register_agent(office.here.home, office.here.folder, "clerk", attributes={"roles": ["clerk"]})
    with office.login() as alice:
        assert [one["agent_id"] for one in alice.list_agents()] == ["clerk", "desk"]
        assert [one["agent_id"] for one in alice.list_agents("tool")] == ["desk"]
        assert alice.get_agent_info("desk")["tools"].keys() == {"tool:desk/balance", "tool:desk/secret"}
        assert alice.get_agent_info("clerk")["metadata"] == {"roles": ["clerk"]}
        assert alice.get_agent_info("nobody") is None
        revoke_principal(office.here.home, office.here.folder, "clerk", reason="left")
        assert alice.get_agent_info("clerk") is None


def test_a_login_that_is_sent_twice_opens_one_session(office: Office) -> None:
    """As a writer of the topic could who kept it, or a producer that repeats itself."""
    topic = topics.LOGINS.of(office.tenant)
    with office.login() as alice:
        consumer = reader(office.here)
        with closing(consumer):
            _, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=PATIENCE_SECONDS)
            consumer.assign([TopicPartition(topic, 0, high - 1)])
            message = consumer.poll(10)
        assert message is not None
        headers = [(PAYLOAD_HEADER, dict(message.headers() or [])[PAYLOAD_HEADER])]
        producer = Producer({"bootstrap.servers": office.here.broker.bootstrap})
        producer.produce(topic, message.value(), key=message.key(), partition=0, headers=headers)
        producer.flush(PATIENCE_SECONDS)
        time.sleep(1)
        opened = [e for _, e in office.intake() if isinstance(e.body, SessionOpened)]
        assert alice.invoke("tool:desk/balance", {}) == {"balance": "12"}
        assert sum(e.body.principal_id == "user:alice@fintech.example" for e in opened) >= 2  # one of them refused


def test_no_record_of_a_client_stops_the_logins_of_others(office: Office) -> None:
    """484 bytes that inflate to more than a bridge reads, came back with every fetch before Kafka refused them."""
    for content in (b"", b"garbage", bytes(20_000_000)):
        bomber = Producer(
            {
                "bootstrap.servers": office.here.broker.bootstrap,
                "message.max.bytes": 50_000_000,
                "compression.type": "zstd",
            }
        )
        bomber.produce(topics.LOGINS.of(office.tenant), content, partition=0)
        bomber.flush(PATIENCE_SECONDS)
    office.login().close()


def test_a_crowd_of_answers_is_not_lost_for_being_a_crowd(office: Office) -> None:
    """As after a start of the bridge: everything that waits for the broker goes in one batch, and Kafka bounds that."""
    folder, mine = office.here.folder, keys_of("a crowd")
    key = folder.keys.load(folder.key_file("bridge", "main"))
    told = LoginAnswer(outcome="refused", reason="TOKEN_EXPIRED", detail="")
    with closing(reader(office.here)) as consumer:
        place = TopicPartition(topics.LOGIN_ANSWERS.of(office.tenant), topics.keyed_partition(mine.kid))
        _, before = consumer.get_watermark_offsets(place, timeout=PATIENCE_SECONDS)
        answers = LoginAnswers(office.here.broker.bootstrap, tenant=office.tenant, genesis=folder.genesis, key=key)
        for number in range(300):
            answers.give(mine.kid, mine.sealing.public, number.to_bytes(32, "big"), told)
        answers.close()
        assert consumer.get_watermark_offsets(place, timeout=PATIENCE_SECONDS)[1] == before + 300


def test_without_trust_nobody_logs_in(office: Office) -> None:
    """The trust ends by an admin's event, which clients follow; a bridge takes it up again within two seconds."""
    token = office.token()
    say_of_provider(
        office.here.home,
        office.here.folder,
        IdentityProviderDistrusted(issuer=office.idp.issuer, end_sessions=False, reason="a test"),
    )
    try:
        with pytest.raises(NoBridgeError, match="macaw idp trust"):  # no bridge gets to read the token
            office.login(token)
    finally:
        office.trust()
    time.sleep(2.5)
    office.login(token).close()


def test_a_bridge_whose_key_was_rotated_goes_on_with_the_new_one(office: Office) -> None:
    """By itself: `macaw key rotate bridge main` says that everything runs meanwhile."""
    folder = office.here.folder
    rotated = rotate_key(office.here.home, folder, folder.key_file("bridge", "main"), reason="a test")
    assert rotated.old != rotated.new
    office.login(seconds=PATIENCE_SECONDS).close()


def test_another_tenant_has_nothing_of_a_login(office: Office, tmp_path: Path, unique: str) -> None:
    """A token of this company's provider opens nothing at a tenant that does not trust it."""
    with (
        installed(office.here.broker, tmp_path, unique) as other,
        logins_of(other.home, other.folder) as logins,
        pytest.raises(NoBridgeError),
    ):
        logins.open(office.token(), seconds=5)


# ---- at a terminal


@pytest.fixture
def terminal(office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Commands in the office's installation, which must succeed."""
    monkeypatch.setenv("MACAW_HOME", str(office.here.home.path.parent))

    def ran(*argv: str, status: int = 0) -> Ran:
        found = run(capsys, *argv, "--tenant", office.tenant)
        assert found.status == status, found.err
        return found

    return ran


def test_a_person_logs_in_acts_and_logs_out_at_a_terminal(
    office: Office, terminal: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a password; the session's key stays here, and the token does not."""
    alice = office.idp.people["alice"]
    monkeypatch.setattr("getpass.getpass", lambda _: alice.password)
    client = ("--client-id", office.idp.public_client_id)
    told = terminal("login", office.idp.issuer, *client, "--username", "alice")
    assert f"as user:{alice.email} until" in told.err
    [row] = json.loads(terminal("whoami", "--json").out)
    assert (row["principal"], row["standing"], row["issuer"]) == (f"user:{alice.email}", "open", office.idp.issuer)
    called = terminal("invoke", "tool:desk/balance", "--as", row["principal"])
    assert json.loads(called.out) == {"balance": "12"}
    files = [path for path in office.here.home.path.rglob("*") if path.is_file()]
    assert not any(alice.password.encode() in path.read_bytes() for path in files)
    # Only the refresh token is kept, which this provider makes a JWT.
    assert {path.suffix for path in files if b"eyJ" in path.read_bytes()} == {".login"}

    assert "is logged out: its session is closed" in terminal("logout").err
    assert json.loads(terminal("whoami", "--json").out) == []
    assert "nobody is logged in here" in terminal("logout", status=1).err


def test_a_session_that_ends_soon_is_renewed_by_the_next_command(
    office: Office, terminal: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kept refresh token; where the session has ended another one is opened."""
    monkeypatch.setattr("getpass.getpass", lambda _: office.idp.people["bob"].password)
    client = ("--client-id", office.idp.public_client_id)
    terminal("login", office.idp.issuer, *client, "--username", "bob", "--minutes", "1")
    [before] = json.loads(terminal("whoami", "--json").out)
    terminal("invoke", "tool:desk/balance", "--as", before["principal"])
    [after] = json.loads(terminal("whoami", "--json").out)
    assert after["expires_at"] > before["expires_at"] + 60_000
    terminal("logout")


def test_a_token_from_elsewhere_logs_in(office: Office, terminal: Callable[..., Ran], tmp_path: Path) -> None:
    """And nothing that is no token; the message shows none of it."""
    file = tmp_path / "token"
    file.write_text(office.token())
    terminal("login", "--token-file", str(file))
    assert terminal("logout", "--as", "user:alice@fintech.example", "--json").out.startswith('{"')
    file.write_text("hunter2 is no token")
    refused = terminal("login", "--token-file", str(file), status=1)
    assert "hunter2" not in refused.err + refused.out


def test_a_workload_logs_in_with_its_own_name_and_what_the_trust_fixes(office: Office) -> None:
    """One server is not two providers: its names are those of its first trust, for ever."""
    with pytest.raises(RefusedError, match="PROVIDER_CONFLICT"):
        office.trust(subjects="workload", namespace="ci", name_pattern="workload:ci/*", attributes=Attributes())
