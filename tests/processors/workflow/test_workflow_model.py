"""The fold against a slow and obvious model: whatever people and tools do in whatever order, it says the same.

The model keeps lists of what was said and looks through all of them. After every step it is checked that no use was
spent twice, that no call was decided twice, and that nothing is executed that people did not approve.
"""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas import limits
from tests.builders import Actor, Folded
from tests.workflow_world import CHECK, PAY, Workflow, attests
from tests.world import HOUR_MS

REFUND, LEND = "tool:bank/refund", "tool:bank/lend"
MINUTE_MS = 60_000
PEOPLE = {"carol": "manager", "dave": "manager", "erin": "manager", "frank": "intern"}
STEP, BOSS, LOAN = "checked", "boss", "loan"
TIMEOUT_MS, LOAN_LIFE_MS, LOAN_USES, QUORUM = 300_000, 2 * HOUR_MS, 2, 2
DEAD = (("refused", "EXPIRED_SESSION"), ("refused", "UNKNOWN_KEY"))  # a session that ended, and one that has left
SAID = {"one_time": (True, None), "twice": (False, 2), "always": (False, None)}


@dataclass
class Step:
    """One attestation, as it was said; every use of it is in the list."""

    session: int
    most: int | None
    ends: int | None
    used: list[bytes] = field(default_factory=list)
    revoked: bool = False


@dataclass
class Waiting:
    """One call that needs people."""

    key: str
    session: int
    asked: Folded
    deadline: int
    yes: list[tuple[str, bytes]] = field(default_factory=list)
    final: str = ""
    closed_at: int = 0


@dataclass
class Loan:
    """What one approval is worth for later calls."""

    by: tuple[str, bytes]
    ends: int
    uses: int = 1
    revoked: bool = False


class Workflows(RuleBasedStateMachine):
    """Two sessions of one agent, four people with as many sessions as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Workflow.opened("model")
        bank = self.world.tables.principals.rows[b"bank"].tools
        self.world.revoke("bank")
        lend = type(bank[0])(resource=LEND, description="", timeout_ms=5_000, idempotent=False)
        self.bank = self.world.register("tool", "bank", tools=(*bank, lend))
        metas = {
            BOSS: {"approval_criteria": "role:manager", "quorum": QUORUM, "timeout": TIMEOUT_MS // 1000},
            LOAN: {
                "approval_criteria": "role:manager",
                "timeout": TIMEOUT_MS // 1000,
                "max_uses": LOAN_USES,
                "time_to_live": LOAN_LIFE_MS // 1000,
            },
        }
        needed = [f"{key}::{{tool.id == '{tool}'}}" for key, tool in ((STEP, PAY), (BOSS, REFUND), (LOAN, LEND))]
        document = {"policy_id": "agent:bot", "resources": ["**"], "attestations": needed}
        self.world.publish_policy({**document, "constraints": {"attestations": metas}})
        self.sessions: list[Actor] = []
        self.live: list[bool] = []
        self.people: list[tuple[str, Actor]] = []
        self.gone: dict[bytes, int] = {}  # sessions of people that have ended, and when
        self.revoked: set[bytes] = set()
        self.opened: dict[bytes, int] = {}
        self.newest: dict[str, bytes | None] = {}  # the login that says what somebody is; None: nobody knows
        self.steps: list[Step] = []
        self.waiting: list[Waiting] = []
        self.loans: list[Loan] = []
        self.allowed: list[bytes] = []
        for _ in range(2):
            self.enter()
        for name in PEOPLE:
            self.person(name)

    # --- who is there

    def enter(self) -> None:
        self.sessions.append(self.world.open_session(self.world.agent, ttl_ms=24 * HOUR_MS))
        self.live.append(True)

    @precondition(lambda self: len(self.people) < 12)
    @rule(name=st.sampled_from(sorted(PEOPLE)))
    def person(self, name: str) -> None:
        session = self.world.person(name, PEOPLE[name], ttl_ms=24 * HOUR_MS)
        self.people.append((name, session))
        self.opened[session.kid] = self.world.now
        self.newest[name] = session.kid

    @rule(which=st.integers(0, 1), revoked=st.booleans())
    def an_agents_session_ends(self, which: int, revoked: bool) -> None:
        at = len(self.sessions) - 1 - which
        if not self.live[at]:
            return
        (self.world.revoke_session if revoked else self.world.close)(self.sessions[at])
        self.live[at] = False
        self.world.tick()
        for one in self.waiting:
            if one.session == at and not one.final:
                self.end(one, "EXPIRED_SESSION")
        self.enter()

    @rule(which=st.integers(0, 11), revoked=st.booleans())
    def a_persons_session_ends(self, which: int, revoked: bool) -> None:
        name, session = self.people[which % len(self.people)]
        folded = (self.world.revoke_session if revoked else self.world.close)(session)
        if revoked and folded.says == ("accepted", ""):
            # Also one that has closed already: what it approved counts no more.
            for one in self.waiting:
                if not one.final:
                    one.yes = [yes for yes in one.yes if yes[1] != session.kid]
            for loan in self.loans:
                loan.revoked |= loan.by[1] == session.kid
            self.revoked.add(session.kid)
            if self.newest[name] == session.kid:
                self.newest[name] = self.before(name)
        elif not revoked:
            assert (folded.says == ("accepted", "")) == (session.kid not in self.gone)
        self.gone.setdefault(session.kid, self.world.now)

    @rule(name=st.sampled_from(sorted(PEOPLE)))
    def a_login_is_taken_back(self, name: str) -> None:
        self.world.revoke_session(self.world.person(name))
        self.newest[name] = self.before(name)

    @precondition(lambda self: self.loans)
    @rule()
    def who_lent_goes_home(self) -> None:
        """All sessions of that person are closed, and leave; the last login still says what the person is."""
        for name, session in self.people:
            if name == self.loans[-1].by[0] and session.kid not in self.gone:
                assert self.world.close(session).says == ("accepted", "")
                self.gone[session.kid] = self.world.now
        self.time_passes(limits.SESSION_LINGER_MS)

    def before(self, name: str) -> bytes | None:
        there = [one.kid for who, one in self.people if who == name and self.is_there(one.kid)]
        return max(there, key=lambda kid: (self.opened[kid], kid), default=None)

    def is_there(self, kid: bytes) -> bool:
        """Return whether a login that nobody has revoked is still remembered as a session."""
        left = self.world.now >= self.gone.get(kid, self.world.now) + limits.SESSION_LINGER_MS
        return kid not in self.revoked and not left

    # --- steps

    @rule(which=st.integers(0, 2), said=st.sampled_from(sorted(SAID)), ttl_ms=st.sampled_from([None, 200_000]))
    def a_step_is_attested(self, which: int, said: str, ttl_ms: int | None) -> None:
        at = len(self.sessions) - 1 - which % len(self.sessions)  # mostly of those that live
        if not self.live[at]:
            return
        once, most = SAID[said]
        self.world.ran(self.sessions[at], CHECK, attests(STEP, one_time=once, max_uses=most, ttl_ms=ttl_ms))
        self.steps = [one for one in self.steps if one.session != at]
        self.steps.append(Step(at, 1 if once else most, None if ttl_ms is None else self.world.now + ttl_ms))

    @rule(which=st.integers(0, 2))
    def a_step_is_revoked(self, which: int) -> None:
        at = len(self.sessions) - 1 - which % len(self.sessions)  # mostly of those that live
        self.world.take_back(self.world.admin, self.sessions[at], STEP, CHECK)
        for one in self.steps:
            one.revoked |= one.session == at

    @rule(which=st.integers(0, 2), burst=st.integers(1, 3))
    def calls_that_need_a_step(self, which: int, burst: int) -> None:
        at = len(self.sessions) - 1 - which % len(self.sessions)  # mostly of those that live
        for _ in range(burst):
            folded = self.world.pay(by=self.sessions[at])
            if not self.live[at]:
                assert folded.says in DEAD
                continue
            good = [one for one in self.steps if one.session == at and self.counts(one)]
            assert folded.says[0] == ("allowed" if good else "denied")
            if good:
                good[0].used.append(folded.entry.event)
                self.allowed.append(folded.entry.event)

    def counts(self, one: Step) -> bool:
        over = one.ends is not None and self.world.now >= one.ends
        return not (one.revoked or over or (one.most is not None and len(one.used) >= one.most))

    # --- people

    @rule(which=st.integers(0, 2), key=st.sampled_from([BOSS, BOSS, LOAN]))
    def a_call_asks_people(self, which: int, key: str) -> None:
        at = len(self.sessions) - 1 - which % len(self.sessions)  # mostly of those that live
        folded = self.world.call(self.sessions[at], REFUND if key == BOSS else LEND, {"amount": 1})
        if not self.live[at]:
            assert folded.says in DEAD
            return
        loan = next((one for one in self.loans[-1:] if self.lends(one)), None)
        if key == LOAN and loan is not None:
            assert folded.says == ("allowed", "")
            loan.uses += 1
            self.allowed.append(folded.entry.event)
            return
        assert folded.says == ("pending", "APPROVAL_PENDING")
        self.waiting.append(Waiting(key, at, folded, self.world.now + TIMEOUT_MS))

    def lends(self, loan: Loan) -> bool:
        known = self.newest[loan.by[0]] is not None
        return known and not loan.revoked and loan.uses < LOAN_USES and self.world.now < loan.ends

    def end(self, one: Waiting, how: str) -> None:
        one.final, one.closed_at = how, self.world.now
        if how == "allowed":
            self.allowed.append(one.asked.entry.event)

    @precondition(lambda self: self.waiting)
    @rule(call=st.integers(0, 3), which=st.integers(0, 11), no=st.sampled_from([False, False, False, True]))
    def somebody_answers(self, call: int, which: int, no: bool) -> None:
        one = self.waiting[-1 - call % len(self.waiting)]
        name, session = self.people[which % len(self.people)]
        folded = (self.world.deny if no else self.world.approve)(session, one.asked, one.key)
        if session.kid in self.gone:
            assert folded.says in DEAD
            return
        assert folded.says[1] == self.heard(one, name, no=no), (folded.results, one)
        if folded.says[1]:
            return
        if no:
            self.end(one, "APPROVAL_DENIED")
            return
        one.yes.append((name, session.kid))
        if one.key == LOAN:
            self.loans.append(Loan(one.yes[0], self.world.now + LOAN_LIFE_MS))
            self.end(one, "allowed")
        elif len(one.yes) >= QUORUM:
            self.end(one, "allowed")

    @rule(which=st.integers(0, 11))
    def somebody_lends(self, which: int) -> None:
        self.a_call_asks_people(0, LOAN)
        if self.waiting:
            self.somebody_answers(0, which, no=False)

    def heard(self, one: Waiting, name: str, *, no: bool) -> str:
        """Return why an answer is refused, "" where it is heard."""
        if one.final:
            forgotten = self.world.now >= one.closed_at + limits.CLOSED_REQUEST_MS
            return "APPROVAL_UNKNOWN" if forgotten else "APPROVAL_CLOSED"
        if PEOPLE[name] != "manager":
            return "APPROVER_NOT_AUTHORIZED"
        return "APPROVER_DUPLICATE" if not no and name in [who for who, _ in one.yes] else ""

    @rule()
    def a_loan_is_revoked(self) -> None:
        self.world.revoke_grant(self.world.admin, LOAN)
        for one in self.loans:
            one.revoked = True

    # --- time

    @rule(ms=st.sampled_from([1, MINUTE_MS, 200_000, TIMEOUT_MS, LOAN_LIFE_MS, HOUR_MS]))
    def time_passes(self, ms: int) -> None:
        self.world.advance(ms)
        self.world.tick()
        for one in self.waiting:
            if not one.final and self.world.now >= one.deadline:
                self.end(one, "APPROVAL_QUORUM" if one.yes else "APPROVAL_TIMEOUT")

    @rule(which=st.integers(0, 30))
    def something_is_said_again(self, which: int) -> None:
        old = self.world.records[-1 - which % len(self.world.records)]
        assert self.world.fold(old.value, old.headers).entry.outcome == "refused"

    @rule()
    def a_transaction_aborts(self) -> None:
        """What was folded since the last commit is taken back and folded again: nothing is spent by that."""
        start = len(self.world.records)
        self.world.tables.commit()
        before = self.world.rows()
        log, records, offset = list(self.world.log), list(self.world.records), self.world.offset
        for session in self.sessions[-2:]:
            self.world.pay(by=session)
        self.world.tables.rollback()
        self.world.log, self.world.records, self.world.offset = log, records, offset
        assert (self.world.rows(), len(self.world.records)) == (before, start)

    # --- what always holds

    @invariant()
    def every_call_is_decided_once_and_as_the_model_says(self) -> None:
        for one in self.waiting:
            finals = [(final.outcome, final.reason) for final in self.world.finals(one.asked.entry.event)]
            if not one.final:
                assert finals == []
            elif one.final == "allowed":
                assert finals == [("allowed", "")]
            else:
                assert finals == [("denied", one.final)]

    @invariant()
    def nothing_runs_that_the_model_does_not_allow(self) -> None:
        decisions = [one for folded in self.world.log for one in folded.decisions]
        ran = [one.event for one in decisions if one.outcome == "allowed" and one.resource != CHECK]
        assert sorted(ran) == sorted(self.allowed)

    @invariant()
    def no_use_is_spent_twice(self) -> None:
        for one in self.steps:
            assert one.most is None or len(one.used) <= one.most
        assert all(one.uses <= LOAN_USES for one in self.loans)
        rows = self.world.tables.attestations.rows.values()
        assert all(row.uses <= (1 if row.one_time else row.max_uses or row.uses) for row in rows)
        assert all(row.uses <= LOAN_USES for row in self.world.tables.grants.rows.values())


TestWorkflows = Workflows.TestCase
TestWorkflows.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
