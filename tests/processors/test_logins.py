"""Logins: the session's own key signs token, bridge and time, so a bridge can give it to nobody else, and nobody later.

How strong a login was and who made it stands in `workflow/test_strength_of_logins.py` and `workflow/test_actors.py`.
"""

from dataclasses import replace
from typing import Any

import pytest

from processors.identity.issuers import ALL_TRUSTED, DEVELOPMENT_ISSUER
from processors.identity.providers import sponsor_of
from processors.refusal import Refusal
from processors.state.bounds import TenantLimits
from schemas import limits
from schemas.events.attributes import NONE, Attributes
from schemas.events.logins import LoginProof
from tests.builders import Actor, Folded, keys_of
from tests.processors.test_keys_have_a_life import follows
from tests.processors.test_providers import ACME, distrusted, following, login, trust, trusted
from tests.world import HOUR_MS, World

CI = trusted("https://ci.example", namespace="ci", subjects="workload", name_pattern="workload:ci/*")
PARTNER = trusted("https://idp.partner.example", namespace="partner", name_pattern="user:partner/*")
ACCEPTED = ("accepted", "")
MINE = keys_of("mine")


@pytest.fixture
def world() -> World:
    return World.founded("logins", development=False)


# --- the proof


@pytest.mark.parametrize("ahead_ms", [1, limits.LOGIN_MS, limits.LOGIN_AHEAD_MS_MAX])
def test_a_login_holds_until_its_end(world, ahead_ms):
    """Its maker's clock may run a minute ahead, and it may arrive in its last moment."""
    bridge = trust(world, trusted())
    references = {"login_ref": bytes(32), "subject_ref": bytes(range(32))}

    assert login(world, bridge, keys=MINE, login={"expires_at": world.now + ahead_ms}, **references).says == ACCEPTED
    row = world.tables.sessions.rows[MINE.kid]
    assert (row.login_ref, row.subject_ref, row.actors) == (bytes(32), bytes(range(32)), ())
    follows(world)


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        ({"bridge": bytes(32)}, "BAD_POSSESSION"),
        ({"token_sha256": bytes([1] * 32)}, "BAD_POSSESSION"),  # a stolen bridge gives the key to another token
        ({"genesis": bytes(32)}, "BAD_POSSESSION"),
        ({"ed25519": keys_of("else").signing.public}, "BAD_POSSESSION"),
        ({"x25519": keys_of("else").sealing.public}, "BAD_POSSESSION"),
        ({"is_renewal": True}, "BAD_POSSESSION"),
        ({"keys": keys_of("the bridge's own")}, "BAD_POSSESSION"),  # it takes another's key for its token
        ({"nonce": bytes(15)}, "LOGIN_PROOF"),
        ({"nonce": bytes(17)}, "LOGIN_PROOF"),
        ({"nonce": b""}, "LOGIN_PROOF"),
        ({"expires_at": 0}, "LOGIN_EXPIRED"),
        ({"expires_at": 2**63 - 1}, "LOGIN_EXPIRED"),
    ],
)
def test_another_login_opens_nothing(world, signed, reason):
    """Each part of the message counts."""
    bridge = trust(world, trusted())

    assert login(world, bridge, keys=MINE, login=signed).says == ("refused", reason)
    assert not world.tables.sessions.rows


@pytest.mark.parametrize("ahead_ms", [0, -1, -HOUR_MS, limits.LOGIN_AHEAD_MS_MAX + 1, HOUR_MS])
def test_a_login_at_a_wrong_time_says_so(world, ahead_ms):
    """The sentence is about clocks, with the difference: most of these are made by an honest machine."""
    folded = login(world, trust(world, trusted()), login={"expires_at": world.now + ahead_ms})

    assert folded.says == ("refused", "LOGIN_EXPIRED")
    assert "clock" in folded.results[0].detail
    assert str(abs(ahead_ms)) in folded.results[0].detail


@pytest.mark.parametrize(
    "said", [LoginProof(nonce=bytes([1] * 16), expires_at=0), LoginProof(nonce=bytes(16), expires_at=1), None]
)
def test_the_event_says_what_was_signed(world, said):
    """A bridge that writes another nonce or a later end than the session's key signed is found out."""
    bridge = trust(world, trusted())
    opening = world.provided_session("user:alice", bridge, keys=MINE, issuer=ACME)
    if said is not None:
        said = replace(said, expires_at=world.now + limits.LOGIN_MS + said.expires_at)
    reason = "LOGIN_PROOF" if said is None else "BAD_POSSESSION"

    assert world.send(replace(opening, login=said), bridge).says == ("refused", reason)
    plain = world.person_session("user:alice", keys=MINE, issuer=ACME, token_sha256=bytes(32))
    assert world.send(plain, bridge).says == ("refused", "LOGIN_PROOF")
    assert world.send(replace(plain, login=opening.login), bridge).says == ("refused", "BAD_POSSESSION")


def test_a_login_is_used_once_and_at_one_bridge(world):
    """A second key of a bridge, or a second bridge, that saw the message cannot use it; nor can the first one again."""
    bridge = trust(world, trusted())
    second = world.register("bridge", "second", attributes=bridge_of(ACME))
    instance = world.register("bridge", "gate", attributes=bridge_of(ACME))
    opening = world.provided_session("user:alice", bridge, keys=MINE, issuer=ACME, attributes=NONE, ttl_ms=1000)

    for thief in (second, instance):
        assert world.send(opening, thief).says == ("refused", "BAD_POSSESSION")
    assert world.send(opening, bridge).says == ACCEPTED
    assert world.send(opening, bridge).says == ("refused", "KEY_TAKEN")
    world.advance(HOUR_MS)
    assert world.send(opening, bridge).says == ("refused", "LOGIN_EXPIRED")
    assert not world.tables.sessions.rows


def bridge_of(*issuers: str) -> Attributes:
    return Attributes(issuers=issuers)


SET: list[dict[str, Any]] = [
    {"login": LoginProof(nonce=bytes(16), expires_at=0)}, {"methods": ("hwk",)}, {"subject_ref": b""},
    {"login_ref": bytes(32)}, {"actors": ("user:bob",)}, {"token_sha256": b""},
]  # fmt: skip


@pytest.mark.parametrize("late", SET, ids=lambda late: next(iter(late)))
def test_only_a_login_with_a_token_has_the_rest(late):
    """A file of persons and a program's own session say nothing of tokens, methods or actors."""
    world = World.founded("files")
    bridge = world.register("bridge", "file")
    [name] = late
    for opening, by, reason in (
        (world.person_session(keys=MINE), bridge, "NOT_SUPPORTED"),
        (world.session_of(bot := world.register("agent", "bot"), keys=MINE), bot, "WRONG_ROLE"),
    ):
        folded = world.send(replace(opening, **late), by)
        assert folded.says == ("refused", reason)
        assert f"`{name}`" in folded.results[0].detail
        assert world.send(opening, by).says == ACCEPTED
        world.tables.sessions.delete(MINE.kid)


METHODS = [("a",) * 2, ("",), ("x" * 65,), ("a\u200b",), ("a\n",), tuple(map(str, range(17)))]


@pytest.mark.parametrize("methods", METHODS, ids=str)
def test_methods_are_few_short_and_plain(world, methods):
    """People read them; a token that says more is opened without them."""
    bridge = trust(world, trusted())

    assert login(world, bridge, methods=methods).says == ("refused", "LOGIN_METHODS")
    assert login(world, bridge, methods=tuple(map(str, range(16)))).says == ACCEPTED


# --- as others judge it


@pytest.mark.parametrize(("late_ms", "ahead_ms"), [(0, 1), (100_000, 200_000), (299_000, 301_000), (299_000, 418_000)])
def test_a_host_believes_a_login_that_the_log_took_late(world, late_ms, ahead_ms):
    """The record waited in front of the broker, so the times of the event alone would not fit."""
    bridge = trust(world, trusted())
    issued_at, ends_at = world.now, world.now + ahead_ms
    opening = world.provided_session(
        "user:alice", bridge, keys=MINE, issuer=ACME, attributes=NONE, login={"expires_at": ends_at}
    )
    value, headers = world.signed(opening, bridge, issued_at=issued_at)
    world.advance(late_ms)

    assert world.fold(value, headers).says == ACCEPTED
    assert following(world).session(world.records[-1])[1].principal_id == "user:alice"


@pytest.mark.parametrize("ahead_ms", [-10_001, 420_001])
def test_a_host_refuses_a_login_at_no_possible_time(world, ahead_ms):
    """A lying monitor and a stolen bridge together do not make an old login new."""
    bridge = trust(world, trusted())
    login(world, bridge, login={"expires_at": world.now + ahead_ms})

    with pytest.raises(Refusal, match="LOGIN_EXPIRED"):
        following(world).session(world.records[-1])


# --- bridges for every provider


def test_a_bridge_for_all_speaks_for_whom_the_tenant_trusts_now(world):
    """Also for a provider that is trusted later; never for one that is not, nor for a file of persons."""
    gate = world.register("bridge", "all", attributes=bridge_of(ALL_TRUSTED))
    assert login(world, gate).says == ("refused", "UNKNOWN_PROVIDER")
    world.send(trusted(), world.admin)
    world.send(PARTNER, world.admin)

    assert login(world, gate).says == ACCEPTED
    assert login(world, gate, "user:partner/al", issuer=PARTNER.issuer).says == ACCEPTED
    assert login(world, gate, issuer=ALL_TRUSTED).says == ("refused", "UNKNOWN_PROVIDER")
    for none in (None, "", DEVELOPMENT_ISSUER):
        assert login(world, gate, issuer=none).says[1] in {"WRONG_ROLE", "WRONG_PRINCIPAL"}
    world.send(distrusted(), world.admin)
    assert login(world, gate).says == ("refused", "UNKNOWN_PROVIDER")
    follows(world)


def test_a_bridge_for_all_does_not_speak_for_a_file():
    """Not even in a tenant for development, where it has to name the file itself."""
    world = World.founded("files")
    gate = world.register("bridge", "all", attributes=bridge_of(ALL_TRUSTED))
    both = world.register("bridge", "both", attributes=bridge_of(ALL_TRUSTED, DEVELOPMENT_ISSUER))

    assert world.send(world.person_session(keys=MINE), gate).says == ("refused", "WRONG_ROLE")
    assert world.send(world.person_session(keys=MINE), both).says == ACCEPTED


@pytest.mark.parametrize("issuer", ["**", "*.example", "https://*", " *", ""])
def test_only_the_very_text_means_all(world, issuer):
    """A pattern would say more than its author sees."""
    world.send(trusted(), world.admin)
    body = world.registration("bridge", "some", attributes=bridge_of(issuer))
    assert world.send(body, world.admin).says == ("refused", "UNKNOWN_PROVIDER")


# --- workloads


def test_a_workload_is_a_service_of_its_provider(world):
    """Its name and attributes come with the login; no row of persons is made for it."""
    bridge = trust(world, trusted(), CI)
    said = Attributes(company="Acme", roles=("analyst",))

    folded = login(world, bridge, "workload:ci/build", issuer=CI.issuer, attributes=said, keys=MINE)
    assert folded.says == ACCEPTED
    row = world.tables.sessions.rows[MINE.kid]
    assert (row.principal_id, row.role, row.attributes) == ("workload:ci/build", "service", said)
    assert not world.tables.persons.rows
    assert following(world).session(world.records[-1])[1].role == "service"
    follows(world)


@pytest.mark.parametrize(
    ("name", "more", "reason"),
    [
        ("user:alice", {}, "WRONG_PRINCIPAL"),
        ("user:ci/build", {}, "WRONG_PRINCIPAL"),
        ("workload:other/build", {}, "WRONG_PRINCIPAL"),
        ("workload:ci", {}, "WRONG_PRINCIPAL"),
        ("workload:ci/", {}, "NAME_INVALID"),
        ("ci/build", {}, "WRONG_PRINCIPAL"),
        ("workload:ci/build", {"attributes": Attributes(user="build")}, "ATTRIBUTE_INVALID"),
        ("workload:ci/build", {"attributes": Attributes(user="workload:ci/build")}, "ATTRIBUTE_INVALID"),
        ("workload:ci/build", {"attributes": Attributes(company="Other")}, "ATTRIBUTE_INVALID"),
    ],
)
def test_a_workload_is_no_person_and_no_other(world, name, more, reason):
    """Its provider gives the names of its namespace only, and nobody's user id."""
    bridge = trust(world, trusted(), CI)
    assert login(world, bridge, name, issuer=CI.issuer, **more).says == ("refused", reason)


def test_no_registered_principal_has_a_workloads_name(world):
    """So what a policy grants to the one the other never gets."""
    for role in ("agent", "service", "tool", "bridge"):
        for name in ("workload:ci/build", "Workload:ci/build", "\uff57orkload:x"):
            body = world.registration(role, name, tools=())
            assert world.send(body, world.admin).says == ("refused", "NAME_INVALID")


# --- shares


def small(sessions: int) -> World:
    """Return a tenant with room for few sessions, and for as many persons."""
    return World.founded("small", development=False, bounds=TenantLimits(sessions=sessions, persons=sessions))


def fills(world: World, bridge: Actor, names: list[str], **more: Any) -> list[Folded]:
    return [login(world, bridge, name, **more) for name in names]


def test_a_provider_fills_its_own_share_only():
    """One bridge serves two companies; when one has filled its quarter, the other's people still log in."""
    world = small(64)
    bridge = trust(world, trusted(), PARTNER)
    many = [f"user:alice{number}" for number in range(17)]

    says = [one.says for one in fills(world, bridge, many)]
    assert says == [ACCEPTED] * 16 + [("refused", "LIMIT_EXCEEDED")]
    theirs = [f"user:partner/{name}" for name in "abcdefghijklmnop"]
    assert {one.says for one in fills(world, bridge, theirs, issuer=PARTNER.issuer)} == {ACCEPTED}
    second = world.register("bridge", "second", attributes=bridge_of(ALL_TRUSTED))
    assert login(world, second, "user:bob").says == ("refused", "LIMIT_EXCEEDED")


def test_one_person_has_a_quarter_of_the_providers_share():
    """And no more through a second bridge: the provider vouches for the person, not the bridge."""
    world = small(64)
    bridge = trust(world, trusted(), CI)
    second = world.register("bridge", "second", attributes=bridge_of(ALL_TRUSTED))

    assert [one.says for one in fills(world, bridge, ["user:alice"] * 4)] == [ACCEPTED] * 4
    for gate in (bridge, second):
        assert login(world, gate, "user:alice").says == ("refused", "LIMIT_EXCEEDED")
    assert login(world, second, "user:bob").says == ACCEPTED
    builds = fills(world, bridge, ["workload:ci/build"] * 5, issuer=CI.issuer)
    assert [one.says[1] for one in builds] == ["", "", "", "", "LIMIT_EXCEEDED"]


def test_persons_count_for_their_provider_too():
    """Their rows stay for a year after the session: they must not keep another company's people out."""
    world = small(64)
    bridge = trust(world, trusted())
    login(world, bridge, "user:alice")
    [row] = world.tables.persons.rows.values()
    assert row.sponsor == sponsor_of(ACME)
    [(share, _)] = world.tables.persons.shares_of(row)
    assert share == f"\n{sponsor_of(ACME).hex()}"


def test_expiry_looks_at_no_session_that_stays(world, monkeypatch):
    """Of many open sessions the one that is due is found, and none of the others is asked for its deadline."""
    bridge = trust(world, trusted())
    for number in range(20):
        assert login(world, bridge, f"user:{number}", ttl_ms=HOUR_MS + number).says == ACCEPTED
    asked = []
    sessions = world.tables.sessions
    deadline_of = type(sessions).deadline_of
    monkeypatch.setattr(type(sessions), "deadline_of", lambda table, key: asked.append(key) or deadline_of(table, key))
    world.advance(HOUR_MS + limits.SESSION_LINGER_MS)
    world.tick()

    assert len(sessions) == 19
    assert len(set(asked)) <= 2  # the row that left, and the next one


def test_a_person_has_the_same_bound_as_ever(world, monkeypatch):
    """Through one bridge."""
    monkeypatch.setattr(limits, "SESSIONS_PER_PERSON_MAX", 2)
    bridge = trust(world, trusted())
    assert [one.says[1] for one in fills(world, bridge, ["user:alice"] * 3)] == ["", "", "LIMIT_EXCEEDED"]
