"""The ends of logins: a provider's logout ends the sessions of a login or a subject, and refused logins are counted."""

from typing import Any

import pytest

from schemas import limits, topics
from schemas.events.attributes import Attributes
from tests.builders import keys_of, noise
from tests.logins_world import ACME, LOGIN, SUBJECT, Logins, refused, trusted


@pytest.fixture
def world() -> Logins:
    return Logins.opened()


def test_a_logout_ends_the_sessions_of_the_login_and_no_others(world: Logins) -> None:
    """Each has its record, so that hosts hear of each; their delegations end too."""
    world.register("agent", "helper")
    first, second = world.login(), world.login("user:bob")
    other = world.login(login_ref=noise("another login"))
    granted = world.grant_to(first, "helper")
    assert granted.says == ("accepted", "")

    folded = world.logout(login_ref=LOGIN)
    assert folded.says == ("accepted", "")
    ended = sorted([first.kid, second.kid])
    assert [one.key for one in folded.of(topics.SESSIONS)] == [b"ended/" + one.hex().encode() for one in ended]
    assert world.pay(by=first).says == ("refused", "EXPIRED_SESSION")
    assert world.pay(by=other).says == ("allowed", "")
    assert world.tables.delegations.rows[granted.entry.event].revoked
    again = world.logout(login_ref=LOGIN)
    assert (again.says, again.of(topics.SESSIONS)) == (("accepted", ""), [])


def test_a_logout_names_a_login_a_subject_or_both(world: Logins) -> None:
    """With both a session must meet both. Without a match nothing happens: the provider does not know our sessions."""
    alice = world.login(subject_ref=SUBJECT)
    tablet = world.login(login_ref=noise("tablet"), subject_ref=SUBJECT)
    bob = world.login("user:bob", subject_ref=noise("bob"))
    revoked = lambda: [world.tables.sessions.rows[one.kid].revoked for one in (alice, tablet, bob)]  # noqa: E731

    assert world.logout(login_ref=noise("tablet"), subject_ref=noise("bob")).says == ("accepted", "")
    assert world.logout(login_ref=noise("nobody")).says == ("accepted", "")
    assert revoked() == [False, False, False]
    assert world.logout(login_ref=LOGIN, subject_ref=SUBJECT).says == ("accepted", "")
    assert revoked() == [True, False, False]
    assert world.logout(subject_ref=SUBJECT).says == ("accepted", "")
    assert revoked() == [True, True, False]


@pytest.mark.parametrize(
    "refs",
    [{}, {"login_ref": b""}, {"login_ref": bytes(31)}, {"subject_ref": bytes(33)},
     {"login_ref": bytes(32), "subject_ref": b""}],
)  # fmt: skip
def test_a_logout_without_a_whole_digest_is_refused(world: Logins, refs: dict[str, bytes]) -> None:
    """Nothing that names nobody ends anything."""
    world.login()
    assert refused(world, lambda: world.logout(**refs)) == "LOGIN_FORM"


def test_a_bridge_ends_no_login_of_another_issuer(world: Logins) -> None:
    """The same reference at another provider is another login; programs and files have none."""
    world.accepted(trusted("https://b.example", namespace="b", name_pattern="user:b/*"), world.admin)
    other = world.bridge_for("other", "https://b.example")
    alice = world.login()

    assert refused(world, lambda: world.logout(by=other, login_ref=LOGIN)) == "WRONG_ROLE"
    for issuer in ("", "urn:macaw:development", "https://b.example", ACME + "/"):
        assert refused(world, lambda i=issuer: world.logout(issuer=i, login_ref=LOGIN)) == "WRONG_ROLE"
    assert world.logout(by=other, issuer="https://b.example", login_ref=LOGIN).says == ("accepted", "")
    assert not world.tables.sessions.rows[alice.kid].revoked
    for by in (world.admin, world.monitor, alice):
        assert refused(world, lambda by=by: world.logout(by=by, login_ref=LOGIN)) == "WRONG_ROLE"
    # Another bridge of the same issuer may: the provider's word reaches one of them.
    assert world.logout(by=world.bridge_for("second"), login_ref=LOGIN).says == ("accepted", "")
    assert world.tables.sessions.rows[alice.kid].revoked


def test_one_login_has_so_many_sessions_as_one_record_ends(world: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that gives all persons one reference cannot make a record with ten thousand outputs."""
    monkeypatch.setattr(limits, "SESSIONS_PER_PERSON_MAX", 2)
    sessions = [world.login(f"user:{number}") for number in range(2)]
    body = world.provided_session(
        "user:more",
        world.gate,
        keys=keys_of("more"),
        issuer=ACME,
        login_ref=LOGIN,
        attributes=Attributes(company="Acme"),
    )

    assert refused(world, lambda: world.send(body, world.gate)) == "LIMIT_EXCEEDED"
    assert len(world.logout(login_ref=LOGIN).of(topics.SESSIONS)) == len(sessions)


# ---- refused logins


def test_refused_logins_are_counted_on_the_log_and_nothing_else(world: Logins) -> None:
    """Also where no provider was found out, and for one that is not trusted any more."""
    for other in ({}, {"issuer": None}, {"count": 2**31 - 1}, {"reason": "A" * 64}):
        assert world.nothing_changes(lambda o=other: world.refusals(**o)).says == ("accepted", "")
    world.distrust()
    assert world.nothing_changes(world.refusals).says == ("accepted", "")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"reason": ""}, "LOGIN_FORM"),
        ({"reason": "token expired"}, "LOGIN_FORM"),
        ({"reason": "eyJhbGciOiJSUzI1NiJ9"}, "LOGIN_FORM"),
        ({"reason": "1A"}, "LOGIN_FORM"),
        ({"reason": "A" * 65}, "LOGIN_FORM"),
        ({"reason": "A\n"}, "LOGIN_FORM"),
        ({"reason": "\u0391"}, "LOGIN_FORM"),
        ({"login": b""}, "LOGIN_FORM"),
        ({"login": bytes(31)}, "LOGIN_FORM"),
        ({"login": b"alice@acme.example, password: 12345678"}, "LOGIN_FORM"),
        ({"count": 0}, "LOGIN_FORM"),
        ({"count": -1}, "LOGIN_FORM"),
        ({"issuer": "alice's password is 12345678"}, "WRONG_ROLE"),
        ({"issuer": ""}, "WRONG_ROLE"),
    ],
)
def test_no_other_text_gets_onto_the_log_this_way(world: Logins, other: dict[str, Any], reason: str) -> None:
    """A caller chooses the text of a token; the bridge must not be able to pass it on."""
    assert refused(world, lambda: world.refusals(**other)) == reason


def test_only_bridges_note_refused_logins(world: Logins) -> None:
    alice = world.login()
    for by in (world.admin, world.monitor, alice, world.agent):
        assert refused(world, lambda by=by: world.refusals(by=by)) == "WRONG_ROLE"
