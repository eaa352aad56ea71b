"""Which policies apply: ids of subjects and resources, and attributes that are refused."""

import pytest

from processors.policy import limits
from processors.policy.errors import AttributeInvalidError
from processors.policy.resolve import Layer, Subject, placement, resource_ids, slug


def test_the_layers_of_a_subject_are_looked_up_in_order():
    """All ids that apply to a subject, grants before the restrictions of the same layer (docs/mapl.md 6)."""
    subject = Subject(
        company="FinTech Corp", business_unit="Analytics", team="Reporting", user="alice", email="alice@fintech.com",
        roles=("analyst", "lead", "analyst"), agent="app", service="svc", clearance="Top Secret",
    )  # fmt: skip

    assert subject.policy_ids == (
        "role:analyst", "base:role:analyst", "role:lead", "base:role:lead",
        "company:FinTech Corp", "restrict:org:fintech-corp", "bu:Analytics", "restrict:bu:analytics",
        "team:Reporting", "restrict:team:reporting", "user:alice", "user:alice@fintech.com",
        "agent:app", "service:svc", "filter:clearance:top-secret",
    )  # fmt: skip
    assert Subject(user="a@b", email="a@b").policy_ids == ("user:a@b", "filter:clearance:standard")


@pytest.mark.parametrize(
    ("resource", "ids"),
    [
        ("calc", ("tool:calc",)),
        ("tool:app/op", ("app:app", "tool:app", "tool:app/op")),
        ("data:a/b/c", ("app:a", "data:a", "data:a/b", "data:a/b/c")),
        ("user:eve@x.org", ("res:user:eve@x.org",)),
        ("role:admin/x", ("app:admin", "res:role:admin", "res:role:admin/x")),
        ("file:///x", ("file:", "file:/", "file://", "file:///x")),
        ("@acme/tool:app/op", ("@acme", "@acme/tool:app", "@acme/tool:app/op")),
        ("tool:/x", ("tool:", "tool:/x")),
    ],
)
def test_the_policies_of_a_resource_are_those_of_its_prefixes(resource, ids):
    """Every prefix at `/`, the application first; a name that looks like a layer is looked up under `res:`."""
    assert resource_ids(resource) == ids


@pytest.mark.parametrize(
    ("policy_id", "layer", "grants", "role"),
    [
        ("org:x", Layer.ORGANISATION, False, None),
        ("role:x", Layer.ROLE, True, "x"),
        ("base:role:x", Layer.ROLE, True, "x"),
        ("company:x", Layer.COMPANY, True, None),
        ("restrict:org:x", Layer.COMPANY, False, None),
        ("bu:x", Layer.BUSINESS_UNIT, True, None),
        ("restrict:bu:x", Layer.BUSINESS_UNIT, False, None),
        ("team:x", Layer.TEAM, True, None),
        ("restrict:team:x", Layer.TEAM, False, None),
        ("user:x", Layer.USER, True, None),
        ("agent:x", Layer.PROGRAM, True, None),
        ("service:x", Layer.PROGRAM, True, None),
        ("filter:clearance:x", Layer.CLEARANCE, False, None),
        ("app:x", Layer.RESOURCE, True, None),
        ("res:role:x", Layer.RESOURCE, True, None),
        ("tool:x", Layer.RESOURCE, True, None),
    ],
)
def test_an_id_says_where_its_policy_stands(policy_id, layer, grants, role):
    """Layer, right to grant and role follow from the id alone."""
    place = placement(policy_id)

    assert (place.layer, place.grants, place.role) == (layer, grants, role)


def test_a_slug_is_lower_case_words_with_dashes():
    """Compatibility forms and punctuation make no other slug."""
    assert slug("FinTech Corp.") == slug("  fintech--CORP") == slug("\uff26inTech\u00a0Corp") == "fintech-corp"


@pytest.mark.parametrize(
    "attributes",
    [
        {"user": "*"},
        {"user": "eve*"},
        {"company": "**"},
        {"roles": ("admin", "*")},
        {"groups": ("g*",)},
        {"clearance": "st*"},
        {"team": "a\nb"},
        {"team": "a\u200bb"},
        {"agent": "a\u202eb"},
        {"email": "\ud800"},
        {"user": 5},
        {"user": True},
        {"roles": "admin"},
        {"roles": (None, 5)},
        {"roles": tuple(f"r{at}" for at in range(65))},
        {"groups": tuple(f"g{at}" for at in range(257))},
    ],
)
def test_a_subject_with_a_misleading_attribute_is_no_subject(attributes):
    """Stars, controls, hidden characters and other types are refused when the session begins."""
    with pytest.raises(AttributeInvalidError):
        Subject(**attributes)


def test_a_subject_holds_as_many_roles_and_groups_as_it_may():
    """To the last of them."""
    subject = Subject(
        roles=tuple(f"r{at}" for at in range(limits.ROLES_MAX)),
        groups=tuple(f"g{at}" for at in range(limits.GROUPS_MAX)),
    )

    assert (len(subject.roles), len(subject.groups)) == (limits.ROLES_MAX, limits.GROUPS_MAX)
