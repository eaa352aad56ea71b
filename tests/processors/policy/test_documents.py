"""Policy documents: what is accepted, the digest, and one refusal for each code with its place."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.policy import limits
from processors.policy.documents import ParameterConstraint, PolicyError, parse_policy
from processors.proof import jcs


def text_of(**members: object) -> bytes:
    return json.dumps({"policy_id": "a:b", **members}).encode()


def with_spec(spec: object, opkey: str = "tool:*", path: str = "n") -> bytes:
    return text_of(constraints={"parameters": {opkey: {path: spec}}})


def refusal(text: bytes) -> tuple[str, str]:
    with pytest.raises(PolicyError) as raised:
        parse_policy(text)
    return raised.value.code, raised.value.pointer


PARAMETERS = "/constraints/parameters"
SPEC = f"{PARAMETERS}/tool:*/n"

REFUSED = [
    # the text
    (b"", "E_JSON", ""),
    (b"{", "E_JSON", ""),
    (b"\xff", "E_JSON", ""),
    (b'\xef\xbb\xbf{"policy_id":"a:b"}', "E_JSON", ""),
    (b'{"policy_id":"a:b"} x', "E_JSON", ""),
    (b'{"policy_id":"a:b","constraints":{"parameters":{"tool:*":{"n":{"max":NaN}}}}}', "E_JSON", ""),
    (b'{"policy_id":"a:b","policy_id":"a:c"}', "E_JSON_DUPLICATE", ""),
    (with_spec([0]).replace(b"[0]", b"[9007199254740993]"), "E_JSON_NUMBER", ""),
    (with_spec([0]).replace(b"[0]", b"[1e999]"), "E_JSON_NUMBER", ""),
    (rb'{"policy_id":"a:b","name":"\ud800"}', "E_TEXT", ""),
    (b'{"policy_id":"a:b","scope":' + b"[" * 16 + b"]" * 16 + b"}", "E_LIMIT", ""),
    (text_of(description="x" * limits.DOCUMENT_BYTES_MAX), "E_LIMIT", ""),
    (b"[]", "E_TYPE", ""),
    (b"null", "E_TYPE", ""),
    # members
    (b"{}", "E_POLICY_ID", "/policy_id"),
    (text_of(resource=["**"]), "E_UNKNOWN_FIELD", "/resource"),
    (text_of(**{"a/b~c": 1}), "E_UNKNOWN_FIELD", "/a~1b~0c"),
    (text_of(constraints={"max": 1}), "E_UNKNOWN_FIELD", "/constraints/max"),
    (text_of(constraints={"tool:*": {"n": [1]}}), "E_UNKNOWN_FIELD", "/constraints/tool:*"),
    (text_of(resources=None), "E_TYPE", "/resources"),
    (text_of(resources="**"), "E_TYPE", "/resources"),
    (text_of(resources=["**", 1]), "E_TYPE", "/resources/1"),
    (text_of(denied_resources={}), "E_TYPE", "/denied_resources"),
    (text_of(constraints=[]), "E_TYPE", "/constraints"),
    (text_of(constraints=None), "E_TYPE", "/constraints"),
    (text_of(name=None), "E_TYPE", "/name"),
    (text_of(version=1), "E_TYPE", "/version"),
    (text_of(description="a\u0000"), "E_TEXT", "/description"),
    (text_of(scope="x" * 1025), "E_LIMIT", "/scope"),
    # policy_id
    (text_of(policy_id=1), "E_TYPE", "/policy_id"),
    (text_of(policy_id=None), "E_TYPE", "/policy_id"),
    (text_of(policy_id=""), "E_POLICY_ID", "/policy_id"),
    (text_of(policy_id="x" * 257), "E_POLICY_ID", "/policy_id"),
    (text_of(policy_id="role:*"), "E_POLICY_ID", "/policy_id"),
    (text_of(policy_id="role:a\\b"), "E_POLICY_ID", "/policy_id"),
    (text_of(policy_id="role:a "), "E_POLICY_ID", "/policy_id"),
    (text_of(policy_id="role:a\u200b"), "E_POLICY_ID", "/policy_id"),
    (text_of(policy_id="role:a\n"), "E_POLICY_ID", "/policy_id"),
    (text_of(policy_id="org:base"), "E_PREFIX_RESERVED", "/policy_id"),
    (text_of(policy_id="intent:x"), "E_PREFIX_RESERVED", "/policy_id"),
    (text_of(policy_id="delegation:x"), "E_PREFIX_RESERVED", "/policy_id"),
    (text_of(policy_id="prompt:x"), "E_PREFIX_RESERVED", "/policy_id"),
    # patterns
    (text_of(resources=[""]), "E_PATTERN", "/resources/0"),
    (text_of(resources=["**", " a"]), "E_PATTERN", "/resources/1"),
    (text_of(denied_resources=["*a" * 17]), "E_PATTERN", "/denied_resources/0"),
    (text_of(denied_resources=["a\u0007"]), "E_PATTERN", "/denied_resources/0"),
    (text_of(resources=["a" * 513]), "E_LIMIT", "/resources/0"),
    (text_of(resources=["a"] * 513), "E_LIMIT", "/resources"),
    (with_spec([1], opkey="tool:a "), "E_PATTERN", f"{PARAMETERS}/tool:a "),
    # parameter constraints
    (text_of(constraints={"parameters": []}), "E_TYPE", PARAMETERS),
    (text_of(constraints={"parameters": {"calc": {"n": {"max": 5}}}}), "E_PARAM_FORM", f"{PARAMETERS}/calc"),
    (text_of(constraints={"parameters": {"calc": 5}}), "E_PARAM_FORM", f"{PARAMETERS}/calc"),
    (text_of(constraints={"parameters": {"tool:*": [1]}}), "E_PARAM_FORM", f"{PARAMETERS}/tool:*"),
    (text_of(constraints={"parameters": {"tool:*": 1}}), "E_TYPE", f"{PARAMETERS}/tool:*"),
    (with_spec([1], path=""), "E_PARAM_PATH", f"{PARAMETERS}/tool:*/"),
    (with_spec([1], path="a..b"), "E_PARAM_PATH", f"{PARAMETERS}/tool:*/a..b"),
    (with_spec([1], path="a[x]"), "E_PARAM_PATH", f"{PARAMETERS}/tool:*/a[x]"),
    (with_spec([1], path="a]"), "E_PARAM_PATH", f"{PARAMETERS}/tool:*/a]"),
    (with_spec([1], path="*"), "E_PARAM_PATH", f"{PARAMETERS}/tool:*/*"),
    (with_spec([1], path="a\u0000"), "E_PARAM_PATH", f"{PARAMETERS}/tool:*/a\u0000"),
    (with_spec({}), "E_SPEC_EMPTY", SPEC),
    (with_spec([]), "E_ENUM_EMPTY", SPEC),
    (with_spec({"allowed_values": []}), "E_ENUM_EMPTY", f"{SPEC}/allowed_values"),
    (with_spec({"allowed_values": "x"}), "E_TYPE", f"{SPEC}/allowed_values"),
    (with_spec({"required": 1}), "E_TYPE", f"{SPEC}/required"),
    (with_spec({"required": None}), "E_TYPE", f"{SPEC}/required"),
    (with_spec(5), "E_TYPE", SPEC),
    (with_spec(None), "E_TYPE", SPEC),
    (with_spec({"maximum": 5}), "E_UNKNOWN_FIELD", f"{SPEC}/maximum"),
    (with_spec(list(range(1025))), "E_LIMIT", SPEC),
    (
        text_of(constraints={"parameters": {f"tool:{at}": {} for at in range(257)}}),
        "E_LIMIT",
        PARAMETERS,
    ),
    (
        text_of(constraints={"parameters": {"tool:*": {f"n{at}": [1] for at in range(129)}}}),
        "E_LIMIT",
        f"{PARAMETERS}/tool:*",
    ),
    # specs
    (with_spec({"min": "1"}), "E_TYPE", f"{SPEC}/min"),
    (with_spec({"max": True}), "E_TYPE", f"{SPEC}/max"),
    (with_spec({"range": [1]}), "E_TYPE", f"{SPEC}/range"),
    (with_spec({"range": [1, "2"]}), "E_TYPE", f"{SPEC}/range/1"),
    (with_spec({"range": [2, 1]}), "E_SPEC_CONFLICT", SPEC),
    (with_spec({"range": [1, 2], "min": 1}), "E_SPEC_CONFLICT", SPEC),
    (with_spec({"max": 2, "range": [1, 2]}), "E_SPEC_CONFLICT", SPEC),
    (with_spec({"min": 2, "max": 1}), "E_SPEC_CONFLICT", SPEC),
    (with_spec({"min_length": 2, "max_length": 1}), "E_SPEC_CONFLICT", SPEC),
    (with_spec({"min": 2, "pattern": "a"}), "E_SPEC_CONFLICT", SPEC),
    (with_spec({"type": "boolean", "max_items": 1}), "E_SPEC_CONFLICT", SPEC),
    (with_spec({"type": "text"}), "E_TYPE", f"{SPEC}/type"),
    (with_spec({"min_length": -1}), "E_LIMIT", f"{SPEC}/min_length"),
    (with_spec({"max_items": 1.5}), "E_TYPE", f"{SPEC}/max_items"),
    (with_spec({"pattern": 5}), "E_TYPE", f"{SPEC}/pattern"),
    (with_spec({"pattern": "(a)\\1"}), "E_REGEX", f"{SPEC}/pattern"),
    (with_spec({"pattern": "(?:a{500}){500}"}), "E_REGEX", f"{SPEC}/pattern"),
    (with_spec({"pattern": "a" * 513}), "E_LIMIT", f"{SPEC}/pattern"),
    (with_spec(["eu", "*a" * 17]), "E_PATTERN", f"{SPEC}/1"),
    (with_spec([1], path="a[0123456789]"), "E_PARAM_PATH", f"{PARAMETERS}/tool:*/a[0123456789]"),
    # the short form
    (text_of(constraints={"parameters": {"n*": [1]}}), "E_PARAM_FORM", f"{PARAMETERS}/n*"),
    (text_of(constraints={"parameters": {"n": {}}}), "E_SPEC_EMPTY", f"{PARAMETERS}/n"),
    (text_of(constraints={"parameters": {f"n{at}": [1] for at in range(129)}}), "E_LIMIT", PARAMETERS),
    (text_of(constraints={"denied_parameters": {"a:b": ["x"]}}), "E_PARAM_FORM", "/constraints/denied_parameters/a:b"),
    (text_of(constraints={"denied_parameters": {"n": {"max": 1}}}), "E_PARAM_FORM", "/constraints/denied_parameters/n"),
    (text_of(constraints={"denied_parameters": {"**": {"n": 1}}}), "E_TYPE", "/constraints/denied_parameters/**/n"),
    (
        text_of(constraints={"denied_parameters": {"**": {"n": ["?" * 513]}}}),
        "E_LIMIT",
        "/constraints/denied_parameters/**/n/0",
    ),
    # the rest of the language
    (text_of(extends=1), "E_TYPE", "/extends"),
    (text_of(validity=[]), "E_TYPE", "/validity"),
    (text_of(validity={"not_before": 5}), "E_TYPE", "/validity/not_before"),
    (text_of(validity={"not_after": "2026-03-02T15:00:00"}), "E_TIME", "/validity/not_after"),
    (text_of(constraints={"rate_limit": True}), "E_TYPE", "/constraints/rate_limit"),
    (text_of(constraints={"rate_limit": 0}), "E_RATE", "/constraints/rate_limit"),
    (text_of(constraints={"roles": ["a"] * 65}), "E_LIMIT", "/constraints/roles"),
    (text_of(constraints={"require_approval": 1}), "E_TYPE", "/constraints/require_approval"),
    (text_of(constraints={"attestations": 1}), "E_TYPE", "/constraints/attestations"),
    (text_of(constraints={"attestations": {"a::b": {}}}), "E_ATT_KEY", "/constraints/attestations/a::b"),
    (
        text_of(constraints={"attestations": {"deny": {"quorum": 1}}}),
        "E_ATT_RESERVED",
        "/constraints/attestations/deny",
    ),
    (
        text_of(constraints={"attestations": {"k": {"timeout": 604_801, "approval_criteria": "role:x"}}}),
        "E_LIMIT",
        "/constraints/attestations/k/timeout",
    ),
    (text_of(attestations=[5]), "E_TYPE", "/attestations/0"),
    (text_of(attestations=["k"] * 65), "E_LIMIT", "/attestations"),
    (text_of(attestations=["k"] * 64, constraints={"attestations": ["k"]}), "E_LIMIT", "/constraints/attestations"),
    (text_of(attestations=["k::{a > 5} "]), "E_ATT_FORM", "/attestations/0"),
    (text_of(attestations=["k::{" + "a" * 2049 + "}"]), "E_EXPR_LIMIT", "/attestations/0"),
    (text_of(sequence={}), "E_TYPE", "/sequence"),
    (text_of(sequence=[{"id": "x", "when": "**", "at_most": 0, "per": "user"}]), "E_SEQUENCE", "/sequence/0/at_most"),
    (
        text_of(sequence=[{"id": "x", "when": "**", "at_most": 1, "per": "user", "x": 1}]),
        "E_UNKNOWN_FIELD",
        "/sequence/0/x",
    ),
    (text_of(sequence=[{"id": "x", "when": "**", "tainted_by": ""}]), "E_PATTERN", "/sequence/0/tainted_by"),
    (
        text_of(sequence=[{"id": "x", "when": "**", "tainted_by": "*", "require": "deny"}]),
        "E_ATT_RESERVED",
        "/sequence/0/require",
    ),
    (
        text_of(sequence=[{"id": "x", "when": "**", "at_most": 1, "per": "user", "if": "a >"}]),
        "E_EXPR_SYNTAX",
        "/sequence/0/if",
    ),
    (
        text_of(sequence=[{"id": "x", "when": "**", "tainted_by": "*"}] * 2),
        "E_SEQUENCE",
        "/sequence/1",
    ),
]


@pytest.mark.parametrize(("text", "code", "pointer"), REFUSED, ids=lambda value: repr(value)[:60])
def test_a_faulty_document_is_refused_with_its_code_and_place(text, code, pointer):
    """Nothing is ignored, coerced or repaired: each fault has one code, and a pointer to where it stands."""
    assert refusal(text) == (code, pointer)


def test_a_document_is_read_whole():
    """Every field of this version arrives; advisory ones change nothing but the digest."""
    policy = parse_policy(
        text_of(
            policy_id="role:clerk of works",
            name="Clerk",
            version="3",
            description="who may order",
            scope="shop",
            resources=["tool:shop/*", "data:**"],
            denied_resources=["*secret*"],
            constraints={"parameters": {"tool:shop/*": {"qty": [1, 2], "to": {"required": True}}}},
        )
    )

    assert policy.policy_id == "role:clerk of works"
    assert policy.resources == ("tool:shop/*", "data:**")
    assert policy.denied_resources == ("*secret*",)
    pointer = "/constraints/parameters/tool:shop~1*"
    assert policy.parameters == (
        ParameterConstraint(opkey="tool:shop/*", path="qty", pointer=f"{pointer}/qty", required=False, allowed=(1, 2)),
        ParameterConstraint(opkey="tool:shop/*", path="to", pointer=f"{pointer}/to", required=True, allowed=None),
    )


def test_a_policy_needs_nothing_but_its_id():
    """An id alone is a policy, one that adds no restriction and grants nothing."""
    policy = parse_policy(b'{"policy_id":"a:b"}')

    assert (policy.resources, policy.denied_resources, policy.parameters) == ((), (), ())


def test_the_digest_is_of_the_canonical_form_after_nfc():
    """Order, spacing, escapes, number forms and composition do not change the digest; content does."""
    plain = parse_policy('{"constraints":{"parameters":{"tool:*":{"n":[1]}}},"policy_id":"role:\u00e9"}'.encode())
    spelt = parse_policy(b'{ "policy_id" : "role:e\\u0301", "constraints": {"parameters": {"tool:*": {"n": [1.0]}}} }')

    assert plain == spelt
    assert plain.digest == hashlib.sha256(plain.canonical).digest()
    assert parse_policy(plain.canonical) == plain
    assert parse_policy(b'{"policy_id":"role:e"}') != plain


def test_names_that_nfc_makes_equal_are_duplicates():
    """Otherwise one of two constraints would silently be dropped when the document is normalised."""
    paths = '{"e\u0301":[1],"\u00e9":[2]}'
    text = f'{{"policy_id":"a:b","constraints":{{"parameters":{{"tool:*":{paths}}}}}}}'

    assert refusal(text.encode())[0] == "E_JSON_DUPLICATE"


def test_the_first_fault_in_the_order_of_the_text_is_told():
    """Two faults: the one a reader meets first. A missing member comes last, it has no place."""
    assert refusal(b'{"resource":1,"extends":2}') == ("E_UNKNOWN_FIELD", "/resource")
    assert refusal(b'{"extends":2,"resource":1}') == ("E_TYPE", "/extends")
    assert refusal(b'{"resources":[""]}') == ("E_PATTERN", "/resources/0")


def test_constraints_stand_in_the_order_of_the_canonical_form():
    """Document order is that of RFC 8785, however the author wrote it, so that replays agree on the first denial."""
    policy = parse_policy(text_of(constraints={"parameters": {"tool:b": {"z": [1], "a": [1]}, "tool:a": {"m": [1]}}}))

    assert [(one.opkey, one.path) for one in policy.parameters] == [("tool:a", "m"), ("tool:b", "a"), ("tool:b", "z")]


def test_the_organisation_may_publish_under_its_prefix():
    """`org:` is reserved for the organisation key; no key may publish what comes with a call."""
    assert parse_policy(text_of(policy_id="org:base"), organisation=True).policy_id == "org:base"
    with pytest.raises(PolicyError):
        parse_policy(text_of(policy_id="intent:base"), organisation=True)


def test_documents_at_their_limits_are_read():
    """What is exactly as large as allowed passes."""
    assert parse_policy(text_of(policy_id="x" * 256, resources=["*a" * 16, "a" * 512] * 30, scope="x" * 1024))
    assert parse_policy(with_spec(list(range(1024))))
    assert parse_policy(text_of(constraints={"parameters": {f"tool:{at}": {"n": [1]} for at in range(256)}}))
    assert parse_policy(with_spec([json.loads("[" * 11 + "]" * 11)]))


def test_a_literal_may_be_any_json_value():
    """Objects, arrays, null and texts with odd characters are literals; a star inside them is no pattern."""
    literals = [None, True, 1.5, "a\nb", ["*"], {"k*": "*"}]

    assert parse_policy(with_spec(literals)).parameters[0].allowed == tuple(literals)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab*:/.[]", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("n:*/", max_size=3), inner, max_size=3),
)
fields = st.sampled_from(
    ["policy_id", "name", "resources", "denied_resources", "constraints", "extends", "parameters", "required", "x"]
)
documents = st.dictionaries(
    fields,
    json_values | st.fixed_dictionaries({}, optional={"parameters": st.dictionaries(st.just("tool:*"), json_values)}),
)


@settings(deadline=None)
@given(st.binary(max_size=60) | documents.map(lambda value: json.dumps(value).encode()))
def test_only_policy_errors_escape_and_what_passes_is_stable(text):
    """For any bytes there is a document or a PolicyError, and a document's canonical form is the same document."""
    try:
        policy = parse_policy(text)
    except PolicyError:
        return

    again = parse_policy(policy.canonical)
    assert (again, again.canonical, again.parameters) == (policy, policy.canonical, policy.parameters)
    assert jcs.canonical(jcs.parse_strict(policy.canonical)) == policy.canonical
