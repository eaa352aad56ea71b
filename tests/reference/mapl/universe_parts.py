"""What the small universe is made of: contents of documents, extensions, subjects, parameters and tables."""

from dataclasses import dataclass, field

from tests.reference.mapl.world import Hop, Past, Record

NOW = 1_772_463_600_000  # 2026-03-02T15:00:00Z
LATER = NOW + 3_600_000
PRINCIPAL = "u"

Body = dict[str, object]


def document(policy_id: str, body: Body) -> Body:
    return {"policy_id": policy_id, **body}


def joined(*bodies: Body) -> Body:
    """One body that says all of them; they speak of different fields."""
    whole: Body = {}
    for body in bodies:
        for name, value in body.items():
            present = whole.get(name)
            whole[name] = {**present, **value} if isinstance(present, dict) and isinstance(value, dict) else value
    return whole


def limited(**constraints: object) -> Body:
    return {"constraints": constraints}


WIDE: Body = {"resources": ["**"]}
NEAR: Body = {"resources": ["tool:a/*"]}
AWAY: Body = {"resources": ["tool:b/*"]}
DENIES: Body = {"denied_resources": ["*:A/X"]}
DENIES_ELSEWHERE: Body = {"denied_resources": ["tool:b/**"]}
SMALL = limited(parameters={"tool:**": {"n": {"max": 5}}})
NAMED = limited(parameters={"tool:a/*": {"s": ["m*"]}})
NEEDED = limited(parameters={"**": {"n": {"required": True, "type": "integer"}}})
NO_BAD = limited(denied_parameters={"*": {"*": ["*bad*"]}})
FORBIDS: Body = {"attestations": ["deny::{params.n > 5}"]}
FORBIDS_TRUE: Body = {"attestations": ["deny::{NOT principal.has_role('r1')}"]}
INTERNAL: Body = {"attestations": ["k"]}
ONCE = joined(INTERNAL, limited(attestations={"k": {"one_time": True, "time_to_live": 60}}))
SOMETIMES: Body = {"attestations": ["k::{params.n >= 4}"]}
EXTERNAL: Body = {
    "attestations": ["e"],
    **limited(attestations={"e": {"approval_criteria": "role:lead", "timeout": 60}}),
}
AT_ONCE: Body = {"attestations": ["e"], **limited(attestations={"e": {"approval_criteria": "role:head"}})}
APPROVED = limited(require_approval=True)
RATED = limited(rate_limit=1)
OVER: Body = {"validity": {"not_after": "2026-03-02T15:00:00Z"}}
LEADS = limited(roles=["lead"])
ONE_A_SESSION: Body = {"sequence": [{"id": "one", "when": "tool:**", "at_most": 0, "per": "session"}]}
TAINTED: Body = {"sequence": [{"id": "taint", "when": "tool:a/**", "tainted_by": "tool:mail/*", "require": "k"}]}

# Slots of a base: absent, or one of these. Two role branches, so that alternatives meet each other and the rest.
BASES: dict[str, list[Body]] = {
    "role:r1": [
        NEAR, joined(NEAR, SMALL), joined(WIDE, EXTERNAL), joined(NEAR, DENIES_ELSEWHERE, RATED), DENIES, NO_BAD,
    ],
    "base:role:r2": [joined(NEAR, NO_BAD), joined(WIDE, ONCE), joined(NEAR, OVER), AWAY],
    "company:acme": [WIDE, SMALL, AT_ONCE, joined(NEAR, RATED)],
    "user:u": [WIDE, FORBIDS, SOMETIMES],
    "tool:a/x": [NEAR, joined(WIDE, LEADS)],
}  # fmt: skip

# Documents an extension adds, at ids that no base has. Each layer, and every kind of content.
_CONTENTS: list[Body] = [WIDE, AWAY, DENIES, SMALL, NO_BAD, FORBIDS, INTERNAL, EXTERNAL, AT_ONCE, RATED, OVER]
_LAYERS = ["org:o", "restrict:org:acme", "bu:b", "user:u@x.org", "agent:g", "filter:clearance:standard", "tool:a"]
NEW_DOCUMENTS: list[tuple[str, Body]] = [
    *((policy_id, body) for policy_id in _LAYERS for body in _CONTENTS),
    ("team:t", joined(NEAR, ONCE)),
    ("team:t", joined(WIDE, LEADS)),
    ("restrict:team:t", FORBIDS_TRUE),
    ("app:a", joined(NEAR, APPROVED)),
    ("app:a", joined(WIDE, TAINTED)),
    ("app:a", ONE_A_SESSION),
    ("bu:b", {"extends": "company:acme"}),
    ("bu:b", {"extends": "role:r1"}),
    ("team:t", {"extends": "base:role:r2", **NAMED}),
]

# Entries that an extension adds to a restriction of a document that is there.
_KEYWORD = limited(parameters={"tool:**": {"n": {"required": True, "type": "integer"}}})
_MORE_REQUIRED: Body = {"attestations": ["k::{params.n < 9}"]}
_MORE_FORBIDDEN: Body = {"attestations": ["deny"]}
_ENTRIES = [DENIES, NAMED, NEEDED, _KEYWORD, NO_BAD, _MORE_REQUIRED, _MORE_FORBIDDEN, RATED, OVER]
ENTRIES: list[tuple[str, Body]] = [(policy_id, entry) for policy_id in BASES for entry in _ENTRIES]

INTENTS: list[Body] = [NEAR, AWAY, joined(WIDE, SMALL), FORBIDS, {"extends": "gone"}, INTERNAL]
HOPS: list[Hop] = [
    Hop("root", "", {"resources": ["tool:**"]}, LATER),
    Hop("root", "", {"resources": ["tool:b/*"]}, LATER),
    Hop("root", "", {"operations": ["x"], "conditions": {"max_amount": 5}}, LATER),
]

SUBJECTS: dict[str, dict[str, object]] = {
    "both": {
        "user": PRINCIPAL, "email": "u@x.org", "company": "acme", "business_unit": "b", "team": "t", "agent": "g",
        "roles": ["r1", "r2", "lead"],
    },
    "bare": {"user": PRINCIPAL, "email": "u@x.org", "business_unit": "b", "agent": "g", "roles": ["r1", "r2"]},
    "root": {"user": "r", "company": "acme", "roles": ["r1", "lead"]},
}  # fmt: skip


@dataclass
class CallCase:
    """The third part of a triple: everything that stays equal when the extension is added."""

    subject: str = "both"
    params: str = '{"n": 4, "s": "m1"}'
    now: int = NOW
    settings: dict[str, object] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    buckets: dict[tuple[str, str], int] = field(default_factory=dict)
    history: list[Past] = field(default_factory=list)
    resumed: bool = False


_RECORDS = [
    Record("k", NOW - 1000),
    Record("e", NOW - 1000, status="approved", bound=True, by=[("lee", ["role:lead"])]),
]
_FULL = {(PRINCIPAL, policy_id): NOW * 1000 + 30_000_000 for policy_id in ("company:acme", "role:r1", "org:o")}
_TAINT = [Past("session-1", "tool:mail/read", {}, NOW - 5000)]

CALLS: list[CallCase] = [
    CallCase(params="{}"),
    CallCase(),
    CallCase(params='{"n": 9, "s": "bad"}'),
    CallCase(params='{"n": null}'),
    CallCase(subject="bare"),
    CallCase(records=_RECORDS, resumed=True),
    CallCase(records=[Record("k", NOW - 90_000, uses=1)], history=_TAINT),
    CallCase(buckets=_FULL),
    CallCase(params='{"amount": 5, "n": 5, "s": "x"}', settings={"strict_parameters": True}),
    CallCase(params='{"amount": 3}', records=_RECORDS, resumed=True, settings={"required_layers": []}),
]
