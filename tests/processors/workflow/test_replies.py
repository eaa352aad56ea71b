"""The replies of the log as `docs/wire.md` has them, held against what the log answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas import limits
from tests.engines import NEWEST
from tests.offers_world import LOOK, Offers
from tests.workflow_world import ANYTHING, CHECK, PAY, Workflow, attests, reply
from tests.world import HOUR_MS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "wire.md"
MAY_BE_ABSENT = {"ContextRead": {"author", "written", "opened", "before"}, "ContextListed": {"next"}}
CHAINED = "every operation of the vault"


def documented() -> dict[str, set[str]]:
    """Return the members of each reply, as the table has them."""
    page = PAGE.read_text("utf-8").split("## 11. Replies")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|[^|]*\|$", page, re.MULTILINE)
    found = {name.replace("`", "").strip(): set(re.findall(r"`(\w+)`", members)) for name, members in rows}
    return {name: members for name, members in found.items() if members}


def vault(world: Workflow) -> Iterator[tuple[str, Any]]:
    """Yield (reply, what the log answered) for the vault, each way that there is."""
    by = world.bot
    answers = [
        ("ContextWritten", world.put(by, "a", 1)),
        ("ContextWritten", world.put(by, "b", 1, "team")),
        ("ContextRead", world.get(by, "a")),
        ("ContextRead", world.get(by, "none")),
        ("ContextDeleted", world.drop(by, "a")),
        ("ContextListed", world.keys_in(by, "team")),
    ]
    for n in range(4 * limits.VAULT_LIST_MAX + limits.EXPIRED_PER_EVENT_MAX + 1):
        world.put(by, f"short-{n:03}", 1, "team", ttl_ms=1)
    world.advance(1)
    answers.append(("ContextListed", world.keys_in(by, "team", prefix="short", limit=1)))
    for name, folded in answers:
        told = reply(folded)
        yield name, {member: told[member] for member in told.keys() - documented()[CHAINED]}
        yield CHAINED, {member: told[member] for member in told.keys() & documented()[CHAINED]}
        yield from (("a key", one) for one in told.get("keys", ()))
        yield from (("a signed event", told[member]) for member in ("written", "opened") if member in told)


def questions(world: Workflow) -> Iterator[tuple[str, Any]]:
    """Yield the same for questions."""
    world.require("boss", approval_criteria="role:manager", timeout=300)
    carol, asked = world.person("carol", "manager", ttl_ms=9 * HOUR_MS), world.pay()
    leaf = asked.entry.event.hex()

    listed = reply(world.ask(carol, "approvals"))
    yield "approvals", listed
    yield from (("a request", one) for one in listed["requests"])
    shown = reply(world.ask(carol, "invocation", leaf))
    yield "invocation, open", shown
    yield from (("a request", one) for one in shown["requests"])
    world.deny(carol, asked, "boss")
    yield "invocation, over", reply(world.ask(world.bot, "invocation", leaf))

    for begin in range(0, limits.QUERY_ROWS_MAX + 1, limits.ATTESTATIONS_PER_REPORT_MAX):
        some = range(begin, begin + limits.ATTESTATIONS_PER_REPORT_MAX)
        world.ran(world.bot, CHECK, *(attests(f"checked.{n}") for n in some))
    listed = reply(world.ask(world.bot, "attestations"))
    yield "attestations", listed
    yield "the next of attestations", listed["next"]
    yield from (("an attestation", one) for one in listed["attestations"])

    world.grant_to(carol, "bot")
    for by, side in ((carol, "granted"), (world.bot, "received")):
        listed = reply(world.ask(by, "delegations"))
        yield "delegations", listed
        yield from (("a delegation", one) for one in listed[side])

    listed = reply(world.ask(world.bot, "effective_policy", PAY))
    yield "effective_policy", listed
    yield from (("a policy", one) for one in listed["policies"])

    offers = Offers.opened("replies of offers")
    one = offers.instance(offers.app, LOOK)
    listed = offers.tell(offers.bot, "agents")
    yield "agents", listed
    yield from (("an instance", one) for one in listed["agents"])
    told = offers.tell(offers.bot, "agent", {"resource": LOOK})
    yield "agent", told
    yield from (("a declaration", one) for one in told["agent"]["declarations"])
    yield "a signed event", told["agent"]["offered"]
    yield "presence", offers.tell(one.session, "presence")

    listed = reply(world.ask(world.admin, "limits"))
    yield "limits, to an admin", listed
    listed = reply(world.ask(world.admin, "users"))
    yield "users, to an admin", listed
    yield from (("a user", one) for one in listed["users"])


def by_engine_2() -> Iterator[tuple[str, Any]]:
    """Yield the members that the second engine adds."""
    world = Workflow.opened("replies of engine 2", **NEWEST)
    world.require("boss", approval_criteria="role:manager", timeout=300)
    carol, _ = world.person("carol", "manager"), world.pay()
    [told] = reply(world.ask(carol, "approvals"))["requests"]
    yield "a request, also by engine 2", {name: told[name] for name in told.keys() - documented()["a request"]}


@pytest.fixture(scope="module")
def answered() -> list[tuple[str, Any]]:
    """Everything that the log was made to answer."""
    world = Workflow.opened("replies")
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING})
    return [*vault(world), *questions(Workflow.opened("replies")), *by_engine_2()]


@pytest.mark.parametrize("name", sorted(documented()))
def test_a_reply_has_the_members_that_the_document_names(name: str, answered: list[tuple[str, Any]]) -> None:
    """Each of them, and no other; those that may be absent are there at least once."""
    found = [told.keys() for reply_to, told in answered if reply_to == name]

    assert found
    assert set().union(*found) == documented()[name]
    assert documented()[name] - set.intersection(*map(set, found)) == MAY_BE_ABSENT.get(name, set())


def test_every_reply_is_documented(answered: list[tuple[str, Any]]) -> None:
    """Nothing is answered of which the document does not speak."""
    assert {name for name, _ in answered} == documented().keys()


@pytest.mark.parametrize("asker", ["bot", "admin"])
def test_what_is_asked_is_what_the_document_lists(asker: str, answered: list[tuple[str, Any]]) -> None:
    """The refusal of an unknown question names those of the one who asks."""
    world = Workflow.opened("unknown")
    by = getattr(world, asker)
    detail = world.is_refused("QUERY_INVALID", lambda: world.ask(by, "secrets")).results[0].detail

    questions = [name.partition(", ") for name in documented() if re.match(r"[a-z_]+(,|$)", name)]
    listed = {what for what, _, to in questions if (to == "to an admin") == (asker == "admin")}
    assert set(re.findall(r"[a-z_]{5,}", detail.partition("its questions are")[2])) == listed
