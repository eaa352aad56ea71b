"""Bodies of calls and results on the log: their form, the places where they may stand, and everything else refused."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.calls.bodies import (
    body_digest,
    chunk_count,
    holds_mark,
    placed_bodies,
    reference_to,
    texts_at,
    with_leaves,
    written,
)
from processors.calls.prompts import prompt_id, row_key
from processors.proof import jcs
from processors.refusal import Refusal
from schemas import limits
from schemas.events.bodies import BodyReference
from schemas.events.workflow import ContextWritten
from schemas.records import Prompt, ResultReported
from schemas.rows import ResourceRow
from tests.builders import Actor, Folded, invocation, noise, tool
from tests.world import World

SALT = noise("salt")[:16]
RESOURCE = "tool:files/put"
TEXT = reference_to(SALT, b"the text")
KEY = reference_to(SALT, b"hunter2")
PATHS: dict[str, Any] = {"body_paths": ("text", "files[*].data", "api_key"), "opaque_paths": ("api_key",)}
TOOLS = (replace(tool(RESOURCE), **PATHS), tool("tool:files/plain"))


@dataclass(frozen=True)
class Desk:
    """A tool that takes bodies, and a session that may call it."""

    world: World
    session: Actor
    tool: Actor

    def call(
        self, parameters: Any, *bodies: BodyReference, resource: str = RESOURCE, prompts: tuple[Prompt, ...] = ()
    ) -> Folded:
        return self.world.send(invocation(resource, parameters, bodies=bodies, prompts=prompts), self.session)

    def constrained(self, **spec: Any) -> None:
        constraints = {"parameters": {"tool:files/*": spec}}
        self.world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:**"], "constraints": constraints})

    def reported(self, **report: Any) -> Folded:
        decision = self.call({}).decision_leaf
        body = ResultReported(**{"decision": decision, "outcome": "ok", "body": "null", "attestations": (), **report})
        return self.world.send(body, self.tool, causation_id=self.world.tables.calls.rows[decision].event)


@pytest.fixture
def desk() -> Desk:
    world = World.founded()
    bot = world.register("agent", "bot")
    files = world.register("tool", "files", tools=TOOLS)
    world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:**"]})
    return Desk(world, world.open_session(bot), files)


def test_a_text_at_a_declared_path_travels_beside_its_call(desk):
    """The decision is made on what stands in its place, and the tool gets exactly that, signed by the caller."""
    parameters = {"text": written(TEXT), "files": [{"data": written(KEY), "name": "a"}], "api_key": "in clear"}
    folded = desk.call(parameters, TEXT, KEY)

    assert folded.says == ("allowed", "")
    assert not [one for one in folded.outputs if b"the text" in (one.payload or b"") + (one.value or b"")]


ONE = reference_to(SALT, b"1")
MARK = {"digest": TEXT.digest.hex(), "size": TEXT.size}


@pytest.mark.parametrize(
    ("parameters", "bodies"),
    [
        ({"other": written(TEXT)}, [TEXT]),
        ({"files": {"data": written(TEXT)}}, [TEXT]),
        ({"files": [written(TEXT)]}, [TEXT]),
        ({"text": written(TEXT)}, []),
        ({"text": "plain"}, [TEXT]),
        ({"text": written(TEXT), "api_key": written(TEXT)}, [TEXT]),
        ({"text": written(TEXT), "api_key": written(TEXT)}, [TEXT, TEXT]),
        ({"text": {"$body": {**MARK, "size": TEXT.size + 1}}}, [TEXT]),
        ({"text": {"$body": {**MARK, "size": float(TEXT.size) + 0.5}}}, [TEXT]),
        ({"text": {"$body": {**MARK, "more": 1}}}, [TEXT]),
        ({"text": {"$body": {"digest": ONE.digest.hex(), "size": True}}}, [ONE]),
        ({"text": {"$body": MARK, "more": 1}}, [TEXT]),
        ({"text": {"$body": TEXT.digest.hex()}}, [TEXT]),
        ({"text": {"$body": {**MARK, "digest": TEXT.digest.hex().upper()}}}, [TEXT]),
        ({"text": {"$body": None}}, []),
        ({"x": {"y": [{"$body": {}}]}}, []),
        ({"$body": MARK}, [TEXT]),
        ({"text": written(TEXT)}, [replace(TEXT, chunks=2)]),
        ({"text": written(TEXT)}, [replace(TEXT, chunks=0)]),
        ({"text": written(TEXT)}, [replace(TEXT, digest=TEXT.digest[:31])]),
        ({"text": written(replace(TEXT, size=-1))}, [replace(TEXT, size=-1)]),
    ],
)
def test_a_body_elsewhere_or_in_another_form_is_denied(desk, parameters, bodies):
    """Smuggled by a caller, at a path of its choice or in an object of its own: no tool ever gets it."""
    folded = desk.call(parameters, *bodies)
    assert folded.says == ("denied", "BODY_REFERENCE")
    assert desk.call({"text": "still open"}).says == ("allowed", "")


def test_an_operation_that_declares_none_takes_none(desk):
    """Nor does one that is not there: it is denied before its absence is told."""
    for resource in ("tool:files/plain", "tool:files/absent"):
        assert desk.call({"text": written(TEXT)}, TEXT, resource=resource).says == (
            "denied",
            "BODY_REFERENCE",
        )


def test_bodies_are_bounded(desk):
    """Their number, the bytes of one, and of all together."""
    many = [reference_to(noise(at)[:16], b"x") for at in range(limits.BODIES_PER_CALL_MAX + 1)]
    files = {"files": [{"data": written(one)} for one in many]}
    assert desk.call(files, *many).says == ("denied", "LIMIT_EXCEEDED")

    large = sized(limits.BODY_BYTES_MAX + 1)
    assert desk.call({"text": written(large)}, large).says == ("denied", "BODY_REFERENCE")
    halves = [sized(limits.BODY_CALL_BYTES_MAX // 2 + 1, at) for at in range(2)]
    files = {"files": [{"data": written(one)} for one in halves]}
    assert desk.call(files, *halves).says == ("denied", "LIMIT_EXCEEDED")


def sized(size: int, at: int = 0) -> BodyReference:
    return BodyReference(digest=noise("large", at), size=size, chunks=chunk_count(size))


def test_a_policy_that_looks_at_the_content_denies(desk):
    """The pattern would be met by the text; the caller is told which parameter it is."""
    desk.constrained(text={"pattern": ".*"})
    assert desk.call({"text": "the text"}).says == ("allowed", "")
    folded = desk.call({"text": written(TEXT)}, TEXT)
    assert folded.says == ("denied", "BODY_UNSEEN")
    assert folded.results[0].detail == "parameter text"


def test_a_secret_is_present_to_a_policy_where_its_owner_calls_it_opaque(desk):
    """The owner's word counts for that path alone."""
    desk.constrained(api_key={"required": True, "type": "string"})
    assert desk.call({"api_key": written(KEY)}, KEY).says == ("allowed", "")
    assert desk.call({}).says == ("denied", "PARAM_REQUIRED")


def test_a_prompt_that_travels_beside_its_call_is_known_by_its_reference(desk):
    """Both sides compute its id over the value as it stands on the wire."""
    folded = desk.call({"text": written(TEXT)}, TEXT, prompts=(Prompt(path="text", policy="{}"),))
    assert folded.says == ("allowed", "")
    own = prompt_id(desk.session.kid, None, written(TEXT), {})
    assert desk.world.tables.prompts.get(row_key(desk.session.kid, own)) is not None


@pytest.mark.parametrize(
    "declared",
    [
        {"body_paths": ("a", "a")}, {"body_paths": ("a..b",)}, {"body_paths": ("**",)}, {"body_paths": ("",)},
        {"opaque_paths": ("a",)}, {"body_paths": ("a",), "opaque_paths": ("b",)},
        {"body_paths": ("a",), "opaque_paths": ("a", "a")},
    ],
)  # fmt: skip
def test_a_declaration_names_paths(desk, declared):
    """Malformed ones, and opaque ones that are no paths of bodies, are refused when the tool registers."""
    body = desk.world.registration("tool", "bad", tools=(replace(tool("tool:bad/x"), **declared),))
    assert desk.world.send(body, desk.world.admin).says == ("refused", "BODY_REFERENCE")


def test_the_paths_are_part_of_the_contract(desk):
    """Another instance cannot open a path beside the policies that were written for it."""
    for change in (
        {"body_paths": ("*",), "opaque_paths": ()},
        {**PATHS, "opaque_paths": ()},
        {**PATHS, "streams": True},
    ):
        tools = (replace(tool(RESOURCE), **change), TOOLS[1])
        body = desk.world.registration("tool", "files", tools=tools)
        assert desk.world.send(body, desk.world.admin).says == ("refused", "REGISTRATION_CONFLICT")


# ---- results


def body_of(reference: BodyReference) -> str:
    return jcs.canonical(written(reference)).decode()


def test_a_large_result_is_named_by_its_report(desk):
    """The caller gets the tool's report as it was signed."""
    assert desk.reported(body=body_of(TEXT), bodies=(TEXT,)).says == ("accepted", "")


def test_a_result_that_holds_a_mark_as_data_stays_data(desk):
    """Only a report that lists a body refers to one."""
    assert desk.reported(body=body_of(TEXT)).says == ("accepted", "")


@pytest.mark.parametrize(
    "report",
    [
        {"body": "null", "bodies": (TEXT,)},
        {"body": body_of(KEY), "bodies": (TEXT,)},
        {"body": " " + body_of(TEXT), "bodies": (TEXT,)},
        {"body": f"[{body_of(TEXT)}]", "bodies": (TEXT,)},
        {"body": body_of(TEXT), "bodies": (TEXT, KEY)},
        {"body": body_of(TEXT), "bodies": (TEXT,), "outcome": "failed"},
        {"body": body_of(TEXT), "bodies": (TEXT,), "stream": TEXT},
        {"body": body_of(TEXT), "bodies": (replace(TEXT, chunks=7),)},
        {"body": body_of(sized(limits.BODY_BYTES_MAX + 1)), "bodies": (sized(limits.BODY_BYTES_MAX + 1),)},
        {"stream": replace(TEXT, digest=b"")},
        {"stream": replace(TEXT, chunks=limits.STREAM_ITEMS_MAX + 1)},
        {"stream": replace(TEXT, size=limits.STREAM_BYTES_MAX + 1)},
        {"stream": replace(TEXT, size=-1)},
    ],
)  # fmt: skip
def test_a_report_whose_bodies_are_not_well_formed_is_refused(desk, report):
    """The call stays open, for a report that says something."""
    assert desk.reported(**report).says == ("refused", "MALFORMED_RESULT")
    assert len(desk.world.tables.calls.rows) == 1


# ---- the vault


def put(desk: Desk, value: str, *bodies: BodyReference, scope: str = "session") -> Folded:
    return desk.world.send(ContextWritten(scope=scope, key="k", value=value, bodies=bodies), desk.session)


def test_a_large_value_of_the_own_scope_is_named_on_the_log(desk):
    """Its chain goes on as with any other value; an object that looks like a body is data where none is listed."""
    assert put(desk, body_of(TEXT), TEXT).says == ("accepted", "")
    assert put(desk, body_of(TEXT)).says == ("accepted", "")
    assert put(desk, body_of(TEXT), TEXT, scope="team").says == ("refused", "VAULT_FORM")


@pytest.mark.parametrize(
    ("value", "bodies"),
    [("1", [TEXT]), (body_of(KEY), [TEXT]), (body_of(TEXT), [TEXT, KEY]), (f"[{body_of(TEXT)}]", [TEXT])],
)
def test_a_value_that_does_not_name_its_body_is_refused(desk, value, bodies):
    assert put(desk, value, *bodies).says == ("refused", "VAULT_FORM")


def test_a_policy_that_looks_at_a_large_value_refuses_it(desk):
    """The own scope needs no grant, but denials hold, also for what they cannot see."""
    denied = {"denied_parameters": {"vault:session/set/*": {"value": ["*evil*"]}}}
    desk.world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:**"], "constraints": denied})
    assert put(desk, '"good"').says == ("accepted", "")
    assert put(desk, body_of(TEXT), TEXT).says == ("refused", "BODY_UNSEEN")


# ---- the parts


def test_a_digest_is_salted_and_bound_to_its_purpose():
    assert body_digest(SALT, b"x") != body_digest(noise("other")[:16], b"x")
    assert [chunk_count(size) for size in (0, 1, limits.BODY_CHUNK_BYTES, limits.BODY_CHUNK_BYTES + 1)] == [1, 1, 1, 2]


TREES = st.recursive(
    st.none() | st.integers(0, 9) | st.sampled_from(["", "a", "é", "a longer text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcé"), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcé"), TREES, max_size=4))
def test_every_text_can_be_moved_out_and_put_back(value):
    """What is moved out is found again at its place, and nothing else has changed."""
    takes = ResourceRow(principal_id="t", timeout_ms=1, idempotent=False, body_paths=("*",))
    texts = {steps: text for steps, text, _ in texts_at(value, takes)}
    moved = list(texts.items())[: limits.BODIES_PER_CALL_MAX]
    references = {steps: reference_to(noise(at)[:16], text.encode()) for at, (steps, text) in enumerate(moved)}
    wire = with_leaves(value, {steps: written(one) for steps, one in references.items()})

    placed = placed_bodies(tuple(references.values()), wire, takes)
    assert {one.steps: one.reference for one in placed} == references
    assert with_leaves(wire, {steps: texts[steps] for steps in references}) == value
    assert holds_mark(wire) == bool(moved)
    if moved:
        with pytest.raises(Refusal, match="BODY_REFERENCE"):
            placed_bodies(tuple(references.values())[1:], wire, takes)
