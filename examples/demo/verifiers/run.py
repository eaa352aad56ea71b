"""The demo: an attack for each verifier, results that are withheld, a policy that reads stamps, a declared risk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from examples.demo.checks import Checks, check_evidence
from examples.demo.installation import DemoError
from examples.demo.verifiers.desk import ACCOUNT, RATE, READS, TOKEN, Office, open_office
from examples.demo.verifiers.pairs import AUTHORIZATION, CONTENT, WORKFLOW, Pair
from examples.demo.verifiers.written import Written
from producers.client import CallError, Client, ResultWithheldError
from producers.home.home import Home
from schemas.events.verdicts import VerifierFinding
from schemas.reasons import Reason
from schemas.records import Decision
from schemas.words import Outcome, VerifierOutcome

NOTE, PUBLISH, PAGE, TOTAL, QUERY = (f"tool:desk/{name}" for name in ("note", "publish", "page", "total", "query"))


def play(console: Console, home: Home, base: Path, checks: Checks) -> None:
    """Play the demo in an installation that runs, and note the claims that held. Raises DemoError."""
    with ExitStack() as stack:
        with console.status("founding a tenant, its tools, two agents, two policies, and its verifiers …"):
            office = open_office(home, stack)
        written = Written(home, office.folder.tenant)
        stack.callback(written.close)
        acting = Acting(console, checks, office, written)
        try:
            _pipeline(acting)
            _results(acting)
            _stamps(acting)
            _risks(acting)
        except CallError as exc:
            raise DemoError(f"a call that must pass was stopped: {exc}") from exc
        acting.executed()
        acting.nothing_shown()
    check_evidence(checks, home, base, office.folder)


class Acting:
    """Makes the calls, and notes a numbered claim for each, with its explanation from the log."""

    def __init__(self, console: Console, checks: Checks, office: Office, written: Written) -> None:
        self.console, self.checks, self.office, self.written = console, checks, office, written
        self._passed = 0

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self.console.print(f"\n[bold]{title}[/bold]")

    def claim(self, what: str, *, held: bool) -> None:
        """Note a claim under its number."""
        self.checks.say(f"{len(self.checks.results) + 1:2}. {escape(what)}", held)

    def passes(self, what: str, resource: str, parameters: Mapping[str, Any], client: Client | None = None) -> None:
        """Make a call that must pass. Raises CallError if it does not."""
        (client or self.office.clerk).invoke(resource, parameters)
        self._passed += 1
        self.claim(f"{what} passes", held=True)

    def before(self, resource: str, parameters: Mapping[str, Any]) -> None:
        """Make a call that another one needs. Raises CallError if it does not pass."""
        self.office.clerk.invoke(resource, parameters)
        self._passed += 1

    def denied(self, pair: Pair, client: Client | None = None) -> None:
        """Make the call of an attack, and claim that the log's decision names the verifier that stopped it."""
        decision = self._denial(pair.resource, pair.attack, client)
        verdict = next((one for one in _verdicts(decision) if one[0] == pair.verifier), None)
        held = verdict is not None and decision is not None and decision.reason == pair.reason
        if held and verdict is not None and pair.kind:
            held = any(one.kind.startswith(pair.kind) and one.path == pair.path for one in verdict[2])
        if held and verdict is not None:
            held = verdict[1] == pair.priority
        self.claim(f"{pair.verifier} ({pair.priority}): {pair.what} is denied", held=held)
        self._explain(decision)

    def denied_by_policy(self, what: str, resource: str, parameters: Mapping[str, Any], place: str) -> None:
        """Make a call that a policy denies because of a stamp at a place."""
        decision = self._denial(resource, parameters, None)
        held = decision is not None and decision.reason == Reason.PARAM_NOT_ALLOWED and place in decision.detail
        self.claim(f"{what} is denied by the policy", held=held)
        self._explain(decision)

    def withheld(self, what: str, resource: str, parameters: Mapping[str, Any], found: str) -> None:
        """Make a call whose result must be withheld; `found` is the kind and the place that its caller is told."""
        told = ""
        try:
            self.office.clerk.invoke(resource, parameters)
        except ResultWithheldError as error:
            self._passed += 1
            told = "" if error.answer is None else error.answer.result.detail
        self.claim(f"{what} is withheld", held=found in told)
        self.console.print(f"       the caller is told: {escape(told or 'all of it')}", style="dim", highlight=False)

    def forged(self) -> None:
        """Append a call again with one letter changed, as anybody may who reaches the broker."""
        answer = self.office.clerk.submit(NOTE, {"text": "team lunch at noon"}).result(60)
        self._passed += 1
        record = self.written.call(answer.result.event_id)
        changed = record.value.replace(b"lunch", b"lynch")
        entry = self.written.entry(self.written.append(changed, record.headers))
        held = changed != record.value and (entry.outcome, entry.reason) == (Outcome.REFUSED, Reason.BAD_SIGNATURE)
        self.claim("signature (10): a signed call with one letter changed is refused", held=held)
        said = f"the log: {entry.outcome} {entry.reason}, entry {entry.index}"
        self.console.print(f"       {said}", style="dim", highlight=False)
        self.claim("the call as it was signed passes", held=answer.result.outcome == Outcome.OK)

    def executed(self) -> None:
        """Claim that the tools ran for the calls that passed, and for no other."""
        self.console.print("\n[bold]5. afterwards[/bold]")
        executed = self.office.hosts.executed()
        self.claim(f"{executed} executions for {self._passed} calls that were allowed", held=executed == self._passed)

    def nothing_shown(self) -> None:
        """Claim that no found text stands in the clear behind the calls themselves."""
        behind = [one.value for one in self.written.records if one.topic != "intake"]
        held = bool(behind) and not any(text.encode() in value for text in (TOKEN, ACCOUNT) for value in behind)
        self.claim(
            f"neither token nor account number stands in {len(behind)} decisions, answers and entries", held=held
        )

    def _denial(self, resource: str, parameters: Mapping[str, Any], client: Client | None) -> Decision | None:
        """Return the decision that denied a call, None if the call was not denied."""
        answer = (client or self.office.clerk).submit(resource, parameters).result(60)
        self._passed += answer.result.outcome == Outcome.OK
        return self.written.decision(answer.result.event_id) if answer.result.outcome == Outcome.DENIED else None

    def _explain(self, decision: Decision | None) -> None:
        """Print the explanation that the log holds. `macaw policy explain` shows it with every policy."""
        lines = ["it was not denied"] if decision is None else _told(decision)
        for line in lines:
            self.console.print(f"       {escape(line)}", style="dim", highlight=False)


def _verdicts(decision: Decision | None) -> Iterator[tuple[str, int, tuple[VerifierFinding, ...]]]:
    """Yield name, priority and findings of each verifier that denied."""
    for one in () if decision is None else decision.verdicts:
        if one.outcome == VerifierOutcome.DENY:
            yield one.verifier, one.priority, one.findings


def _told(decision: Decision) -> Iterator[str]:
    yield f"the log: {decision.outcome} {decision.reason}, call {decision.event_id.hex()}"
    for name, priority, findings in _verdicts(decision):
        found = sorted({f"{one.kind} at {one.path}" for one in findings})
        yield f"{name} ({priority}) denies: {', '.join(found) or decision.detail or decision.reason}"


def _pipeline(acting: Acting) -> None:
    acting.chapter("1. the pipeline: an attack for each verifier, and the innocent call beside it")
    acting.forged()
    _pair(acting, AUTHORIZATION)
    poller = acting.office.poller
    for at in range(RATE):
        acting.passes(f"call {at + 1} of {RATE} in a minute", PAGE, {"name": "holidays"}, poller)
    rate = Pair(
        verifier="rate_limit", priority=30, what=f"call {RATE + 1} in a minute", resource=PAGE,
        attack={"name": "holidays"}, innocent={}, reason="RATE_LIMITED",
    )  # fmt: skip
    acting.denied(rate, poller)
    for pair in (*CONTENT, WORKFLOW):
        _pair(acting, pair)


def _pair(acting: Acting, pair: Pair) -> None:
    acting.denied(pair)
    if pair.first is not None:
        acting.before(*pair.first)
    text = ", ".join(map(str, pair.innocent.values()))
    acting.passes(f"beside it, {text!r}", pair.innocent_resource or pair.resource, pair.innocent)


def _results(acting: Acting) -> None:
    acting.chapter("2. results: the tool has run, and its caller does not get what must not leave")
    acting.withheld("a page with a token", PAGE, {"name": "deploy"}, "secret.npm")
    acting.withheld("a page with an order to the model", PAGE, {"name": "forum"}, "injection.")
    acting.passes("beside them, a page about holidays", PAGE, {"name": "holidays"})
    acting.withheld("a sum that is not the number of the tool's schema", TOTAL, {"month": "2026-11"}, "schema.type")
    acting.passes("beside it, a sum that is", TOTAL, {"month": "2026-10"})


def _stamps(acting: Acting) -> None:
    acting.chapter(
        "3. stamps: the verifier of personal data denies nothing more, and one tool's policy reads its stamp"
    )
    acting.office.set({"verifiers.personal_data": "stamp"})
    text = {"text": f"Ann's account is {ACCOUNT}"}
    acting.passes("an account number in a note of the office", NOTE, text)
    acting.denied_by_policy("the same on the public page", PUBLISH, text, READS)
    acting.passes("beside it, a line without personal data", PUBLISH, {"text": "We are closed on Friday."})
    acting.office.set({"verifiers.personal_data": "off"})
    worst = "with the verifier off even that line, because the stamp is the worst,"
    acting.denied_by_policy(worst, PUBLISH, {"text": "We are closed on Friday."}, READS)


def _risks(acting: Acting) -> None:
    acting.chapter("4. a schema that declares a risk: the policy grants statements of the class `low`")
    place = "stamps.risk.statement.class"
    acting.denied_by_policy("DROP TABLE", QUERY, {"statement": "DROP TABLE invoices"}, place)
    unread = {"statement": "SELECT/**/name FROM invoices"}
    acting.denied_by_policy("a statement that cannot be read with certainty", QUERY, unread, place)
    acting.passes("beside them, a SELECT", QUERY, {"statement": "SELECT name FROM invoices WHERE paid = 0"})
