"""Identity providers that a tenant trusts: each speaks for its own names and attributes, as long as it is trusted."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.evidence.folder_format import REGISTRY_KINDS
from processors.identity.following import FollowedRegistry
from processors.refusal import Refusal
from schemas import limits
from schemas.events.attributes import Attributes
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from tests.builders import Actor, Folded, keys_of
from tests.processors.test_keys_have_a_life import follows
from tests.world import HOUR_MS, World

ACME = "https://login.acme.example"
MOST = Attributes(company="Acme", team="*", email="*@acme.example", roles=("analyst", "team-*"), groups=("*",))
TERMS: dict[str, Any] = {
    "kind": "keycloak", "subjects": "user", "name_pattern": "user:*", "attributes": MOST, "audiences": ("macaw",),
    "algorithms": ("RS256", "EdDSA"), "private_hosts": (),
}  # fmt: skip


def trusted(issuer: str = ACME, **terms: Any) -> IdentityProviderTrusted:
    return IdentityProviderTrusted(**{"issuer": issuer, **TERMS, **terms})


def distrusted(issuer: str = ACME, *, end_sessions: bool = False) -> IdentityProviderDistrusted:
    return IdentityProviderDistrusted(issuer=issuer, end_sessions=end_sessions, reason="left")


@pytest.fixture
def world() -> World:
    """A tenant that is not for development."""
    return World.founded("providers", development=False)


def trust(world: World, *bodies: IdentityProviderTrusted) -> Actor:
    """Let an admin trust providers, and register a bridge for them."""
    for body in bodies:
        assert world.send(body, world.admin).says == ("accepted", "")
    return world.register("bridge", "gate", attributes=Attributes(issuers=tuple(body.issuer for body in bodies)))


def login(world: World, bridge: Actor, name: str = "user:alice@acme.example", **body: Any) -> Folded:
    attributes = Attributes(company="Acme", roles=("analyst",))
    fields = {"issuer": ACME, "token_sha256": bytes(32), "attributes": attributes, **body}
    keys = fields.pop("keys", None) or keys_of("person", world.draw())
    return world.send(world.provided_session(name, bridge, keys=keys, **fields), bridge)


NAMES = [
    "user:alice", "user:ann+1@example.com", "user:a:b", "user:DOMAIN\\alice", "user:Ann Smith", "user:J\u00f6rg",
    "user:\u5f20\u4f1f", "user:a@b/c", "user:auth0|5f7c8ec7c33c6c004bbafe82", "user:A/b", "user:" + "x" * 507,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_persons_are_who_their_provider_says(world, name):
    """The names of real providers, as they are; the log says which provider it was."""
    bridge = trust(world, trusted())

    assert login(world, bridge, name).says == ("accepted", "")
    [row] = world.tables.sessions.rows.values()
    assert (row.principal_id, row.role, row.issuer) == (name, "user", ACME)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("alice", "WRONG_PRINCIPAL"),
        ("workload:ci/build", "WRONG_PRINCIPAL"),
        ("user:", "NAME_INVALID"),
        ("user:partner/alice", "NAME_INVALID"),
        ("user:0/alice", "NAME_INVALID"),
        ("user:a*", "NAME_INVALID"),
        ("user:alice ", "NAME_INVALID"),
        ("user:a\u200bb", "NAME_INVALID"),
        ("user:e\u0301", "NAME_INVALID"),
        ("user:" + "x" * 508, "NAME_INVALID"),
    ],
)
def test_a_provider_gives_no_other_names(world, name, reason):
    """No program's, none in a namespace, and none that could be taken for another."""
    bridge = trust(world, trusted())

    assert login(world, bridge, name).says == ("refused", reason)
    assert not world.tables.sessions.rows


def test_two_providers_alice_are_two_persons(world):
    """Each provider speaks in its own namespace only, whatever bridge carries its word."""
    partner = trusted("https://idp.partner.example/realms/main", namespace="partner", name_pattern="user:partner/*")
    bridge = trust(world, trusted(), partner)
    other = Attributes(company="Acme")

    assert login(world, bridge, "user:alice").says == ("accepted", "")
    assert login(world, bridge, "user:partner/alice", issuer=partner.issuer, attributes=other).says == ("accepted", "")
    assert login(world, bridge, "user:alice", issuer=partner.issuer).says == ("refused", "WRONG_PRINCIPAL")
    assert login(world, bridge, "user:partner/alice").says == ("refused", "NAME_INVALID")
    names = sorted(row.principal_id for row in world.tables.sessions.rows.values())
    assert names == ["user:alice", "user:partner/alice"]


@pytest.mark.parametrize(
    ("attributes", "fits"),
    [
        (Attributes(company="Acme", team="blue", email="a@acme.example", roles=("team-b",), groups=("x", "y")), True),
        (Attributes(user="alice@acme.example"), True),
        (Attributes(), True),
        (Attributes(company="Other"), False),
        (Attributes(email="a@other.example"), False),
        (Attributes(roles=("admin",)), False),
        (Attributes(roles=("analyst", "team-")), True),
        (Attributes(business_unit="x"), False),
        (Attributes(clearance="secret"), False),
        (Attributes(user="bob"), False),
        (Attributes(issuers=(ACME,)), False),
        (Attributes(attests=("*",)), False),
        (Attributes(subjects=("*",)), False),
    ],
)
def test_a_provider_says_what_its_trust_allows(world, attributes, fits):
    """A provider of one company cannot speak for another, nor raise anybody's clearance."""
    bridge = trust(world, trusted())

    says = login(world, bridge, attributes=attributes).says
    assert says == (("accepted", "") if fits else ("refused", "ATTRIBUTE_INVALID"))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"issuer": "https://other.example"}, "WRONG_ROLE"),
        ({"issuer": ACME + "/"}, "WRONG_ROLE"),
        ({"token_sha256": None}, "TOKEN_DIGEST"),
        ({"token_sha256": bytes(31)}, "TOKEN_DIGEST"),
        ({"login_ref": bytes(16)}, "TOKEN_DIGEST"),
        ({"login_ref": b""}, "TOKEN_DIGEST"),
        ({"attributes": None}, "ATTRIBUTE_INVALID"),
        ({"subject_ref": bytes(31)}, "TOKEN_DIGEST"),
        ({"actors": ("agent:bob",)}, "ACTOR_INVALID"),
        ({"methods": ("pwd", "pwd")}, "LOGIN_METHODS"),
        ({"ttl_ms": 25 * HOUR_MS}, "SESSION_TTL"),
    ],
)
def test_a_session_of_a_provider_is_complete(world, wrong, reason):
    """It names its issuer and the digest of its token, and never the token."""
    bridge = trust(world, trusted())

    assert login(world, bridge, login_ref=bytes(32)).says == ("accepted", "")
    assert login(world, bridge, **wrong).says == ("refused", reason)


def test_nobody_invents_an_issuer(world):
    """A bridge opens sessions of its own issuers, and they count while an admin trusts them."""
    bridge = trust(world, trusted())
    second = world.register("bridge", "second", attributes=Attributes(issuers=(ACME,)))
    for thief in (bridge, second, world.register("agent", "bot")):
        assert world.send(trusted("https://thief.example"), thief).says == ("refused", "WRONG_ROLE")
    assert login(world, world.register("agent", "other")).says == ("refused", "WRONG_PRINCIPAL")
    assert login(world, second).says == ("accepted", "")


def test_a_distrusted_provider_opens_nothing_more(world):
    """Its sessions go on, or end with it; a second trust lets it begin again."""
    bridge = trust(world, trusted())
    first, second = keys_of("first"), keys_of("second")
    login(world, bridge, keys=first)
    alice = Actor("session", "user:alice@acme.example", first)

    assert world.send(distrusted(), world.admin).says == ("accepted", "")
    assert login(world, bridge).says == ("refused", "UNKNOWN_PROVIDER")
    assert world.send(distrusted(), world.admin).says == ("refused", "UNKNOWN_PROVIDER")
    assert world.call(alice, "tool:x/y").says[0] == "denied"
    again = world.registration("bridge", "late", attributes=Attributes(issuers=(ACME,)))
    assert world.send(again, world.admin).says == ("refused", "UNKNOWN_PROVIDER")
    world.send(trusted(), world.admin)
    assert login(world, bridge, keys=second).says == ("accepted", "")

    assert world.send(distrusted(end_sessions=True), world.admin).says == ("accepted", "")
    for keys in (first, second):
        caller = Actor("session", "user:alice@acme.example", keys)
        assert world.call(caller, "tool:x/y").says == ("refused", "EXPIRED_SESSION")
    assert all(row.revoked for row in world.tables.sessions.rows.values())


def test_a_provider_keeps_its_namespace_for_ever(world):
    """Otherwise the next owner of the namespace would be given what belongs to the persons of the first."""
    partner = trusted("https://a.example", namespace="partner", name_pattern="user:partner/*")
    trust(world, trusted(), partner)
    world.send(distrusted("https://a.example", end_sessions=True), world.admin)

    for body in (
        trusted("https://b.example", namespace="partner", name_pattern="user:partner/*"),
        trusted("https://b.example"),
        replace(partner, namespace=None, name_pattern="user:*"),
        replace(partner, namespace="other", name_pattern="user:other/*"),
        replace(partner, subjects="workload", name_pattern="workload:partner/*"),
    ):
        assert world.send(body, world.admin).says == ("refused", "PROVIDER_CONFLICT")
    terms = {"namespace": "partner", "subjects": "workload", "name_pattern": "workload:partner/*"}
    assert world.send(trusted("https://b.example", **terms), world.admin).says == ("accepted", "")
    assert world.send(partner, world.admin).says == ("accepted", "")


def test_providers_are_bounded(world):
    """Ended ones count, for their names stay theirs."""
    for number in range(limits.PROVIDERS_MAX):
        terms = {"namespace": f"n{number}", "name_pattern": f"user:n{number}/*"}
        assert world.send(trusted(f"https://{number}.example", **terms), world.admin).says == ("accepted", "")
        world.send(distrusted(f"https://{number}.example"), world.admin)
    assert world.send(trusted(), world.admin).says == ("refused", "LIMIT_EXCEEDED")


ISSUERS = (
    "", "acme", "http://login.acme.example", "https://", "https://user@acme.example", "https://acme.example?x=1",
    "https://acme.example#x", "https://ACME.example", "https://acme.example\\x", "https://acme.exam ple",
    "https://\u0430cme.example", "ftp://acme.example", "https://acme.example:port", "https://" + "a" * 600,
    "https://acme.example/\n", "urn:macaw:development", "https://.example", "https://[::1",
)  # fmt: skip
MANY = tuple("x" * 500 + str(number) for number in range(40))
MALFORMED: list[dict[str, Any]] = [
    *({"issuer": issuer} for issuer in ISSUERS),
    {"kind": "ldap"}, {"subjects": "agent"}, {"subjects": "workload", "name_pattern": "workload:*"},
    {"namespace": ""}, {"namespace": "A"}, {"namespace": "a/b"}, {"namespace": "x" * 41, "name_pattern": "user:*"},
    {"namespace": "ns"}, {"name_pattern": ""}, {"name_pattern": "*"}, {"name_pattern": "agent:*"},
    {"name_pattern": "user:" + "*a" * 9}, {"name_pattern": "user:" + "x" * 600}, {"name_pattern": "user:\u200b*"},
    {"audiences": ()}, {"audiences": ("a", "a")}, {"audiences": ("",)}, {"audiences": ("x" * 300,)},
    {"audiences": tuple(map(str, range(17)))}, {"algorithms": ()}, {"algorithms": ("none",)},
    {"algorithms": ("HS256",)}, {"algorithms": ("RS256", "HS512")}, {"private_hosts": ("A",)},
    {"private_hosts": ("a/b",)}, {"private_hosts": ("a", "a")}, {"private_hosts": ("",)},
    {"attributes": Attributes(user="*")}, {"attributes": Attributes(issuers=("*",))},
    {"attributes": Attributes(attests=("*",))}, {"attributes": Attributes(roles=("",))},
    {"attributes": Attributes(roles=("*" * 9,))}, {"attributes": Attributes(company="\u200b")},
    {"attributes": Attributes(groups=MANY)}, {"attributes": Attributes(roles=("a", "a"))},
    {"attributes": Attributes(roles=tuple(map(str, range(65))))},
]  # fmt: skip


@pytest.mark.parametrize("terms", MALFORMED, ids=lambda terms: str(terms)[:60])
def test_a_provider_that_is_not_well_described_is_refused(world, terms):
    """A trust that means something else than it seems to say would be found out by a thief first."""
    assert world.send(trusted(**terms), world.admin).says == ("refused", "PROVIDER_FORM")
    assert not world.tables.providers.rows


@pytest.mark.parametrize("host", ["127.0.0.1", "keycloak.internal", "[::1]"])
def test_a_private_host_may_be_asked_without_tls(world, host):
    """Where the trust names it: an admin has said that this network is his own."""
    issuer = f"http://{host}:8080/realms/acme"
    assert world.send(trusted(issuer), world.admin).says == ("refused", "PROVIDER_FORM")
    assert world.send(trusted(issuer, private_hosts=(host,)), world.admin).says == ("accepted", "")


TEXT = st.text(max_size=12) | st.sampled_from(["user:a", "user:*", "ns", ACME, "*", "user:ns/a", "\u200b", "https://a"])


@settings(max_examples=200, deadline=None)
@given(issuer=TEXT, name=TEXT, pattern=TEXT, namespace=st.none() | TEXT, text=TEXT)
def test_no_text_breaks_the_rules_of_providers(issuer, name, pattern, namespace, text):
    """Every text is accepted or refused by a rule: none breaks one."""
    world = World.founded("providers", development=False)
    bridge = trust(world, trusted())
    bound = Attributes(company=text, roles=(text,))
    late = world.registration("bridge", "late", attributes=Attributes(issuers=(issuer,)))
    opened = [world.provided_session(name, bridge, keys=keys_of(i), issuer=i) for i in (issuer, ACME)]
    said = [
        trusted(issuer, name_pattern=pattern, namespace=namespace, audiences=(text,), private_hosts=(text,)),
        trusted(attributes=bound, name_pattern=pattern),
        distrusted(issuer),
        late,
    ]
    for body in (*said, *opened):
        folded = world.send(body, bridge if body in opened else world.admin)
        assert folded.says[0] in {"accepted", "refused"}
        assert folded.says[1] != "INTERNAL_ERROR"


# --- as a host judges a session that it is given


def following(world: World) -> FollowedRegistry:
    """Return the registry as a host has followed it: every accepted event about principals and providers."""
    found = FollowedRegistry(world.fresh_tables())
    reference = world.fresh_tables()
    for received in world.records:
        entry = world.fold_into(reference, received).entry
        if entry.outcome == "accepted" and entry.kind in REGISTRY_KINDS and not entry.kind.startswith("Session"):
            found.follow(received)
    return found


def test_a_host_judges_a_session_of_a_provider(world):
    """It follows the trust, too: a session under it counts, one beyond it does not, and an end is heard of."""
    bridge = trust(world, trusted())
    assert login(world, bridge).says == ("accepted", "")
    opened = world.records[-1]
    login(world, bridge, "user:partner/alice")
    forged = world.records[-1]

    assert following(world).session(opened)[1].issuer == ACME
    with pytest.raises(Refusal, match="NAME_INVALID"):
        following(world).session(forged)
    world.advance(HOUR_MS // 2)
    world.send(distrusted(), world.admin)
    assert not following(world).session(opened)[1].revoked
    world.advance(HOUR_MS // 4)
    login(world, bridge)
    late = world.records[-1]
    with pytest.raises(Refusal, match="EXPIRED_KEY"):
        following(world).session(late)
    world.send(distrusted(end_sessions=True), world.admin)
    assert following(world).session(opened)[1].revoked
    world.send(trusted(), world.admin)
    assert following(world).session(opened)[1].revoked
    world.advance(HOUR_MS // 4)
    login(world, bridge)
    assert not following(world).session(world.records[-1])[1].revoked


def test_an_export_with_providers_verifies(world):
    """A stranger follows the trust from the events alone."""
    bridge = trust(world, trusted())
    login(world, bridge)
    world.send(distrusted(), world.admin)
    follows(world)
