"""Who may sign what about whom: the tables of `docs/authority.md` written out again, and one attack for each row."""

from typing import Any, get_args

import pytest

from processors.identity.issuers import DEVELOPMENT_ISSUER
from processors.intake import authority
from processors.refusal import Refusal
from processors.state.bounds import TenantLimits
from schemas import limits, topics
from schemas.events.attributes import NONE, Attributes
from schemas.events.catalogues import CataloguePublished, CatalogueRule, CatalogueWithdrawn
from schemas.events.enforcement import EnforcementSet
from schemas.events.engines import EngineActivated
from schemas.events.keys import KeyRotated
from schemas.events.logins import LoginEnded, LoginRefused
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.events.tenancy import LimitsSet, TenantLimit
from schemas.events.tools import ToolsOffered
from schemas.events.verdicts import VerdictReported
from schemas.events.workflow import (
    ApplicationEventLogged,
    AttestationApproved,
    AttestationDenied,
    AttestationRevoked,
    AttestationSet,
    ContextDeleted,
    ContextListed,
    ContextRead,
    ContextWritten,
    DelegationGranted,
    DelegationRevoked,
    StateQueried,
)
from schemas.records import (
    Body,
    ClockTicked,
    PolicyWithdrawn,
    PrincipalRevoked,
    ResultReported,
    SessionClosed,
    SessionRevoked,
)
from tests.builders import Actor, Folded, invocation, keys_of
from tests.cast import Cast
from tests.engines import NEWEST
from tests.logins_world import renewal_of
from tests.world import HOUR_MS, World

ROLES = (
    "root", "organisation", "admin", "monitor", "enrolment", "bridge", "approver", "attester", "verifier", "agent",
    "service", "tool", "session",
)  # fmt: skip

# What each role's own, well-formed event of each kind comes to; a kind that a role is not named under is WRONG_ROLE.
# A second founding is refused for what it is, a report on no call is late, and root keys are not revoked but rotated.
SIGNS: dict[str, dict[str, tuple[str, str]]] = {
    "TenantFounded": {"admin": ("refused", "NOT_GENESIS")},
    "AdminAdded": {"root": ("accepted", "")},
    "PrincipalRegistered": {"admin": ("accepted", ""), "enrolment": ("accepted", "")},
    "PrincipalRevoked": {
        "root": ("refused", "UNKNOWN_PRINCIPAL"),
        "organisation": ("accepted", ""),
        "admin": ("accepted", ""),
        "enrolment": ("accepted", ""),
        "bridge": ("accepted", ""),
        "approver": ("accepted", ""),
        "attester": ("accepted", ""),
        "verifier": ("accepted", ""),
        "agent": ("accepted", ""),
        "service": ("accepted", ""),
        "tool": ("accepted", ""),
    },
    "PolicyPublished": {"admin": ("accepted", ""), "organisation": ("accepted", "")},
    "PolicyWithdrawn": {"admin": ("refused", "E_CONFLICT"), "organisation": ("refused", "E_CONFLICT")},
    "SessionOpened": dict.fromkeys(("agent", "service", "tool", "bridge"), ("accepted", "")),
    "InvocationRequested": {"session": ("denied", "NO_POLICY")},
    "ResultReported": {"tool": ("refused", "LATE_RESULT")},
    "ClockTicked": {"monitor": ("accepted", "")},
    "SessionClosed": {"session": ("accepted", "")},
    "SessionRevoked": {"admin": ("refused", "UNKNOWN_SESSION"), "bridge": ("refused", "UNKNOWN_SESSION")},
    "AttestationSet": dict.fromkeys(("tool", "bridge", "attester"), ("refused", "ATTESTATION_SESSION")),
    "AttestationApproved": dict.fromkeys(("session", "approver"), ("refused", "APPROVAL_UNKNOWN")),
    "AttestationDenied": dict.fromkeys(("session", "approver"), ("refused", "APPROVAL_UNKNOWN")),
    "AttestationRevoked": dict.fromkeys(
        ("tool", "bridge", "attester", "session", "approver", "admin"), ("refused", "ATTESTATION_UNKNOWN")
    ),
    "DelegationGranted": {"session": ("refused", "UNKNOWN_PRINCIPAL")},
    "DelegationRevoked": dict.fromkeys(("session", "admin"), ("refused", "DELEGATION_UNKNOWN")),
    "ContextWritten": {"session": ("accepted", "")},
    "ContextRead": {"session": ("accepted", "")},
    "ContextDeleted": {"session": ("refused", "VAULT_ABSENT")},
    "ContextListed": {"session": ("accepted", "")},
    "StateQueried": {
        "session": ("accepted", ""),
        "approver": ("accepted", ""),
        "admin": ("refused", "QUERY_INVALID"),  # it has other questions
    },
    "ApplicationEventLogged": {"session": ("accepted", ""), "tool": ("accepted", "")},
    **{kind: {"admin": ("refused", "RULING_UNUSED")} for kind in ("RecordsSkipped", "TimeAccepted")},
    # Each names its own key as the one that ends: only its X25519 half may change so, but for the organisation's.
    "KeyRotated": {
        **dict.fromkeys([r for r in ROLES if r not in {"root", "session", "monitor"}], ("refused", "WRONG_PRINCIPAL")),
        "organisation": ("accepted", ""),
    },
    "AdminRemoved": {"root": ("accepted", "")},
    "RootRotated": {"root": ("accepted", "")},
    "EngineActivated": {"admin": ("accepted", "")},
    "ToolsOffered": {"session": ("accepted", "")},
    "LimitsSet": {"admin": ("accepted", "")},
    "CataloguePublished": {"admin": ("accepted", "")},
    "CatalogueWithdrawn": {"admin": ("refused", "E_CONFLICT")},
    "EnforcementSet": {"admin": ("accepted", "")},
    "IdentityProviderTrusted": {"admin": ("accepted", "")},
    "IdentityProviderDistrusted": {"admin": ("refused", "UNKNOWN_PROVIDER")},
    "SessionRenewed": {"bridge": ("refused", "UNKNOWN_SESSION")},
    "LoginRefused": {"bridge": ("accepted", "")},
    "LoginEnded": {"bridge": ("refused", "UNKNOWN_PROVIDER")},
    "VerdictReported": {"verifier": ("refused", "VERDICT_UNKNOWN")},
}
REGISTERS: dict[str, set[str]] = {
    "admin": {"monitor", "enrolment", "bridge", "approver", "attester", "verifier", "agent", "service", "tool"},
    "enrolment": {"agent", "service", "tool"},
}
WRONG_ROLE = ("refused", "WRONG_ROLE")


def own(world: World, kind: str, by: Actor) -> Body:
    """Return an event of this kind that is in order, as far as `by` may sign it at all."""
    keys = keys_of("fresh", kind, by.role)
    policy_id = "org:a" if by.role == "organisation" else "user:a"
    bodies: dict[str, Any] = {
        "TenantFounded": world.founding,
        "AdminAdded": world.admin_addition(world.offer(keys, "admin", "second"), world.roots[:2]),
        "PrincipalRegistered": world.registration("agent", "newcomer", keys=keys),
        "PrincipalRevoked": PrincipalRevoked(principal_id=by.principal_id, kid=None, reason="lost"),
        "PolicyPublished": world.publication({"policy_id": policy_id, "resources": ["tool:a"]}),
        "PolicyWithdrawn": PolicyWithdrawn(policy_id=policy_id, previous=bytes(32)),
        "SessionOpened": world.person_session(keys=keys) if by.role == "bridge" else world.session_of(by, keys=keys),
        "InvocationRequested": invocation("tool:the-tool/run"),
        "ResultReported": ResultReported(decision=bytes(32), outcome="ok", body="{}", attestations=()),
        "ClockTicked": ClockTicked(deadline=world.now),
        "SessionClosed": SessionClosed(reason="done"),
        "SessionRevoked": SessionRevoked(session=bytes(32), reason="lost"),
        "AttestationSet": AttestationSet(session=bytes(32), key="checked", value="true", one_time=False),
        "AttestationApproved": AttestationApproved(request=bytes(32), key="k", parameters_sha256=bytes(32), reason=""),
        "AttestationDenied": AttestationDenied(request=bytes(32), key="k", parameters_sha256=bytes(32), reason=""),
        "AttestationRevoked": AttestationRevoked(record=bytes(32), reason=""),
        "DelegationGranted": DelegationGranted(
            delegate="nobody", scope='{"resources":["**"]}', expires_at=world.now + HOUR_MS, purpose=""
        ),
        "DelegationRevoked": DelegationRevoked(delegation=bytes(32), reason=""),
        "ContextWritten": ContextWritten(scope="session", key="k", value="1"),
        "ContextRead": ContextRead(scope="session", key="k"),
        "ContextDeleted": ContextDeleted(scope="session", key="gone"),
        "ContextListed": ContextListed(scope="session", prefix="", after="", limit=10),
        "StateQueried": StateQueried(what="delegations", argument="null"),
        "ApplicationEventLogged": ApplicationEventLogged(
            event_type="paid", source="", action="", target="", outcome="success", category="custom", signed=True,
            metadata="{}",
        ),
        "RecordsSkipped": RecordsSkipped(first=1, last=1, reason="lost"),
        "TimeAccepted": TimeAccepted(first=1, last=1, now=world.now, reason="late"),
        "KeyRotated": KeyRotated(kid=by.kid, key=world.offer(keys, by.role, by.principal_id), reason="planned"),
        "AdminRemoved": world.admin_removal("admin", world.roots[:2]),
        "RootRotated": world.root_rotation([keys], world.roots[:2]),
        "EngineActivated": EngineActivated(engine=3, data=(), reason="new rules"),
        "ToolsOffered": ToolsOffered(tools=(), key=world.offer(keys, "offer", by.principal_id)),
        "LimitsSet": LimitsSet(limits=(TenantLimit(name="sessions", value=20_000),)),
        "CataloguePublished": CataloguePublished(
            name="own", verifier="secrets", rules=(CatalogueRule(id="a", kind="token", pattern="ACME-[0-9]{8}"),),
            reason="own tokens",
        ),
        "CatalogueWithdrawn": CatalogueWithdrawn(name="own", previous=bytes(32)),
        "EnforcementSet": EnforcementSet(kind="observe", scope="resource", name="tool:x/*", on=True, reason="r"),
        "IdentityProviderTrusted": IdentityProviderTrusted(
            issuer="https://idp.example", kind="oidc", subjects="user", name_pattern="user:*", attributes=NONE,
            audiences=("macaw",), algorithms=("EdDSA",), private_hosts=(),
        ),
        "IdentityProviderDistrusted": IdentityProviderDistrusted(
            issuer="https://idp.example", end_sessions=True, reason="stolen"
        ),
        "SessionRenewed": renewal_of(world, Actor("session", "user:alice", keys), by),
        "LoginRefused": LoginRefused(reason="TOKEN_EXPIRED", login=bytes(32), count=1),
        "LoginEnded": LoginEnded(issuer=DEVELOPMENT_ISSUER, login_ref=bytes(32), reason="logout"),
        "VerdictReported": VerdictReported(
            call=bytes(16), session=bytes(32), resource="tool:a", parameters_sha256=bytes(32), surface="arguments",
            catalogue=bytes(32), expires_at=world.now + 1, outcome="pass", stamps="{}", findings=(),
        ),
    }  # fmt: skip
    body: Body = bodies[kind]
    return body


@pytest.fixture
def cast() -> Cast:
    return Cast(**NEWEST)


@pytest.fixture
def world() -> World:
    return World.founded()


def said(folded: Folded) -> str:
    """Return the reason of a refusal, having looked that nothing else came of it."""
    assert folded.entry.outcome == "refused"
    assert {output.topic for output in folded.outputs} <= {topics.RESULTS, topics.AUDIT}
    return folded.entry.reason


# ---- the two tables


def test_every_kind_of_event_and_every_role_stands_in_the_table():
    """No body of the union and no role is left out here, or in the code."""
    kinds = {cls.__name__ for cls in get_args(Body)}

    assert set(SIGNS) == kinds == {cls.__name__ for cls in authority.MAY_SIGN}
    assert set(ROLES) == authority.ROLES


@pytest.mark.parametrize("kind", SIGNS)
@pytest.mark.parametrize("role", ROLES)
def test_each_role_signs_each_kind_exactly_where_the_table_says(cast, role, kind):
    """A well-formed event of its own is heard from a role of the row, and WRONG_ROLE from any other."""
    actor = cast.actors[role]
    before = cast.world.rows(without=["sequences"])
    folded = cast.world.send(own(cast.world, kind, actor), actor)

    expected = SIGNS[kind].get(role, WRONG_ROLE)
    assert folded.says == expected
    if expected == WRONG_ROLE:
        assert cast.world.rows(without=["sequences"]) == before
        assert said(folded) == "WRONG_ROLE"
    assert (role in authority.MAY_SIGN[type(own(cast.world, kind, actor))]) is (expected != WRONG_ROLE)


@pytest.mark.parametrize("registered", [*ROLES, "Admin", "", "signer"])
@pytest.mark.parametrize("role", ROLES)
def test_each_role_registers_each_role_exactly_where_the_table_says(cast, role, registered):
    """Registrations are heard from admin and enrolment keys, for the roles of their row only."""
    body = cast.world.registration(registered, "newcomer")
    folded = cast.world.send(body, cast.actors[role])

    allowed = registered in REGISTERS.get(role, set())
    assert folded.says == (("accepted", "") if allowed else WRONG_ROLE)
    assert (b"newcomer" in cast.world.tables.principals.rows) is allowed


def test_a_role_that_stands_nowhere_may_nothing():
    """A role outside the table, or an event outside it, is refused."""
    with pytest.raises(Refusal, match="WRONG_ROLE"):
        authority.check_may_sign("operator", ClockTicked(deadline=0))
    with pytest.raises(Refusal, match="WRONG_ROLE"):
        authority.check_may_register("operator", "agent")


# ---- revocation


def test_an_agent_revokes_itself_and_nobody_else(world):
    """A principal may give up its own keys; another's it cannot touch, not even one of its own role."""
    bot, other = world.register("agent", "bot"), world.register("agent", "other")
    for victim in ("other", "admin", "monitor", "root"):
        assert said(world.revoke(victim, by=bot)) == "WRONG_PRINCIPAL"
    assert said(world.revoke("bot", by=bot, kid=other.kid)) == "UNKNOWN_PRINCIPAL"

    assert world.revoke("bot", by=bot).says == ("accepted", "")
    assert world.tables.keys.rows[bot.kid].revoked_at == world.now
    assert world.tables.keys.rows[other.kid].revoked_at is None


@pytest.mark.parametrize("role", [role for role in ROLES if role not in {"admin", "session", "monitor"}])
def test_nobody_but_an_admin_revokes_somebody_else(cast, role):
    """Each role that may sign a revocation may do so for itself only."""
    cast.world.register("agent", "victim")

    assert said(cast.world.revoke("victim", by=cast.actors[role])) == "WRONG_PRINCIPAL"


def test_a_decision_key_revokes_nothing(cast):
    """A thief's, registered with an admin key, would revoke the tenant's own, and no admin would have signed that."""
    thief = cast.world.register("monitor", "monitor")
    for kid in (cast.actors["monitor"].kid, thief.kid, None):
        assert said(cast.world.revoke("monitor", by=thief, kid=kid)) == "WRONG_ROLE"


def test_a_session_cannot_revoke(cast):
    """A session key speaks for its principal in calls, not about its keys."""
    assert said(cast.world.revoke("the-agent", by=cast.actors["session"])) == "WRONG_ROLE"


@pytest.mark.parametrize("principal_id", ["nobody", "", "root"])
def test_whom_an_admin_cannot_revoke(world, principal_id):
    """There is nobody of that name, or it is the root, which an admin does not outrank."""
    assert said(world.revoke(principal_id)) == "UNKNOWN_PRINCIPAL"


def test_one_instance_is_revoked_and_the_others_stay(world):
    """A revocation that names a key ends that key only."""
    first, second = world.register("agent", "fleet"), world.register("agent", "fleet")
    folded = world.revoke("fleet", kid=first.kid)

    assert [output.key for output in folded.of(topics.REGISTRY)] == [f"revoked/{first.kid.hex()}".encode()]
    assert world.send(world.session_of(first, keys=keys_of("a")), first).says == ("refused", "REVOKED_KEY")
    assert world.send(world.session_of(second, keys=keys_of("b")), second).says == ("accepted", "")


# ---- sessions


def test_an_agent_opens_sessions_for_itself_only(world):
    """Neither the body nor the key may name somebody else."""
    bot, keys = world.register("agent", "bot"), keys_of("s")
    world.register("agent", "other")
    other_key = world.offer(keys, "session", "other")

    assert said(world.send(world.session_of(bot, keys=keys, principal_id="other"), bot)) == "WRONG_PRINCIPAL"
    assert said(world.send(world.session_of(bot, keys=keys, key=other_key), bot)) == "WRONG_PRINCIPAL"
    assert (
        said(world.send(world.session_of(bot, keys=keys, key=world.offer(keys, "agent", "bot")), bot))
        == "BAD_POSSESSION"
    )


@pytest.mark.parametrize(
    "claimed", [{"attributes": Attributes(user="ceo@x.org")}, {"issuer": "https://idp"}, {"token_sha256": bytes(32)}]
)
def test_an_agent_brings_no_attributes_of_its_own(world, claimed):
    """What policies read comes from the registration; attributes and tokens are a bridge's to bring."""
    bot = world.register("agent", "bot", attributes=Attributes(user="bot@x.org"))

    assert said(world.send(world.session_of(bot, keys=keys_of("s"), **claimed), bot)) == "WRONG_ROLE"
    session = world.open_session(bot)
    assert world.tables.sessions.rows[session.kid].attributes == Attributes(user="bot@x.org")


@pytest.mark.parametrize("ttl_ms", [0, -1, limits.SESSION_TTL_MS_MAX + 1, 2**62])
def test_a_session_lives_between_a_millisecond_and_a_day(world, ttl_ms):
    """A life out of bounds is refused."""
    bot = world.register("agent", "bot")

    assert said(world.send(world.session_of(bot, keys=keys_of("s"), ttl_ms=ttl_ms), bot)) == "SESSION_TTL"


def test_a_session_never_outlives_the_key_that_opened_it(world):
    """Its end is the earlier of its own and its opener's."""
    bot = world.register("agent", "bot", expires_at=world.now + 5_000)
    session = world.open_session(bot, ttl_ms=HOUR_MS)

    assert world.tables.sessions.rows[session.kid].expires_at == world.now + 5_000


def test_a_program_has_at_most_a_quarter_of_its_tenants_sessions():
    """Sessions are bounded, and the bound is a refusal; others have theirs."""
    world = World.founded(bounds=TenantLimits(sessions=8))
    bot = world.register("agent", "bot")
    for _ in range(2):
        world.open_session(bot)

    assert said(world.send(world.session_of(bot, keys=keys_of("s")), bot)) == "LIMIT_EXCEEDED"
    world.open_session(world.register("agent", "other"))
