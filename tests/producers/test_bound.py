"""A service that is bound to a person: its checks, the policies and rates of both, the vault, and the end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from producers.client import AsyncClient, BoundClient, Client, DeniedError, NotBindableError, UnboundError
from producers.home.clock import clock_ms
from producers.kafka.connection import Connection
from schemas.reasons import Reason
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed
from tests.producers.crowd import ask, desk_of, people, policy_of, publish
from tests.waiting import wait_until

pytestmark = pytest.mark.broker

USERS = ["ann", "bob", "cid"]


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with desk_of(broker, tmp_path_factory.mktemp("home"), f"q{secrets.token_hex(4)}") as here:
        publish(here, [policy_of("ann"), policy_of("bob"), policy_of("cid", rate_limit=2)])
        yield here


@pytest.fixture(scope="module")
def persons(running: Installation) -> Iterator[dict[str, Client]]:
    found = people(running, [*USERS, "nil"])
    yield found
    for person in found.values():
        person.close()


@pytest.fixture(scope="module")
def service(running: Installation) -> Iterator[Client]:
    with connected(running, "desk") as client:
        yield client


def connected(running: Installation, name: str) -> Client:
    return Client.connect(running.folder.tenant, name, home=running.home)


def reason_of(client: Client | BoundClient, user: str, **how: Any) -> str:
    with pytest.raises(DeniedError) as denied:
        client.invoke(*ask(user), **how)
    return denied.value.reason


def test_two_bindings_of_one_service_do_not_know_each_other(service: Client, persons: dict[str, Client]) -> None:
    """Each calls for its own person, one is unbound while the other goes on, and the service is bound to none."""
    before = dict(vars(service))
    with service.bind_to_user(persons["ann"]) as ann, service.bind_to_user(persons["bob"]) as bob:
        assert (ann.invoke(*ask("ann")), bob.invoke(*ask("bob"))) == ({"user": "ann"}, {"user": "bob"})
        assert {reason_of(ann, "bob"), reason_of(bob, "ann")} == {Reason.PARAM_NOT_ALLOWED}
        ann.unbind()
        assert not ann.is_bound
        assert bob.invoke(*ask("bob")) == {"user": "bob"}
    assert {name: value for name, value in vars(service).items() if value is not before[name]} == {}
    assert (ann.service, ann.user_client) == (service, persons["ann"])


def test_both_must_be_allowed(running: Installation, service: Client, persons: dict[str, Client]) -> None:
    """A person without a policy gets nothing through a service, nor does a service without one through a person."""
    with service.bind_to_user(persons["nil"]) as nil:
        assert reason_of(nil, "nil") == Reason.NO_POLICY
    with connected(running, "idle") as idle, idle.bind_to_user(persons["ann"]) as ann:
        assert reason_of(ann, "ann") == Reason.RESOURCE_NOT_ALLOWED


def test_the_rate_of_the_person_is_charged_whichever_service_calls(
    running: Installation, service: Client, persons: dict[str, Client]
) -> None:
    """Two calls a minute, through two services; the services' other users are not slowed."""
    with connected(running, "annex") as annex:
        with service.bind_to_user(persons["cid"]) as here, annex.bind_to_user(persons["cid"]) as there:
            assert (here.invoke(*ask("cid")), there.invoke(*ask("cid"))) == ({"user": "cid"},) * 2
            assert reason_of(here, "cid") == reason_of(there, "cid") == Reason.RATE_LIMITED
        with service.bind_to_user(persons["ann"]) as ann:
            assert ann.invoke(*ask("ann")) == {"user": "ann"}


def test_a_narrower_scope_holds(service: Client, persons: dict[str, Client]) -> None:
    """The person may allow the service less than both may do."""
    with service.bind_to_user(persons["ann"], operations=["held"]) as ann:
        assert reason_of(ann, "ann") == Reason.DELEGATION_SCOPE
    with service.bind_to_user(persons["ann"], resources=["tool:office/whose"]) as ann:
        assert ann.invoke(*ask("ann")) == {"user": "ann"}


def test_after_unbind_nothing_is_sent_and_the_delegation_is_dead(service: Client, persons: dict[str, Client]) -> None:
    """By this object, with the next step in the error; and by its id, which the log knows as revoked."""
    ann = service.bind_to_user(persons["ann"])
    ann.unbind()
    ann.unbind()

    asked = [
        lambda: ann.invoke(*ask("ann")),
        lambda: ann.submit(*ask("ann")),
        lambda: ann.start(*ask("ann")),
        lambda: ann.begin(*ask("ann")),
        lambda: ann.context_set("k", 1),
        lambda: ann.context_get("k"),
        lambda: ann.context_entry("k"),
        lambda: ann.context_delete("k"),
        lambda: ann.context_list("k"),
    ]
    for use in asked:
        with pytest.raises(RuntimeError, match="call bind_to_user on the service's client again") as raised:
            use()
        assert isinstance(raised.value, UnboundError)
    assert reason_of(service, "ann", delegation=ann.delegation) == Reason.DELEGATION_REVOKED
    [row] = [one for one in persons["ann"].list_delegations()["granted"] if one["delegation"] == ann.delegation]
    assert row["revoked"]


def test_the_vault_of_a_bound_client_is_the_persons(service: Client, persons: dict[str, Client]) -> None:
    """Not the service's, and not the one of another person."""
    with service.bind_to_user(persons["ann"]) as ann, service.bind_to_user(persons["bob"]) as bob:
        version = ann.context_set("plan", {"step": 1})
        assert ann.context_entry("plan").author == "user:ann"
        assert persons["ann"].context_get("plan") == ann.context_get("plan") == {"step": 1}
        assert (bob.context_get("plan"), service.context_get("plan")) == (None, None)
        assert ann.context_list() == [("plan", version)]
        ann.context_delete("plan", expected=version)


def test_only_a_service_and_a_person_of_one_tenant_with_open_sessions_are_bound(
    running: Installation, service: Client, persons: dict[str, Client], broker: BrokerInfo, tmp_path: Path
) -> None:
    """Nothing is sent, and the error says which of them is wrong."""
    ann = persons["ann"]
    over, gone = people(running, ["over"])["over"], connected(running, "annex")
    over.close_session()
    gone.close()
    key = running.folder.keys.load(running.folder.key_file("agent", "annex"))
    registered = Client(Connection(running.home, running.folder, key, "annex"))
    wrong = {
        "user:ann is a person": (ann, persons["bob"]),
        "annex is not a person": (service, registered),
        "desk is not a person": (service, service),
        "user:over has no open session": (service, over),
        "of annex has no open session": (gone, ann),
        "client of annex has no open session": (registered, ann),
    }
    for why, (one, other) in wrong.items():
        with pytest.raises(NotBindableError, match=why):
            one.bind_to_user(other)
    with installed(broker, tmp_path, f"z{secrets.token_hex(4)}", development=True) as elsewhere:
        stranger = people(elsewhere, ["ann"])["ann"]
        with pytest.raises(NotBindableError, match="connect the service to the user's tenant"):
            service.bind_to_user(stranger)
        stranger.close()
    over.close()
    registered.close()


def test_a_bound_call_names_no_other_delegation(service: Client, persons: dict[str, Client]) -> None:
    """The person's own would be dropped in silence otherwise."""
    with service.bind_to_user(persons["ann"]) as ann, pytest.raises(NotBindableError, match="its own delegation"):
        ann.invoke(*ask("ann"), delegation="0" * 64)


def test_the_end_of_the_persons_client_is_the_end_of_its_bindings(running: Installation, service: Client) -> None:
    """Closed, or its session ended: the delegation would outlive both."""
    for end in (Client.close, Client.close_session):
        ann = people(running, ["ann"])["ann"]
        bound = service.bind_to_user(ann)
        assert bound.invoke(*ask("ann")) == {"user": "ann"}
        end(ann)
        assert not bound.is_bound
        with pytest.raises(UnboundError):
            bound.invoke(*ask("ann"))
        assert reason_of(service, "ann", delegation=bound.delegation) == Reason.DELEGATION_REVOKED
        bound.unbind()
        ann.close()


def test_a_binding_ends_with_the_session_where_its_end_is_known(running: Installation, service: Client) -> None:
    """Else after an hour."""
    opened = people(running, ["ann"])["ann"]
    known = Client(opened.connection, session_ends_at=clock_ms() + 60_000)
    for client, seconds in ((known, 60), (opened, 3600)):
        with service.bind_to_user(client) as bound:
            [row] = [one for one in client.list_delegations()["granted"] if one["delegation"] == bound.delegation]
            left = row["expires_at"] - clock_ms()
            assert seconds * 1000 - 30_000 < left <= seconds * 1000
    opened.close()


def test_a_task_that_is_cancelled_leaves_no_binding(
    service: Client, persons: dict[str, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its delegation is revoked as soon as it is granted."""
    made, bind = list[BoundClient](), Client.bind_to_user

    def noting(*given: Any, **scope: Any) -> BoundClient:
        made.append(bind(*given, **scope))
        return made[-1]

    monkeypatch.setattr(Client, "bind_to_user", noting)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(AsyncClient(service).bind_to_user(persons["bob"]), 0.001)

    asyncio.run(give_up())
    wait_until(lambda: not made[0].is_bound and not persons["bob"]._bound, "still bound")
    assert reason_of(service, "bob", delegation=made[0].delegation) == Reason.DELEGATION_REVOKED
