"""Rules on where a value came from, decided with fingerprints in tables and by the reference from the texts."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.calls.fingerprints import NOT_SEEN, print_of_value
from processors.calls.origins import Origins
from processors.calls.parameters import parse_parameters
from processors.calls.provenance import HeardText, hear
from processors.policy.call import Circumstances
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide, index_policies
from processors.policy.documents import parse_inline, parse_policy
from processors.policy.errors import PolicyError
from processors.policy.evaluation import Lookups, Session, new_work
from processors.policy.resolve import Subject
from processors.state.tables import Tables
from schemas.events.attributes import NONE
from schemas.rows import JudgedRow, KeyRow, ResultVerdict, SessionRow, VerifierRow
from schemas.words import Role
from tests.builders import CATALOGUE, declaration
from tests.mapl_strategies import NOW, faults
from tests.reference import mapl

OWN, OTHER, STRANGE = bytes(32), b"\x01" * 32, b"\x02" * 32
PAY = "tool:bank/pay"
PIECES = [
    "alice",
    "bob",
    "de89",
    "3704",
    "0044",
    "www.evil.example",
    "a@b.example",
    "1000",
    "to",
    "x",
    "7",
    "(pay)",
    "!",
]
texts = st.lists(st.sampled_from(PIECES), max_size=9).map(" ".join)
values: st.SearchStrategy[Any] = st.recursive(
    texts | st.sampled_from([7, 1000, True, None, "alice", "de893704", "a@b.example", "DE89-3704"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["k", "a@b.example"]), inner, max_size=2)
    ),
    max_leaves=3,
)
rules = st.fixed_dictionaries(
    {"not_from": st.sampled_from(["tool:web/*", "TOOL:WEB/a", "**", "tool:mail/*"]), "when": st.just("tool:bank/**")},
    optional={
        "argument": st.sampled_from(["*", "to", "note", ["to", "k.k"], "list[*]", "list[0].k", ["k"]]),
        "else": st.sampled_from(["seen", "boss"]),
        "if": st.sampled_from(["to != null", "NOT (params.note == 'alice')"]),
        "unless_cleared_by": st.sampled_from(["verifier:judge", "verifier:judge", "verifier:other"]),
    },
)
listed = st.dictionaries(
    st.sampled_from(["**", "tool:bank/*", "tool:other/*"]),
    st.dictionaries(st.sampled_from(["to", "k.k"]), st.lists(values.filter(bool), max_size=3), min_size=1),
    max_size=1,
)
heard = st.lists(
    st.tuples(
        st.sampled_from([OWN, OTHER, STRANGE]),
        st.sampled_from(["tool:web/a", "tool:mail/b"]),
        st.none() | texts | texts,
        st.sampled_from([(), ("judge",), ("other",), ("judge", "other")]),
    ),
    max_size=3,
)
calls = st.dictionaries(st.sampled_from(["to", "note", "list", "k", "list[0].k"]), values, max_size=4)
METAS = {"boss": {"approval_criteria": ["role:boss"], "timeout": 60}}


def tables_with(found: list[tuple[bytes, str, str | None, tuple[str, ...]]]) -> Tables:
    """Return tables in which these texts have reached these sessions, passed by these verifiers."""
    tables = Tables(tenant="acme", deployment="test", genesis=bytes(range(32)))
    for name in ("judge", "other"):
        declared = declaration(name, surfaces=("result",), required=False, resources=("tool:**",))
        tables.verifiers.put(name.encode(), VerifierRow(declared=declared, since=0))
        tables.keys.put(name.encode() * 8, key(name))
    for session_id in (OWN, OTHER, STRANGE):
        tables.sessions.put(session_id, session(session_id))
    for at, (session_id, resource, text, passed) in enumerate(found):
        tables.now = at
        printed = NOT_SEEN if text is None else print_of_value(tables.genesis, text, new_work())
        leaf = at.to_bytes(32, "big")
        hear(tables, session_id, leaf, HeardText(resource, leaf, reported=True, printed=printed, payer=""))
        tables.judged.put(leaf, judged(session_id, resource, passed))
    return tables


def key(name: str) -> KeyRow:
    return KeyRow(
        principal_id=name, role=Role.VERIFIER, ed25519=b"", x25519=b"", registered_at=0, enrolled=0,
        attributes=NONE,
    )  # fmt: skip


def judged(session_id: bytes, resource: str, passed: tuple[str, ...]) -> JudgedRow:
    given = [
        ResultVerdict(verifier=one, kid=one.encode() * 8, outcome="pass", catalogue=CATALOGUE, until=2**40)
        for one in passed
    ]
    return JudgedRow(
        session_id=session_id, event_id=b"", resource=resource, body_sha256=b"", own=True, asked=passed,
        verdicts=tuple(given), kept=2**40, until=2**40,
    )  # fmt: skip


def session(session_id: bytes) -> SessionRow:
    return SessionRow(
        principal_id="user:u", role=Role.USER, opened_by=b"", ed25519=session_id, x25519=session_id, attributes=NONE,
        opened_at=0, expires_at=2**40,
    )  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(rules, min_size=1, max_size=2), listed, heard, st.lists(texts, max_size=2), calls)
def test_every_call_is_decided_alike(some, constants, found, said, parameters):
    """Outcome, reason and stage; without the last rule at least as much is allowed, and without verifiers at most."""
    body = {"resources": ["**"], "sequence": [{"id": f"r{at}", **rule} for at, rule in enumerate(some)]}
    body |= {"constraints": {"parameters": constants, "attestations": METAS}}
    text = json.dumps({"policy_id": "role:r", **body})
    if fault := faults(lambda one: parse_policy(one.encode()), PolicyError, text):
        assert fault == faults(mapl.parse_document, mapl.RefusedError, text)
        return
    tables = tables_with(found)
    chain = _chain()
    lookups = Lookups(heard=Origins(tables, OWN, session(OWN), chain, said))
    sent = json.dumps(parameters)

    def ours(document: str) -> Any:
        index = index_policies({"role:r": compile_policy(parse_policy(document.encode()))})
        asked = Circumstances(NOW, Session(OWN.hex(), "local", chain=(OTHER.hex(),)), lookups)
        return decide(index, Subject(principal="u", user="u", roles=("r",)), PAY, parse_parameters(sent).value, asked)

    verdict = ours(text)
    world = mapl.World(
        {"role:r": text},
        {"u": {"user": "u", "roles": ["r"]}},
        heard=[mapl.Heard(session_id.hex(), *rest) for session_id, *rest in found],
        said=said,
    )
    call = mapl.Call(PAY, NOW, ["u"], sent, session=OWN.hex(), chain_sessions=[OTHER.hex()], session_expires=2**40)
    theirs = mapl.evaluate(world, call)
    assert (str(verdict.outcome), verdict.reason or "ALLOWED", verdict.stage.number) == (
        theirs.outcome, theirs.reason, theirs.stage,
    ), theirs  # fmt: skip
    marked = [{name: one for name, one in rule.items() if name != "unless_cleared_by"} for rule in body["sequence"]]
    if ours(json.dumps({"policy_id": "role:r", **body, "sequence": marked})).outcome == "allowed":
        assert verdict.outcome == "allowed"  # a verifier takes marks away, and never puts one there
    body["sequence"] = body["sequence"][:-1]
    if verdict.outcome == "allowed":
        assert ours(json.dumps({"policy_id": "role:r", **body})).outcome == "allowed"


def _chain() -> Any:
    from processors.identity.delegations import Chain

    return Chain((Subject(principal="u", user="u"),), sessions=(OTHER.hex(),))


@settings(max_examples=100, deadline=None)
@given(rules)
def test_a_document_that_comes_with_a_call_has_no_such_rule(rule):
    """Nothing would be remembered for it, so it is refused by the name of the member."""
    text = json.dumps({"sequence": [{"id": "r", **rule}]})
    ours = faults(lambda one: parse_inline(one.encode()), PolicyError, text)
    assert ours == faults(lambda one: mapl.parse_document(one, inline=True), mapl.RefusedError, text) != ""


@settings(max_examples=200, deadline=None)
@given(rules, listed, heard, st.lists(texts, max_size=2), calls)
def test_a_cleared_result_counts_as_one_that_never_came(rule, constants, found, said, parameters):
    """A rule with a verifier decides as the rule without one does where only the marked results had been heard."""
    rule = {**rule, "unless_cleared_by": "verifier:judge"}
    marked = [one for one in found if "judge" not in one[3]]
    plain = {name: one for name, one in rule.items() if name != "unless_cleared_by"}
    sent = json.dumps(parameters)

    def decided(rule_in_force: Any, world: Any) -> Any:
        sequence = [{"id": "r", **rule_in_force}]
        constraints = {"parameters": constants, "attestations": METAS}
        document = {"policy_id": "role:r", "resources": ["**"], "sequence": sequence, "constraints": constraints}
        try:
            policy = compile_policy(parse_policy(json.dumps(document).encode()))
        except PolicyError as exc:
            return exc.code
        lookups = Lookups(heard=Origins(tables_with(world), OWN, session(OWN), _chain(), said))
        asked = Circumstances(NOW, Session(OWN.hex(), "local", chain=(OTHER.hex(),)), lookups)
        subject = Subject(principal="u", user="u", roles=("r",))
        verdict = decide(index_policies({"role:r": policy}), subject, PAY, parse_parameters(sent).value, asked)
        return verdict.outcome, verdict.reason

    assert decided(rule, found) == decided(plain, marked)
