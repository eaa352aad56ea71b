"""Extensions beyond the theorem of docs/mapl.md 5: they raise an outcome whose former reason is not NO_POLICY.

Each is a reading of the page at its word. NOTES.md says what the theorem should say of it.
"""

import dataclasses
import json
from dataclasses import dataclass

from tests.reference.mapl.universe_parts import LATER, NEAR, NOW, SMALL, WIDE, Body, joined
from tests.reference.mapl.world import Call, Hop, World

RESOURCE = "tool:a/x"
SUBJECTS: dict[str, dict[str, object]] = {
    "u": {"user": "u", "company": "acme", "roles": ["r1", "r2"]},
    "root": {"user": "root", "company": "acme"},
}


@dataclass
class Counterexample:
    """What it shows, the two worlds and calls, and the two reasons."""

    name: str
    before: tuple[World, Call]
    after: tuple[World, Call]
    reasons: tuple[str, str]


def world(**bodies: Body) -> World:
    ids = {name: name.replace("_", ":") for name in bodies}
    texts = {ids[name]: json.dumps({"policy_id": ids[name], **body}) for name, body in bodies.items()}
    return World(texts, SUBJECTS)


def call(params: str = "{}") -> Call:
    return Call(RESOURCE, NOW, ["u"], params, session="s")


def delegated(one: Call) -> Call:
    hop = Hop("root", "u", {"resources": ["**"]}, LATER)
    return dataclasses.replace(one, subjects=["root", "u"], delegation=[hop])


_only_delegated: Body = {"attestations": ["deny::{context.is_delegated == false}"]}
_shallow: Body = {"attestations": ["k::{context.delegation_depth < 1}"]}
_child = joined({"extends": "skill:gone"}, NEAR)

COUNTEREXAMPLES = [
    Counterexample(
        "a hop makes context.is_delegated true, which a condition asks for",
        (world(tool_a=joined(WIDE, _only_delegated)), call()),
        (world(tool_a=joined(WIDE, _only_delegated)), delegated(call())),
        ("CONDITION_DENIED", "ALLOWED"),
    ),
    Counterexample(
        "a hop makes context.delegation_depth larger, and a requirement stops to apply",
        (world(tool_a=joined(WIDE, _shallow)), call()),
        (world(tool_a=joined(WIDE, _shallow)), delegated(call())),
        ("ATTESTATION_MISSING", "ALLOWED"),
    ),
    Counterexample(
        "the document added is the parent that was missing",
        (world(user_u=_child), call()),
        (world(user_u=_child, skill_gone=SMALL), call()),
        ("POLICY_BROKEN", "ALLOWED"),
    ),
    Counterexample(
        "the hop added is the one that the chain lacked",
        (world(tool_a=WIDE), dataclasses.replace(delegated(call()), delegation=[])),
        (world(tool_a=WIDE), delegated(call())),
        ("DELEGATION_BROKEN", "ALLOWED"),
    ),
]
