"""What a policy sees of a question to the vault: no two questions have one name."""

import pytest

from tests.workflow_world import ANYTHING, Workflow, reply


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened()
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING})
    for key in ("-draft", "secret"):
        assert world.put(world.bot, key, 1, "team").says == ("accepted", "")
    return world


def listed(folded) -> list[str]:
    return [one["key"] for one in reply(folded)["keys"]]


@pytest.mark.parametrize("pattern", ["vault:team/list/-", "vault:team/list/-*", "vault:team/list/-**"])
def test_who_may_list_keys_that_begin_with_a_hyphen_may_not_list_them_all(world, pattern):
    """A list without a prefix is another question than one with the prefix `-`."""
    world.publish_policy({"policy_id": "agent:bot", "resources": [pattern]})

    assert listed(world.keys_in(world.bot, "team", prefix="-")) == ["-draft"]
    world.is_refused("RESOURCE_NOT_ALLOWED", lambda: world.keys_in(world.bot, "team"))


def test_who_may_list_them_all_may_be_denied_those_that_begin_with_a_hyphen(world):
    """And the other way round."""
    hyphens = {"policy_id": "agent:bot", **ANYTHING, "denied_resources": ["vault:team/list/-*"]}
    world.publish_policy(hyphens)
    assert listed(world.keys_in(world.bot, "team")) == ["-draft", "secret"]
    world.is_refused("RESOURCE_DENIED", lambda: world.keys_in(world.bot, "team", prefix="-"))

    world.publish_policy({"policy_id": "agent:bot", "resources": ["vault:team/list/"]})
    assert listed(world.keys_in(world.bot, "team")) == ["-draft", "secret"]
    world.is_refused("RESOURCE_NOT_ALLOWED", lambda: world.keys_in(world.bot, "team", prefix="-"))


@pytest.mark.parametrize("pattern", ["vault:team/list/*", "vault:team/list/**", "vault:team/**", "vault:*/list/*"])
@pytest.mark.parametrize("prefix", ["", "-", "s"])
def test_a_star_stands_for_every_prefix_and_for_none(world, pattern, prefix):
    """Where it permits, and where it forbids."""
    world.publish_policy({"policy_id": "agent:bot", "resources": [pattern]})
    assert world.keys_in(world.bot, "team", prefix=prefix).says == ("accepted", "")

    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "denied_resources": [pattern]})
    world.is_refused("RESOURCE_DENIED", lambda: world.keys_in(world.bot, "team", prefix=prefix))


def test_the_policy_of_a_vaults_list_is_asked_for_every_prefix(world):
    """A document named after the operation applies to a list without a prefix too."""
    world.publish_policy({"policy_id": "vault:team/list", "resources": ["vault:team/list/s*"]})

    assert listed(world.keys_in(world.bot, "team", prefix="s")) == ["secret"]
    world.is_refused("RESOURCE_NOT_ALLOWED", lambda: world.keys_in(world.bot, "team"))
