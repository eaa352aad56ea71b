"""Every text, every run of bytes and every list in an event has a bound of its own, or is one call's alone.

What is copied to others (the registry, the views, state) must not be as long as an event may be. The fields are read
from the schemas: one that is new, and is neither refused when it is long nor listed here, fails.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from processors.calls.attestations import record_id
from processors.calls.bodies import reference_to, written
from processors.calls.verifiers.catalogue_rules import digest_of
from processors.intake import unsupported
from processors.proof import jcs
from schemas import records
from schemas.events import workflow
from schemas.events.attributes import ApproverLimits, Attributes
from schemas.events.catalogues import CataloguePublished, CatalogueRule, CatalogueWithdrawn
from schemas.events.keys import KeyRotated
from schemas.events.logins import LoginEnded, LoginRefused
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from schemas.events.tenancy import LimitsSet, TenantLimit, TenantSetting
from schemas.events.tools import ToolsOffered
from schemas.events.verdicts import VerdictReported, VerifierFinding
from schemas.records import (
    ClockTicked,
    InvocationRequested,
    PolicyWithdrawn,
    PrincipalRevoked,
    Prompt,
    ResultReported,
    SessionClosed,
    SessionOpened,
    SessionRevoked,
)
from tests.builders import Actor, Folded, frozen, grant, keys_of
from tests.engines import NEWEST, activation
from tests.logins_world import renewal_of
from tests.verifiers_world import ASKED, REFUND, Judging
from tests.workflow_world import ANYTHING, CHECK, MAIL, attests, declared

AVRO = Path(records.__file__).parent / "avro"
LONG = 60_000
PATHS: dict[str, Any] = {"body_paths": ("b",), "opaque_paths": ("b",), "maskable_paths": ("m",)}
SETTING = TenantSetting(name="verifiers.secrets", value="stamp")
# Of these the log keeps a digest, or what is sealed to one reader: the event's own bound holds.
WHOLE = {
    "InvocationRequested.parameters": "sealed to the tool; the digest stands in the decision",
    "ResultReported.body": "sealed to the caller",
    "ContextWritten.value": "bounded by 64 KiB, and by the writer's share of bytes",
    "PolicyPublished.documents[]": "an administrator's, at most 64 KiB each",
}


@dataclasses.dataclass(frozen=True)
class Field:
    """A text, bytes or a list, by its path from the body: `tools[].description`."""

    body: str
    path: str
    kind: str

    @property
    def name(self) -> str:
        return f"{self.body}.{self.path}"


def fields_of(body: str) -> Iterator[Field]:
    """Yield every field of a body that can be long, nested records included."""
    for field in fields_with_a_rule(body):
        yield from _fields(body, field["name"], field["type"])


def _fields(body: str, path: str, kind: Any) -> Iterator[Field]:
    if isinstance(kind, list):
        for branch in kind:
            yield from _fields(body, path, branch)
    elif isinstance(kind, dict) and kind["type"] == "array":
        yield Field(body, path, "array")
        yield from _fields(body, f"{path}[]", kind["items"])
    elif isinstance(kind, dict):
        yield from _fields(body, path, kind["type"])
    elif kind in {"string", "bytes"}:
        yield Field(body, path, kind)
    elif kind.startswith("macaw.v1."):
        for field in fields_with_a_rule(kind.removeprefix("macaw.v1.")):
            yield from _fields(body, f"{path}.{field['name']}", field["type"])


def fields_with_a_rule(name: str) -> list[Any]:
    """Return the fields of a record without those that are refused whenever they are set (`test_unsupported.py`)."""
    later = next((names for cls, names in unsupported.FIELDS.items() if cls.__name__ == name), ())
    return [field for field in schema_of(name)["fields"] if field["name"] not in later]


def schema_of(name: str) -> Any:
    return json.loads((AVRO / f"macaw.v1.{name}.avsc").read_text("utf-8"))


BODIES = [kind.rsplit(".", 1)[1] for kind in schema_of("Event")["fields"][1]["type"]]
FIELDS = [field for body in BODIES for field in fields_of(body)]


def lengthened(record: Any, path: str, kind: str) -> Any:
    """Return a record whose field at a path is very long."""
    name, _, rest = path.partition(".")
    if name.endswith("[]"):
        items = getattr(record, name[:-2])
        assert items, f"the example of {type(record).__name__} needs an item in {name}"
        item = lengthened(items[0], rest, kind) if rest else _long(items[0], kind)
        return dataclasses.replace(record, **{name[:-2]: (item, *items[1:])})
    value = getattr(record, name)
    if rest:
        assert value is not None, f"the example of {type(record).__name__} needs {name}"
        return dataclasses.replace(record, **{name: lengthened(value, rest, kind)})
    return dataclasses.replace(record, **{name: _long(value, kind)})


def _long(value: Any, kind: str) -> Any:
    if kind == "array":
        assert value, "the example needs an item"
        return value * 2_000
    return bytes(LONG) if kind == "bytes" else f"{value or ''}{'x' * LONG}"


def provider(name: str, **more: Any) -> IdentityProviderTrusted:
    """Return the trust in a provider that may say every attribute."""
    most = Attributes(company="*", business_unit="*", team="*", email="*", clearance="*", roles=("*",), groups=("*",))
    return IdentityProviderTrusted(
        issuer=f"https://{name}.example", kind="oidc", namespace=name, subjects="user", name_pattern=f"user:{name}/*",
        attributes=most, audiences=("macaw",), algorithms=("EdDSA",), **{"private_hosts": (), **more},
    )  # fmt: skip


class Examples:
    """A world, and of each body one that is accepted in it, with its signer."""

    def __init__(self, name: str, **how: Any) -> None:
        self.world = world = cast("Judging", Judging.opened(name, **{**NEWEST, **how}))
        world.judge = world.verifier("judge", resources=(REFUND,))
        world.require("boss", approval_criteria="role:manager", timeout=600)
        self.carol = world.person("carol", "manager")
        self.kyc = world.register("attester", "kyc", attributes=Attributes(attests=("**",), subjects=("**",)))
        self.enrol = world.register("enrolment", "enrol")
        self.slack = world.register("approver", "slack", attributes=Attributes(roles=("manager",)), approver=LIMITS)
        self.asked = world.pay()
        self.waits = world.call(world.bot, REFUND, {})
        self.open = world.call(world.bot, CHECK)
        world.send(CataloguePublished(name="own", verifier="secrets", rules=(RULE,), reason="r"), world.admin)
        self.catalogue = digest_of("own", "secrets", (RULE,))
        self.given = world.grant_to(world.bot, "desk").entry.event
        world.put(world.bot, "k", 1)
        world.attest(self.kyc, world.bot, "kyc_ok")
        self.said = record_id(world.bot.kid, "kyc_ok", "attester:kyc")
        world.send(provider("a"), world.admin)
        self.gate = world.register("bridge", "gate", attributes=Attributes(issuers=("*",)))
        self.dave = Actor("session", "user:a/dave", keys_of("dave of a"))
        most = {"roles": ("r",), "groups": ("g",)}
        came = {"issuer": "https://a.example", "attributes": Attributes(**most), "actors": ("user:a/bot",)}
        came["subject_ref"] = bytes(32)
        world.send(world.provided_session("user:a/dave", self.gate, keys=self.dave.keys, **came), self.gate)

        seller = world.register("service", "seller", attributes=Attributes(offers=("tool:seller/*",)))
        self.app = world.open_session(seller)

    def _offer(self) -> ToolsOffered:
        key = self.world.offer(keys_of("an offer"), "offer", "seller")
        return ToolsOffered(
            tools=(dataclasses.replace(declared("tool:seller/run", prompts=("p",)), **PATHS),), key=key, label="l"
        )

    def of(self, body: str) -> tuple[Any, Actor]:
        """Return a body of one kind, and who says it."""
        world = self.world
        prompt = Prompt(path="prompt", parent=None, policy="{}")
        decision = self.open.decision_leaf
        known = world.tables.policies.rows[b"agent:bot"].digest
        tool = declared("tool:new/run", attests=("a",), prompts=("p",), **PATHS)
        reference = reference_to(bytes(16), b"x")
        mark = written(reference)
        noted = workflow.ApplicationEventLogged(
            event_type="e", source="s", action="a", target="t", outcome="success", category="c", signed=True,
            metadata="{}",
        )  # fmt: skip
        attestation = workflow.AttestationSet(
            session=world.bot.kid, key="checked", value="1", one_time=False, decision=decision
        )
        each = Attributes(roles=("r",), groups=("g",), issuers=("i",), attests=("a",), subjects=("s",))
        registered = world.registration("tool", "new", tools=(tool,), attributes=each)
        enrolled = world.registration("enrolment", "new", attributes=each, enrolment=grant(attributes=each))
        person = world.person_session("user:dave", keys=keys_of("dave"), attributes=each)
        found: dict[str, tuple[Any, Actor]] = {
            **self._of_the_roots(),
            "PrincipalRegistered": (registered, world.admin),
            "PrincipalRegistered.enrolment": (enrolled, world.admin),
            "PrincipalRegistered.approver": (world.registration("approver", "new", approver=LIMITS), world.admin),
            "AttestationApproved.said_by": (world.approval(self.asked, "boss", said_by="user:erin"), self.slack),
            "AttestationDenied.said_by": (world.denial(self.asked, "boss", said_by="user:erin"), self.slack),
            "PrincipalRevoked": (PrincipalRevoked(principal_id="kyc", kid=self.kyc.kid, reason="r"), world.admin),
            "PolicyPublished": (world.publication({"policy_id": "agent:bot", **ANYTHING}), world.admin),
            "PolicyWithdrawn": (PolicyWithdrawn(policy_id="agent:bot", previous=known), world.admin),
            "SessionOpened": (person, world.bridge),
            "SessionOpened.login": (self._login(), self.gate),
            "InvocationRequested": (
                InvocationRequested(
                    resource=MAIL,
                    parameters=json.dumps({"prompt": "x", "body": mark}),
                    intents=("{}",),
                    prompts=(prompt,),
                    bodies=(reference,),
                ),
                world.bot,
            ),
            **self._reports(decision),
            "ClockTicked": (ClockTicked(deadline=0), world.monitor),
            "SessionClosed": (SessionClosed(reason="r"), world.bot),
            "SessionRevoked": (SessionRevoked(session=world.bot.kid, reason="r"), world.admin),
            "AttestationSet": (attestation, world.desk),
            "AttestationApproved": (world.approval(self.asked, "boss", reason="r"), self.carol),
            "AttestationDenied": (world.denial(self.asked, "boss", reason="r"), self.carol),
            "AttestationRevoked": (workflow.AttestationRevoked(record=self.said, reason="r"), world.admin),
            **self._of_the_vault(),
            "DelegationGranted": (
                workflow.DelegationGranted(
                    delegate="desk", scope='{"resources":["**"]}', expires_at=world.now + 1000, purpose="p"
                ),
                world.bot,
            ),
            "DelegationRevoked": (workflow.DelegationRevoked(delegation=self.given, reason="r"), world.bot),
            "ApplicationEventLogged": (noted, world.bot),
            "StateQueried": (workflow.StateQueried(what="attestations", argument="null"), world.bot),
            **{type(one).__name__: (one, self.gate) for one in self._of_logins()},
            **self._of_tenants(),
            **self._of_verifiers(),
        }
        return found[body]

    def _of_verifiers(self) -> dict[str, tuple[Any, Actor]]:
        world, finding = self.world, VerifierFinding(kind="k", path="/p", start=0, end=1)
        verdict = world.verdict(self.waits, resource=REFUND, findings=(finding,))
        event_id = bytes(range(16))
        stapled = world.staple(event_id, resource=REFUND)
        call = InvocationRequested(
            resource=REFUND, parameters=json.dumps(ASKED), intents=(), prompts=(), verdicts=(stapled,)
        )
        return {
            "VerdictReported": (verdict, world.judge),
            "PrincipalRegistered.verifier": (world.registration("verifier", "second"), world.admin),
            "InvocationRequested.verdicts": (call, world.bot),
        }

    def _of_tenants(self) -> dict[str, tuple[Any, Actor]]:
        world = self.world
        return {
            "EngineActivated": (activation(reason="r"), world.admin),
            "IdentityProviderTrusted": (provider("b", private_hosts=("h",)), world.admin),
            "IdentityProviderDistrusted": (
                IdentityProviderDistrusted(issuer="https://a.example", end_sessions=True, reason="r"),
                world.admin,
            ),
            "ToolsOffered": (self._offer(), self.app),
            "LimitsSet": (LimitsSet(limits=(TenantLimit(name="keys", value=5_000),), settings=(SETTING,)), world.admin),
            "CataloguePublished": (
                CataloguePublished(name="own", verifier="secrets", rules=(RULE,), previous=self.catalogue, reason="r"),
                world.admin,
            ),
            "CatalogueWithdrawn": (CatalogueWithdrawn(name="own", previous=self.catalogue), world.admin),
            "EnforcementSet": (frozen(), world.admin),
        }

    def _of_the_roots(self) -> dict[str, tuple[Any, Actor]]:
        world = self.world
        offer = world.offer(keys_of("another admin"), "admin", "second")
        return {
            "AdminAdded": (world.admin_addition(offer, world.roots), world.roots[0]),
            "AdminRemoved": (world.admin_removal("admin", world.roots), world.roots[0]),
            "RootRotated": (world.root_rotation([keys_of("another root")], world.roots), world.roots[0]),
            "KeyRotated": (
                KeyRotated(kid=self.kyc.kid, key=world.offer(keys_of("k"), "attester", "kyc"), reason="r"),
                world.admin,
            ),
        }

    def _of_the_vault(self) -> dict[str, tuple[Any, Actor]]:
        reference = reference_to(bytes(16), b"x")
        named = jcs.canonical(written(reference)).decode()
        found = {
            "ContextWritten": workflow.ContextWritten(scope="team", key="n", value="1"),
            "ContextWritten.bodies": workflow.ContextWritten(
                scope="session", key="n", value=named, bodies=(reference,)
            ),
            "ContextRead": workflow.ContextRead(scope="team", key="n"),
            "ContextDeleted": workflow.ContextDeleted(scope="session", key="k"),
            "ContextListed": workflow.ContextListed(scope="team", prefix="a", after="", limit=9),
        }
        return {name: (one, self.world.bot) for name, one in found.items()}

    def _reports(self, decision: bytes) -> dict[str, tuple[Any, Actor]]:
        reference, told = reference_to(bytes(16), b"x"), (attests("checked"),)
        named = jcs.canonical(written(reference)).decode()
        each: dict[str, dict[str, Any]] = {
            "ResultReported": {"body": "{}", "attestations": told},
            "ResultReported.bodies": {"body": named, "bodies": (reference,)},
            "ResultReported.stream": {"body": "null", "stream": reference},
        }
        plain: dict[str, Any] = {"decision": decision, "outcome": "ok", "attestations": ()}
        return {name: (ResultReported(**{**plain, **more}), self.world.desk) for name, more in each.items()}

    def _login(self) -> SessionOpened:
        of_login: dict[str, Any] = {
            "actors": ("user:a/bot",),
            "methods": ("m",),
            "attributes": Attributes(roles=("r",)),
        }
        of_login |= {"issuer": provider("a").issuer, "login_ref": bytes(32), "subject_ref": bytes(32)}
        return self.world.provided_session("user:a/dave", self.gate, keys=keys_of("dave"), **of_login)

    def _of_logins(self) -> tuple[Any, ...]:
        digest, issuer = bytes(32), "https://a.example"
        return (
            renewal_of(self.world, self.dave, self.gate),
            LoginRefused(issuer=issuer, reason="R", login=digest, count=1),
            LoginEnded(issuer=issuer, login_ref=digest, subject_ref=digest, reason="r"),
        )

    def send(self, body: Any, by: Actor) -> Folded:
        """Let it be said."""
        header = {"causation_id": self.open.entry.event} if isinstance(body, ResultReported) else {}
        if isinstance(body, VerdictReported):
            header = {"causation_id": self.waits.entry.event}
        if isinstance(body, InvocationRequested) and body.verdicts:
            header = {"event_id": bytes(range(16))}
        return self.world.send(body, by, **header)


def example_of(field: Field) -> str:
    """Return which example has the field: an enrolment key declares no tools, and a file of persons has no logins."""
    if field.name.startswith(OF_THEIR_OWN) or field.path == "said_by":
        return ".".join(field.name.removesuffix("[]").replace("[]", "").split(".")[:2])
    if field.body == "ResultReported" and field.path.startswith(("bodies", "stream")):
        return f"ResultReported.{field.path[:6]}"
    if field.body == "ContextWritten" and field.path.startswith("bodies"):
        return "ContextWritten.bodies"
    of_login = field.body == "SessionOpened" and field.path.partition(".")[0].removesuffix("[]") in OF_LOGINS
    return "SessionOpened.login" if of_login else field.body


RULE = CatalogueRule(id="a", kind="token", pattern="ACME-[0-9]{8}")
LIMITS = ApproverLimits(scope='{"resources":["**"]}', keys=("**",), once_only=False, speaks_for=("user:*",))
OF_REGISTRATION = ("enrolment", "approver", "verifier")
OF_THEIR_OWN = ("InvocationRequested.verdicts", *(f"PrincipalRegistered.{one}" for one in OF_REGISTRATION))
OF_LOGINS = {"issuer", "token_sha256", "login_ref", "subject_ref", "methods", "actors", "login"}


# The founding event is its founder's, once, and its digest is pinned. A ruling is taken where a worker has followed it
# only, and its one text is bounded in `test_rulings.py`.
# A body without a rule is refused (`test_unsupported.py`).
# Attributes that a provider may not say, whatever their length, are refused in `test_providers.py`.
NEVER_SAID = {
    f"{body}.attributes.{name}"
    for body in ("IdentityProviderTrusted", "SessionRenewed")
    for name in ("user", "issuers", "attests", "subjects")
} | {"ToolsOffered.tools[].attests"}  # refused, however short: `test_offers.py`
OF_APPROVERS = ["AttestationApproved.said_by", "AttestationDenied.said_by"]
ELSEWHERE = {"TenantFounded", "RecordsSkipped", "TimeAccepted", *(cls.__name__ for cls in unsupported.BODIES)}


@pytest.mark.parametrize(
    "body", [*(body for body in BODIES if body not in ELSEWHERE), "SessionOpened.login", *OF_THEIR_OWN, *OF_APPROVERS]
)
def test_each_example_is_taken_as_it_stands(body):
    """Else what is shown below would be shown of nothing."""
    examples = Examples(body)

    assert examples.send(*examples.of(body)).entry.outcome in {"accepted", "allowed"}


@pytest.mark.parametrize(
    "field",
    [one for one in FIELDS if one.body not in ELSEWHERE and one.name.removesuffix("[]") not in NEVER_SAID],
    ids=lambda field: field.name,
)
def test_what_is_long_is_refused_unless_it_is_one_calls_alone(field):
    """Each text, bytes and list of every body, one at a time."""
    examples = Examples(field.name)
    body, by = examples.of(example_of(field))
    folded = examples.send(lengthened(body, field.path, field.kind), by)

    taken = folded.entry.outcome in {"accepted", "allowed", "pending"}
    assert taken <= (field.name in WHOLE), (folded.says, folded.results)


def test_what_is_one_calls_alone_is_a_field_of_today():
    """A name that no schema has any more would let a later field of that name through."""
    assert set(WHOLE) <= {field.name for field in FIELDS}
