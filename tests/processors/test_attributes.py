"""What is said of a principal: names that there are, within bounds, and never more than the signer may give."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.identity.attributes import attributes_from, subject_of
from processors.identity.enrolment import check_attributes, with_fixed
from processors.policy.errors import AttributeInvalidError
from processors.policy.limits import GROUPS_MAX, ROLES_MAX
from processors.refusal import Refusal
from processors.state.tables import SINGLETON
from schemas import codec, limits
from schemas.events.attributes import LISTS, NAMES, NONE, READ_BY_POLICIES, TEXTS, Attributes, size_of, weight_of
from tests.builders import Actor, grant, keys_of
from tests.world import World

LAST_WITH_TEXTS = 48  # the last id of the event under which attributes were a JSON text
MARKS = "a" + "\u0301" * 31


@pytest.fixture
def world() -> World:
    return World.founded()


def is_invalid(attributes: Attributes) -> None:
    with pytest.raises(Refusal) as raised:
        subject_of(attributes, "agent", "bot")
    assert raised.value.reason == "ATTRIBUTE_INVALID"


# ---- the record


def test_the_names_of_attributes_are_the_fields_of_their_record() -> None:
    """The three lists of names are not a fourth place where an attribute could be missing."""
    fields = {field.name: field.default for field in dataclasses.fields(Attributes)}

    assert set(NAMES) == set(fields)
    assert {name for name, default in fields.items() if default is None} == set(TEXTS)
    assert {name for name, default in fields.items() if default == ()} == set(LISTS)
    assert set(READ_BY_POLICIES) == set(NAMES) - {"issuers", "attests", "subjects", "offers"}


@pytest.mark.parametrize("text", ['{"roles":["boss"]}', '{"principal":"root"}', "{}"])
def test_attributes_in_a_text_are_not_taken_any_more(world: World, text: str) -> None:
    """Under the id of an older event a name outside the record could be said; the whole record is refused."""
    old = codec.published()[LAST_WITH_TEXTS]
    keys = keys_of("newcomer")
    body = dataclasses.asdict(world.registration("agent", "newcomer", keys=keys)) | {"attributes": text}
    header = {"event_id": bytes(16), "principal_id": "admin", "seq": 1, "issued_at": world.now, "salt": bytes(16)}
    out = io.BytesIO()
    datum = {"header": header, "body": ("macaw.v1.PrincipalRegistered", body)}
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(old.text)), datum)

    assert old.name == "macaw.v1.Event"
    with pytest.raises(codec.MalformedRecordError):
        codec.decode(old, out.getvalue())
    _, headers = world.signed(world.registration("agent", "newcomer", keys=keys), world.admin)
    assert world.fold(old.prefix + out.getvalue(), headers).entry.reason == "UNDECODABLE"
    assert b"newcomer" not in world.tables.principals.rows


def test_a_field_more_than_the_record_has_is_refused() -> None:
    """What follows the last field belongs to the next one of the record around it, or to none."""
    schema = codec.current("PersonRow")
    row = {"session_id": bytes(32), "opened_by": bytes(32), "opened_at": 1, "until": 2}
    named: Any = json.loads(schema.text)
    (where,) = (field for field in named["fields"] if field["name"] == "attributes")
    more = {"name": "admin", "type": "string"}
    where["type"]["fields"].append(more)
    given_ = dict.fromkeys(TEXTS) | {name: [] for name in LISTS} | {"admin": "yes"}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(named), row | {"attributes": given_})

    with pytest.raises(codec.SchemaError):
        codec.decode(schema, out.getvalue())


# ---- bounds


@pytest.mark.parametrize(
    "attributes",
    [
        Attributes(user="x" * (limits.ATTRIBUTES_BYTES_MAX - 3)),
        Attributes(subjects=("",) * (limits.ATTRIBUTES_BYTES_MAX // 4 + 1)),
        Attributes(roles=tuple(map(str, range(ROLES_MAX + 1)))),
        Attributes(groups=tuple(map(str, range(GROUPS_MAX + 1)))),
        Attributes(roles=("analyst", "analyst")),
        Attributes(groups=("\u00e9", "e\u0301")),
        Attributes(attests=("\u00e9", "e\u0301")),
        Attributes(issuers=("a", "b", "a")),
        Attributes(user=MARKS),
        Attributes(subjects=(MARKS,)),
        Attributes(user="a*"),
        Attributes(roles=("*",)),
        Attributes(team="a\u200bb"),
        Attributes(clearance="top\n"),
    ],
    ids=lambda attributes: str(attributes)[:60],
)
def test_too_many_too_long_twice_or_misleading(world: World, attributes: Attributes) -> None:
    """At an agent's registration, in a grant, and where a bridge says it of a person."""
    is_invalid(attributes)
    bridge = world.register("bridge", "the-bridge")
    bodies: list[tuple[Any, Actor]] = [
        (world.registration("agent", "newcomer", attributes=attributes), world.admin),
        (world.registration("enrolment", "newcomer", enrolment=grant(attributes=attributes)), world.admin),
        (world.person_session(keys=keys_of("alice"), attributes=attributes), bridge),
    ]
    for body, by in bodies:
        assert world.send(body, by).says == ("refused", "ATTRIBUTE_INVALID")


@pytest.mark.parametrize(
    "attributes",
    [
        Attributes(user="x" * (limits.ATTRIBUTES_BYTES_MAX - 4)),
        Attributes(roles=tuple(map(str, range(ROLES_MAX)))),
        Attributes(groups=tuple(map(str, range(GROUPS_MAX)))),
        Attributes(roles=("Analyst", "analyst")),
        Attributes(user="", roles=("",)),
    ],
    ids=lambda attributes: str(attributes)[:60],
)
def test_what_is_at_the_bound_is_taken(world: World, attributes: Attributes) -> None:
    """Case counts, and an empty text is the same as none."""
    assert world.send(world.registration("agent", "newcomer", attributes=attributes), world.admin).says[0] == "accepted"


def test_the_size_of_attributes_is_their_bytes_and_four_for_each_text() -> None:
    """Characters would be a quarter of it, and empty texts nothing."""
    assert size_of(NONE) == 0
    assert size_of(Attributes(user="\U0001f600", roles=("", "ab"))) == 4 + 0 + 2 + 3 * 4


@pytest.mark.parametrize("letter", ["a", "\u0153"])
def test_the_weight_of_attributes_is_the_memory_that_they_take(letter: str) -> None:
    """Two thousand texts of two letters are 12 KB on the wire, and 150 KB in a table."""
    many = Attributes(subjects=tuple(f"{letter}{chr(0x100 + number)}" for number in range(2000)))
    taken = sum(sys.getsizeof(text) for text in many.subjects) + sys.getsizeof(many.subjects)

    assert size_of(many) <= limits.ATTRIBUTES_BYTES_MAX
    assert 0.8 * taken < weight_of(many) < 1.5 * taken


# ---- who gives what


texts = st.none() | st.sampled_from(["", "a", "b"])
lists = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2, unique=True).map(tuple)
anything = st.builds(Attributes, **dict.fromkeys(TEXTS, texts), **dict.fromkeys(LISTS, lists))


@given(most=anything, wanted=anything)
def test_an_enrolment_key_gives_within_its_grant(most: Attributes, wanted: Attributes) -> None:
    """Any part of every list, every text as it stands in the grant, and no attestation patterns."""
    within = (
        all(getattr(wanted, name) == getattr(most, name) for name in TEXTS)
        and all(set(getattr(wanted, name)) <= set(getattr(most, name)) for name in LISTS)
        and not wanted.attests
    )
    if within:
        check_attributes(most, wanted)
        return
    with pytest.raises(Refusal) as raised:
        check_attributes(most, wanted)
    assert raised.value.reason == "ATTRIBUTE_INVALID"


@given(most=anything)
def test_what_a_grant_fixes_is_added_to_a_registration(most: Attributes) -> None:
    """A registration that asks for nothing gets the grant's texts, and no part of its lists."""
    asked = with_fixed(NONE, most)

    check_attributes(most, asked)
    assert all(getattr(asked, name) == () for name in LISTS)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"attests", "offers"}])
def test_an_enrolment_key_gives_no_attribute_that_its_grant_lacks(world: World, name: str) -> None:
    """Whichever it is; nor one of another value."""
    value, other = (("a",), ("b",)) if name in LISTS else ("a", "b")
    bare = world.register("enrolment", "bare")
    key = world.register("enrolment", "some", enrolment=grant(attributes=Attributes(**{name: value})))
    for by, attributes in ((bare, Attributes(**{name: value})), (key, Attributes(**{name: other}))):
        body = world.registration("agent", "newcomer", attributes=attributes)
        assert world.send(body, by).says == ("refused", "ATTRIBUTE_INVALID")


def test_a_bridge_speaks_for_issuers_of_its_registration_only(world: World) -> None:
    """Issuers that it writes into a person's attributes give neither it nor the person a further one."""
    bridge = world.register("bridge", "the-bridge")
    claimed = Attributes(user="alice", issuers=("https://login.example",), attests=("**",), subjects=("**",))
    keys = keys_of("alice")
    assert world.send(world.person_session(keys=keys, attributes=claimed), bridge).says == ("accepted", "")
    alice = Actor("session", "user:alice", keys)

    foreign = world.person_session(keys=keys_of("eve"), issuer="https://login.example")
    assert world.send(foreign, bridge).says == ("refused", "WRONG_ROLE")
    assert world.send(world.person_session(keys=keys_of("bob")), alice).entry.outcome == "refused"
    assert world.send(world.person_session("agent:bot", keys=keys_of("bot")), bridge).says[1] == "WRONG_PRINCIPAL"
    assert world.tables.tenant.rows[SINGLETON].development


# ---- from a file or a command line


def test_a_mapping_gives_the_attributes_that_it_names() -> None:
    """A text may stand for a list of one."""
    found = attributes_from({"user": "eve", "roles": ["a", "b"], "groups": "staff"})

    assert found == Attributes(user="eve", roles=("a", "b"), groups=("staff",))
    assert attributes_from({}) == NONE


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "attributes must be an object by name"),
        (None, "attributes must be an object by name"),
        ({"rolls": []}, "no attribute is called 'rolls'; the names are company, "),
        ({1: "a"}, "no attribute is called 1"),
        ({"user": ["a"]}, "user is not a text"),
        ({"user": None}, "user is not a text"),
        ({"roles": [1]}, "roles is not a text or a list of texts"),
        ({"roles": {"a": "b"}}, "roles is not a text or a list of texts"),
        ({"roles": [["a"]]}, "roles is not a text or a list of texts"),
        ({"user": "\ud800"}, "user holds half a character"),
        ({"roles": ["\udcff"]}, "roles holds half a character"),
    ],
)
def test_a_mapping_that_gives_something_else_is_refused(values: object, message: str) -> None:
    """With the name of the attribute, before anything is signed."""
    with pytest.raises(AttributeInvalidError, match=message):
        attributes_from(values)


def test_a_mapping_gives_no_attribute_that_is_not_asked_for() -> None:
    """Of a person, nobody asks for issuers."""
    with pytest.raises(AttributeInvalidError, match="no attribute is called 'issuers'"):
        attributes_from({"issuers": ["x"]}, names=READ_BY_POLICIES)
