"""The facts that conditions and checks may look at while one call is judged, and the cost of looking.

Nothing else reaches a rule: no clock, no table that could be written to.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from processors.policy import limits
from processors.policy.errors import BodyUnseenError, WorkExceededError
from processors.policy.patterns import ResourceName
from processors.policy.resolve import Subject
from processors.proof.jcs import JSONValue
from processors.text.characters import utf8_size
from processors.text.forms import is_stream_safe, nfc

Work = list[int]  # the units that are left, and how many of those spent are nobody's to pay


class Session(NamedTuple):
    """The session that signed the call; `chain` are the sessions through which it was delegated, its own included.

    `tenant` owns the log; a resource without a foreign tenant's name belongs to it. A call waits until `expires_at` at
    most; what is remembered of the session is kept until `lasts_until`, the latest end that renewals can give it.
    """

    session_id: str = ""
    tenant: str | None = None
    app: str | None = None
    source_agent: str | None = None
    is_delegated: bool = False
    delegation_depth: int = 0
    expires_at: int = 2**62  # ms
    chain: tuple[str, ...] = ()
    lasts_until: int = 2**62  # ms; not before `expires_at`


class Record(NamedTuple):
    """An internal attestation of the session: a statement signed by a tool or by the bridge.

    `position` identifies it: its place in the log. Times are log time in ms.
    """

    position: int
    set_at: int
    setter: str = ""  # resource name of who said it
    expires_at: int | None = None
    max_uses: int | None = None
    one_time: bool = False
    uses: int = 0
    revoked: bool = False


class CallScope(Protocol):
    """Bounds of calls, as of a delegation."""

    def holds(self, name: ResourceName, parameters: Mapping[str, JSONValue], now: int, work: Work) -> bool:
        """Return whether a call is within the bounds. Raises WorkExceededError, BodyUnseenError."""


class Approver(NamedTuple):
    """A user whose approval stands, with the criteria that the user met at approval and meets now.

    `scope` bounds the calls that a registered approver may approve; None does not.
    """

    user: str
    meets: frozenset[str]
    scope: CallScope | None = None


class Approval(NamedTuple):
    """The answers of people to a request. `bound` answers this very call; else it is a grant, or a request for one.

    `at` is when the approval that completed the quorum came, or the last so far; `expires_at` and `max_uses` are the
    terms of that request, and the stricter of that and of the policy now counts.
    """

    position: int
    at: int
    bound: bool
    approvers: tuple[Approver, ...] = ()
    denied: bool = False
    revoked: bool = False
    uses: int = 0
    expires_at: int | None = None
    max_uses: int | None = None


class AttestationLookup(Protocol):
    """The attestations of a call: a read-only view of tables."""

    def records(self, key: str) -> Sequence[Record]:
        """Return the internal records of the session under a key, expired and used ones included."""

    def approvals(self, key: str) -> Sequence[Approval]:
        """Return the approvals of this call, and the grants of its requester, under a key."""

    def open_requests(self) -> int:
        """Return how many approvals the requester waits for already."""


class NoAttestations:
    """The view where nothing was ever attested."""

    def records(self, key: str) -> Sequence[Record]:  # noqa: ARG002 - as the protocol names it
        return ()

    def approvals(self, key: str) -> Sequence[Approval]:  # noqa: ARG002 - as the protocol names it
        return ()

    def open_requests(self) -> int:
        return 0


class Heard(Protocol):
    """The texts that reached a call's session from the resources of one pattern, and the ones that a person said."""

    def origin(self, text: str, work: Work, *, exact: bool) -> str:
        """Return the place in the log that a value was heard from, "" where it was not, or was also said.

        A value of a few letters counts only if it is `exact`. Raises WorkExceededError.
        """

    def origin_of_parts(self, parts: Sequence[str], work: Work) -> str:
        """Return the place that a text given in parts was heard from, "" where none was, or each part was said.

        Parts that may have stood in a text that was not seen are judged one by one. Raises WorkExceededError.
        """


class HeardLookup(Protocol):
    """The texts that reached the sessions behind a call: a read-only view of tables."""

    def from_resources(self, pattern: str, work: Work, *, cleared_by: str = "") -> Heard | None:
        """Return the texts from the resources that a pattern meets in restriction position, None where none came.

        `cleared_by` is the prefix of a verifier: results that it has passed, as far as that counts now, are left out.
        Raises WorkExceededError.
        """


class NothingHeard:
    """The view where no text ever came."""

    def from_resources(self, pattern: str, work: Work, *, cleared_by: str = "") -> None:  # noqa: ARG002 - as above
        return None


class Cell(NamedTuple):
    """The memory of a sequence rule: times of calls, a total, or the last time; it may be forgotten at `until`."""

    window: int
    calls: int
    total: Decimal
    at: int
    until: int


class Settings(NamedTuple):
    """The settings of a tenant. `required_layers` of None means a company, as soon as some company has a policy."""

    strict_parameters: bool = False
    required_layers: frozenset[str] | None = None


class Lookups(NamedTuple):
    """Read-only views of the tables that a decision depends on."""

    buckets: Callable[[bytes], int] = lambda _key: 0  # theoretical arrival time in µs; 0 where there is none
    cells: Callable[[bytes], Cell | None] = lambda _key: None
    attestations: AttestationLookup = NoAttestations()
    heard: HeardLookup = NothingHeard()


Parameters = Mapping[str, JSONValue]


class Evaluation:
    """One call before one subject. Made by the decision, read by closures."""

    __slots__ = ("name", "now", "parameters", "rate_time", "resumed", "session", "subject", "tables", "work")

    def __init__(
        self,
        parameters: Parameters,
        subject: Subject,
        name: ResourceName,
        now: int,
        session: Session,
        tables: Lookups,
        work: Work,
        resumed: Collection[str] | None,
        rate_time: int | None = None,
    ) -> None:
        self.parameters = parameters
        self.subject = subject
        self.name = name
        self.now = now
        self.session = session
        self.tables = tables
        self.work = work
        self.resumed = resumed  # on the second evaluation of a call: the keys it waited for
        self.rate_time = now if rate_time is None else rate_time  # ms; as `Call.rate_time`


def spend(work: Work, units: int) -> None:
    """Take units from the budget of a decision. Raises WorkExceededError if it does not suffice."""
    left = work[0] - units
    work[0] = left
    if left < 0:
        raise WorkExceededError


def spend_free(work: Work, units: int) -> None:
    """Spend units on work that no caller has brought. Raises WorkExceededError."""
    work[1] += units
    spend(work, units)


def new_work() -> Work:
    """Return the budget of one call."""
    return [limits.WORK_UNITS_MAX, 0]


def to_pay(work: Work) -> int:
    """Return how many units were spent on documents and values of the caller."""
    return limits.WORK_UNITS_MAX - work[0] - work[1]


def inspected(text: str, work: Work) -> str | None:
    """Return a text in NFC, or None where normalising it would take too long to be let through."""
    if text.isascii():
        return text
    spend(work, limits.TEXT_UNITS + limits.TEXT_BYTE_UNITS * utf8_size(text))
    return nfc(text) if is_stream_safe(text) else None


ABSENT = object()  # no member, no item: different from null


class Unseen:
    """A text of the call that travels beside it, as a body: it is there, and no rule can look at it.

    It is `opaque` where the owner of the resource said so: then rules on its presence count.
    """

    __slots__ = ("opaque",)

    def __init__(self, *, opaque: bool) -> None:
        self.opaque = opaque


HIDDEN, OPAQUE = Unseen(opaque=False), Unseen(opaque=True)


def seen(value: object) -> object:
    """Return a value that a rule looks at. Raises BodyUnseenError for a body."""
    if type(value) is Unseen:
        raise BodyUnseenError("a rule looks at a value that travels beside the call")
    return value


def as_it_is(value: object) -> object:
    """Return the value, a body too: for explanations, which show no value."""
    return value


def present(value: object) -> object:
    """Return a value of which a rule asks only whether it is there. Raises BodyUnseenError unless a body is opaque."""
    return value if type(value) is Unseen and value.opaque else seen(value)


def member(value: Mapping[str, JSONValue], name: str, work: Work) -> object:
    """Return the member that is called `name` in NFC, or ABSENT. A caller may compose its names otherwise."""
    found = value.get(name, ABSENT)
    if found is ABSENT and value:
        spend(work, len(value))
        names = "".join(value)
        if not names.isascii():
            spend(work, limits.NAME_UNITS * len(value) + limits.TEXT_BYTE_UNITS * utf8_size(names))
            return next((item for key, item in value.items() if nfc(key) == name), ABSENT)
    return found
