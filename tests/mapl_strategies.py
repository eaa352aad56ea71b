"""What random tenants are made of: documents with every part of the language, calls, and what has happened before."""

import json
from typing import Any

from hypothesis import strategies as st

from processors.policy.documents import parse_inline, parse_policy
from processors.policy.errors import PolicyError
from tests.reference import mapl

NOW = 1_772_463_600_000  # 2026-03-02T15:00:00Z

# ---- documents

PATTERNS = ["tool:a", "tool:*", "tool:a/*", "tool:a/**", "*", "**", "data:*", "*c*", "@acme/**", "tool:A", "tool:a*/b"]
NAMES = [
    "tool:a",
    "tool:a/b",
    "tool:A/b",
    "tool:a/b/c",
    "data:a",
    "a",
    "@acme/tool:a",
    "tool:%61/b",
    "user:u",
    "tool:a/../b",
]
LAYERS = [
    "org:o", "role:r", "base:role:r", "role:s", "company:C", "restrict:org:c", "bu:B", "restrict:bu:b", "team:T",
    "restrict:team:t", "user:u", "agent:g", "service:v", "filter:clearance:standard", "app:a", "tool:a", "tool:a/b",
    "data:a", "res:user:u", "skill:x", "skill:y",
]  # fmt: skip
VALUES: list[Any] = [None, True, False, 0, 1, 5, 5.5, -1, "", "a", "5", "true", "null", "ab", "\uff21B", "a/b",
"a/../b",
    "drop it", "caf\u00e9", "cafe\u0301", [], [1], [1, "a"], [None], {}, {"k": 1}, {"k": "x", "l": [2]}]  # fmt: skip
SPECS: list[Any] = [
    [1], ["a", "*b"], [None, 5], ["*"], [["a"], {"k": 1}], {"min": 0}, {"max": 5}, {"range": [0, 5]},
    {"pattern": "[a-c]+"},
    {"min_length": 1, "max_length": 2}, {"max_items": 1}, {"min_items": 1}, {"required": True}, {"type": "integer"},
    {"type": "string", "allowed_values": ["a", "5"]}, {"required": True, "max": 5, "allowed_values": [1, 5, "5"]},
    {"type": "object"}, {"type": "number", "required": True}, {"allowed_values": [None, "a"], "type": "string"},
    {"type": "boolean", "allowed_values": [True]}, {"required": False}, {"pattern": "(?i)a.*", "min_length": 2},
]  # fmt: skip
ITEMS: list[Any] = ["*drop*", "a?", 5, True, None, [1], {"k": 1}, "\uff41b", "", "k", "*"]
PATHS = ["n", "m", "o.k", "o.l[0]", "l[*]", "l[*].k", "n[0]", "caf\u00e9"]
TERMS = [
    "params.n > 1", "n == 5", "n != null", "params.m == null", "m IN ('a', 'b')", "n in [1, 5]", "n IN params.l",
    "params.o.k == 'x'", "params.l[0] >= 1", "m MATCHES 'a*'", "m MATCHES /[ab]+/", "n < m", "params.flag",
    "principal.team == 'T'", "principal.user_id == 'u'", "'r' == principal.roles[0]", "principal.has_role('s')",
    "principal.has_group('g')", "'r' IN principal.roles" , "context.has_attestation('k')", "context.is_delegated",
    "context.delegation_depth > 0", "context.app == 'g'", "tool.id == 'tool:a/b'", "tool.op == 'b'", "tool.app == 'a'",
    "tool.domain != 'data'", "tool.tenant == null", "time.hour('America/New_York') < 11", "time.weekday == 1",
    "time.clock >= '15:00'", "time.date('+14:00') == '2026-03-03'", "time.now > 1772463600", "true == params.flag",
    "principal.clearance == 'standard'", "principal.email == null", "m > 'a'", "params.o == params.o", "1 <= n",
]  # fmt: skip
expressions = st.recursive(
    st.sampled_from(TERMS),
    lambda inner: (
        st.tuples(inner, st.sampled_from([" AND ", " OR ", " and "]), inner).map("".join)
        | inner.map(lambda text: f"NOT ({text})")
        | inner.map(lambda text: f"({text})")
    ),
    max_leaves=4,
)
keys = st.sampled_from(["k", "j", "deny", "ext"])
requirements = keys | st.tuples(keys, expressions).map(lambda pair: f"{pair[0]}::{{{pair[1]}}}")
metas = st.fixed_dictionaries(
    {},
    optional={
        "approval_criteria": st.sampled_from(["role:lead", ["role:lead", "user:sam"]]),
        "quorum": st.sampled_from([1, 2]),
        "timeout": st.sampled_from([0, 60]),
        "time_to_live": st.sampled_from([30, 7200]),
        "one_time": st.booleans(),
        "max_uses": st.sampled_from([1, 2]),
        "set_by": st.sampled_from([["tool:a/*"], ["tool:b"]]),
        "priority": st.sampled_from([1, 200]),
    },
)
rules = st.sampled_from([
    {"after": {"resource": "tool:a/b"}},
    {"after": {"resource": "tool:a*", "same": [["n", "n"]], "within": 60}},
    {"at_most": 1, "per": "session"},
    {"at_most": 2, "per": "user", "window": 60},
    {"sum": "n", "max": 6, "per": "user", "window": "day"},
    {"sum": "l[*]", "max": 3, "per": "session"},
    {"tainted_by": "data:*"},
    {"tainted_by": "TOOL:A", "require": "k"},
    {"not_from": "data:*"},
    {"not_from": "**", "argument": "m"},
    {"not_from": "TOOL:A", "argument": ["o.k", "l[*]"], "else": "k"},
    {"not_from": "tool:*", "argument": "*", "else": "ext"},
    {"not_from": "tool:*", "unless_cleared_by": "verifier:judge"},
])  # fmt: skip
sequences = st.lists(
    st.builds(
        lambda rule, when, condition: {**rule, "when": when, **condition},
        rules,
        st.sampled_from(["**", "tool:a/*"]),
        st.just({}) | expressions.map(lambda text: {"if": text}),
    ),
    max_size=2,
).map(lambda found: [{"id": f"r{at}", **rule} for at, rule in enumerate(found)])
patterns = st.lists(st.sampled_from(PATTERNS), max_size=3)
opkeys = st.sampled_from(["**", "tool:a/*", "TOOL:*", "data:a"])
constraints = st.fixed_dictionaries(
    {},
    optional={
        "rate_limit": st.sampled_from([1, 2, 1000]),
        "parameters": st.dictionaries(
            opkeys, st.dictionaries(st.sampled_from(PATHS), st.sampled_from(SPECS), max_size=3)
        ),
        "allowed_parameters": st.dictionaries(opkeys, st.lists(st.sampled_from(PATHS), max_size=4), max_size=2),
        "denied_parameters": st.dictionaries(
            opkeys,
            st.dictionaries(st.sampled_from([*PATHS, "*"]), st.lists(st.sampled_from(ITEMS), max_size=2), max_size=2),
        ),
        "attestations": st.dictionaries(keys, metas, max_size=2) | st.lists(requirements, max_size=1),
        "roles": st.lists(st.sampled_from(["r", "s", "z"]), max_size=2),
        "audit_level": st.sampled_from(["minimal", "full"]),
        "require_approval": st.booleans() | st.just("team:T"),
    },
)
times = st.sampled_from(
    ["2026-03-02T14:59:59Z", "2026-03-02T15:00:00Z", "2026-03-02T16:00:30+01:00", "2026-03-03T00:00:00.5Z"]
)
rare = {
    "denied_resources": patterns,
    "attestations": st.lists(requirements, max_size=2),
    "validity": st.fixed_dictionaries({}, optional={"not_before": times, "not_after": times}),
    "sequence": sequences,
    "constraints": constraints,
}
parts = st.sampled_from([{name: part} for name, part in rare.items()] + [{}, rare])
extends = st.sampled_from(["skill:x", "skill:y"] * 5 + ["team:T", "gone"])
bodies = parts.flatmap(
    lambda chosen: st.fixed_dictionaries(
        {}, optional={"resources": patterns | st.just(["**"]), "extends": extends, **chosen}
    )
)
granting = parts.flatmap(lambda chosen: st.fixed_dictionaries({"resources": st.just(["**"]), **chosen}))
intents = parts.flatmap(
    lambda chosen: st.fixed_dictionaries({}, optional={"resources": patterns, "purpose": st.just("x"), **chosen})
)  # fmt: skip


def faults(parse: Any, error: type[Exception], text: str) -> str:
    try:
        parse(text)
    except error as fault:
        return str(fault.code)  # type: ignore[attr-defined]
    return ""


# ---- tenants and calls


def of(policy_id: str, body: Any) -> str | None:
    """Return a document's text, None where it is faulty."""
    text = json.dumps({"policy_id": policy_id, **body})
    return None if faults(lambda one: parse_policy(one.encode(), organisation=True), PolicyError, text) else text


def is_sound(body: Any) -> bool:
    return not faults(lambda one: parse_inline(one.encode()), PolicyError, json.dumps(body))


sound, sound_grants = bodies.filter(is_sound), granting.filter(is_sound)
sound_intents = intents.filter(is_sound) | st.just({"oops": 1})

SUBJECTS: dict[str, dict[str, Any]] = {
    "u": {"user": "u", "company": "C", "business_unit": "B", "team": "T", "roles": ["r", "s"], "groups": ["g"]},
    "p": {"user": "p", "roles": ["s"], "type": "user"},
    "v": {"type": "service", "service": "v", "user": "svc:v", "roles": []},
}
records = st.builds(
    mapl.Record,
    key=keys,
    at=st.sampled_from([NOW - 40_000, NOW - 10_000, NOW]),
    setter=st.sampled_from(["tool:a/x", "tool:b"]),
    one_time=st.booleans(),
    max_uses=st.none() | st.sampled_from([1, 2]),
    time_to_live=st.none() | st.just(20),
    uses=st.sampled_from([0, 0, 1]),
    revoked=st.booleans(),
    status=st.sampled_from([None, None, "approved", "denied"]),
    bound=st.booleans(),
    by=st.lists(
        st.tuples(st.sampled_from(["lee", "sam"]), st.lists(st.sampled_from(["role:lead", "user:sam"]))), max_size=2
    ),
)
scopes = st.sampled_from([
    {"resources": ["**"]}, {"resources": ["tool:a/*"], "operations": ["b"]}, {"operations": ["a",
    "b"], "conditions": {"max_amount": 5}},
    {"resources": ["tool:*"], "conditions": {"ticket_ids": ["a"]}},
    {"resources": ["**"], "conditions": {"time_window": {"start": "2026-03-02T15:00:00Z",
    "end": "2026-03-02T15:00:30Z"}}},
])  # fmt: skip
hops = st.builds(
    lambda scope, expires, revoked: (scope, expires, revoked),
    scopes, st.sampled_from([NOW] + [NOW + 60_000] * 4), st.sampled_from([False] * 6 + [True]),
)  # fmt: skip
calls = st.fixed_dictionaries({
    "resource": st.sampled_from(NAMES),
    "params": st.dictionaries(st.sampled_from(["n", "m", "o", "l", "flag", "o.k", "caf\u00e9", "cafe\u0301"]),
    st.sampled_from(VALUES), max_size=4),
    "after_ms": st.sampled_from([0, 1, 999, 30_000, 61_000]),
})  # fmt: skip
documents = st.dictionaries(st.sampled_from(LAYERS), sound, max_size=3)
families = st.builds(
    lambda found, more, top: {
        "skill:x": {**more, "extends": "skill:y"}, **found, "skill:y": {**top, "resources": ["**"]}
    },
    documents, sound, sound_grants,
)  # fmt: skip
granted = st.builds(
    lambda found, chosen, who: {**found, who: chosen},
    families, sound_grants, st.sampled_from(["user:u", "user:u", "user:u", "role:r", "company:C"]),
)  # fmt: skip
required = st.none() | st.lists(st.sampled_from(["company", "bu", "team", "user", "roles"]), max_size=2)
worlds = st.fixed_dictionaries({
    "documents": families | granted | granted | granted,
    "strict": st.sampled_from([False, False, True]),
    "required": st.none() | st.none() | required,
    "records": st.lists(records, max_size=3),
    "subjects": st.sampled_from([["u"]] * 6 + [["p"], ["u", "v"], ["u", "p", "v"]]),
    "hops": st.lists(hops, min_size=2, max_size=2),
    "bound": st.booleans(),
    "intents": st.just([]) | st.lists(sound_intents, max_size=2),
    "calls": st.lists(calls, min_size=1, max_size=3),
    "resumed": st.sampled_from([None, None, [], ["k", "ext"]]),
})  # fmt: skip

# One part of the language at a time, so that calls come far.
params_here = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(SPECS), min_size=1, max_size=3)
denied_here = st.dictionaries(
    st.sampled_from([*PATHS, "*"]), st.lists(st.sampled_from(ITEMS), min_size=1, max_size=3), min_size=1
)
focus = st.one_of(
    params_here.map(lambda one: {"constraints": {"parameters": {"**": one}}}),
    denied_here.map(lambda one: {"constraints": {"denied_parameters": {"**": one}}}),
    expressions.map(lambda text: {"attestations": [f"deny::{{{text}}}"]}),
    st.builds(
        lambda needed, said: {"attestations": needed, "constraints": {"attestations": said}},
        st.lists(requirements, min_size=1, max_size=2),
        st.dictionaries(st.sampled_from(["k", "j", "ext"]), metas, min_size=1),
    ),
    sequences.map(lambda one: {"sequence": one}),
    st.sampled_from([1, 2, 3]).map(lambda one: {"constraints": {"rate_limit": one}}),
    st.just({"constraints": {"require_approval": True}}),
).filter(is_sound)
focused = st.fixed_dictionaries({
    "documents": st.builds(
        lambda one, other: {"user:u": {**one, "resources": ["**"]}, "tool:a": other}, focus, focus | st.just({})
    ),
    "strict": st.sampled_from([False, False, False, True]),
    "required": st.none(),
    "records": st.lists(records, max_size=4),
    "subjects": st.just(["u"]),
    "hops": st.just([]),
    "bound": st.just(False),
    "intents": st.just([]) | focus.map(lambda one: [one]),
    "calls": st.lists(calls.map(lambda call: {**call, "resource": "tool:a/b"}) | calls, min_size=1, max_size=4),
    "resumed": st.sampled_from([None, None, None, ["k", "ext"]]),
})  # fmt: skip
