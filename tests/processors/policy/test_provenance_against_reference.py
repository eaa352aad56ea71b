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
from schemas.rows import SessionRow
from schemas.words import Role
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
    ),
    max_size=3,
)
calls = st.dictionaries(st.sampled_from(["to", "note", "list", "k", "list[0].k"]), values, max_size=4)
METAS = {"boss": {"approval_criteria": ["role:boss"], "timeout": 60}}


def tables_with(found: list[tuple[bytes, str, str | None]]) -> Tables:
    """Return tables in which these texts have reached these sessions."""
    tables = Tables(tenant="acme", deployment="test", genesis=bytes(range(32)))
    for session_id in (OWN, OTHER, STRANGE):
        tables.sessions.put(session_id, session(session_id))
    for at, (session_id, resource, text) in enumerate(found):
        tables.now = at
        printed = NOT_SEEN if text is None else print_of_value(tables.genesis, text, new_work())
        leaf = at.to_bytes(32, "big")
        hear(tables, session_id, leaf, HeardText(resource, leaf, reported=True, printed=printed, payer=""))
    return tables


def session(session_id: bytes) -> SessionRow:
    return SessionRow(
        principal_id="user:u", role=Role.USER, opened_by=b"", ed25519=session_id, x25519=session_id, attributes=NONE,
        opened_at=0, expires_at=2**40,
    )  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(rules, min_size=1, max_size=2), listed, heard, st.lists(texts, max_size=2), calls)
def test_every_call_is_decided_alike(some, constants, found, said, parameters):
    """Outcome, reason and stage; and without the last rule at least as much is allowed."""
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
