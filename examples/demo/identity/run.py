"""The demo: alice logs in, an agent acts for her within the policies of every level, and she is revoked meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from rich.console import Console

from examples.demo.checks import Checks, check_evidence
from examples.demo.identity.company import (
    ALICE,
    BOB,
    DELETE,
    EXPORT,
    PAYROLL,
    READ,
    ROWS_MAX,
    SERVICE,
    Company,
    open_company,
    provider_for,
)
from examples.demo.installation import DemoError
from macaw.installation.registrations import revoke_session
from producers.client import CallError
from producers.client.bound import BoundClient
from producers.home.home import Home
from producers.kafka.consuming import headers_of
from schemas import codec, topics
from schemas.records import Decision, Event, SessionOpened

READ_SECONDS = 10.0


def play(console: Console, home: Home, base: Path, checks: Checks) -> None:
    """Play the demo in an installation that runs, and note the claims that held. Raises DemoError."""
    with ExitStack() as stack:
        idp = stack.enter_context(provider_for(console, base))
        with console.status("founding the company, its trust in the provider, its policies, a bridge, an agent …"):
            company = open_company(home, base, idp, stack)
        console.print(f"the provider is {idp.issuer}", highlight=False)
        try:
            _play(console, checks, company, stack)
        except CallError as exc:
            raise DemoError(f"a step that must pass was refused: {exc}") from exc
        _check_log(checks, company)
    check_evidence(checks, home, base, company.folder)


def _play(console: Console, checks: Checks, company: Company, stack: ExitStack) -> None:
    console.print("\n[bold]1. alice and bob log in at their provider[/bold]")
    login, alice = company.log_in(ALICE)
    stack.callback(alice.close)
    _, bob = company.log_in(BOB)
    stack.callback(bob.close)
    console.print(f"  the bridge opened sessions {alice.session_id.hex()[:16]} and {bob.session_id.hex()[:16]}")
    checks.say("alice's session ends no later than her token", (alice.expires_at or 0) > 0 and login.expires_in > 0)

    console.print("\n[bold]2. one agent acts for both, each call with one person's policies and its own[/bold]")
    for_alice = stack.enter_context(company.service.bind_to_user(alice))
    for_bob = stack.enter_context(company.service.bind_to_user(bob))
    report = {"report": "quarter"}
    checks.say("the agent reads a report for alice", for_alice.invoke(READ, report)["report"] == "quarter")
    _refused(checks, "company", "no one deletes", for_alice, DELETE, report)
    _refused(checks, "business unit", "Analytics sees no payroll", for_alice, PAYROLL, {"month": "2026-11"})
    _refused(checks, "team", f"Reporting exports {ROWS_MAX} rows", for_alice, EXPORT, {**report, "rows": ROWS_MAX + 1})
    _refused(checks, "user", "alice reads no papers of the board", for_alice, READ, {"report": "board-minutes"})
    exported = for_alice.invoke(EXPORT, {**report, "rows": ROWS_MAX})
    checks.say(f"up to its limit alice's team exports: {exported['rows']} rows", exported["rows"] == ROWS_MAX)
    checks.say("bob, of another unit, sees the payroll", for_bob.invoke(PAYROLL, {"month": "2026-11"})["sum"] != "")

    console.print("\n[bold]3. alice is revoked in the middle[/bold]")
    revoke_session(company.home, company.folder, alice.session_id, reason="left the company")
    checks.say("the agent's next call for alice is refused", _reason(lambda: for_alice.invoke(READ, report)) != "")
    checks.say("alice's own next call is refused", _reason(lambda: alice.invoke(READ, report)) != "")
    checks.say("the agent goes on for bob", for_bob.invoke(READ, report)["report"] == "quarter")


def _refused(checks: Checks, level: str, what: str, bound: BoundClient, resource: str, parameters: Any) -> None:
    """Make a call that the policy of one level must refuse."""
    reason = _reason(lambda: bound.invoke(resource, parameters))
    checks.say(f"{level}: {what}: [bold]{reason or 'it was not refused'}[/bold]", reason != "")


def _reason(act: Callable[[], object]) -> str:
    try:
        act()
    except CallError as exc:
        return exc.reason
    return ""


def _check_log(checks: Checks, company: Company) -> None:
    """Read every topic of the tenant: what happened stands there, and no token does."""
    records = list(_records(company))
    whole = b"\n".join(value + headers for _, value, headers in records)
    parts = [part for token in company.tokens for part in token.split(".")]
    checks.say(
        f"none of the {len(parts)} parts of the tokens stands in {len(records)} records of the tenant's topics",
        len(records) > 0 and not any(part.encode() in whole for part in parts),
    )
    opened = [
        event.body
        for topic, value, _ in records
        if topic == topics.INTAKE.of(company.folder.tenant)
        and isinstance((event := codec.decode_as(Event, value)).body, SessionOpened)
        and event.body.issuer
    ]
    people = sorted(body.principal_id for body in opened)
    wanted = sorted(f"user:{company.idp.people[name].email}" for name in (ALICE, BOB))
    checks.say(
        f"the log says who logged in, from where, with which token's digest: {', '.join(people)}", people == wanted
    )
    told = [
        codec.decode_as(Decision, value)
        for topic, value, _ in records
        if topic == topics.DECISIONS.of(company.folder.tenant)
    ]
    chains = {one.subjects for one in told if one.subjects}
    checks.say(
        "each decision on the agent's calls names the person and the agent",
        chains == {(name, SERVICE) for name in wanted},
    )


def _records(company: Company) -> list[tuple[str, bytes, bytes]]:
    """Return every committed record of the tenant's topics: topic, value, and its headers in one."""
    places = [
        TopicPartition(topic.of(company.folder.tenant), partition, OFFSET_BEGINNING)
        for topic in topics.TENANT_TOPICS
        for partition in range(topic.partitions)
    ]
    consumer = Consumer(
        {
            "bootstrap.servers": company.home.bootstrap,
            "group.id": "demo-identity",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    found: list[tuple[str, bytes, bytes]] = []
    ends: set[tuple[str | None, int | None]] = set()
    try:
        consumer.assign(places)
        while len(ends) < len(places):
            message = consumer.poll(READ_SECONDS)
            if message is None:
                raise DemoError("the broker does not give the records of the tenant")
            if message.error() is not None:
                ends.add((message.topic(), message.partition()))
                continue
            headers = b"".join(value or b"" for _, value in headers_of(message))
            found.append((message.topic() or "", message.value() or b"", headers))
    finally:
        consumer.close()
    return found
