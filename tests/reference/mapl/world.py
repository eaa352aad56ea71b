"""Inputs and result of an evaluation, as plain data (docs/mapl.md, its first lines).

`evaluate(World, Call) -> Verdict` reads a world and never changes it; `applied(World, Call, Verdict)` is the next.
"""

from dataclasses import dataclass, field


@dataclass
class Record:
    """One row of the attestation table (docs/mapl.md 8). Times in ms, lengths in seconds.

    `status` None: an internal record. "approved" or "denied": an approval of a person, whose `at` is the moment the
    quorum was complete; `bound`: for this very call, else a grant. `by` holds (user, criteria that the user meets).
    """

    key: str
    at: int
    setter: str | None = None
    one_time: bool = False
    max_uses: int | None = None
    time_to_live: int | None = None
    uses: int = 0
    revoked: bool = False
    status: str | None = None
    bound: bool = False
    by: list[tuple[str, list[str]]] = field(default_factory=list)


@dataclass
class Past:
    """An earlier call that was allowed, and what its tool reported: "ok", "failed", "unknown" or nothing yet."""

    session: str
    resource: str
    params: dict[str, object]
    at: int  # of the decision
    result: str | None = None
    result_at: int = 0


@dataclass
class Heard:
    """A result that reached a session; `text` of None: nobody saw it. `passed`: verifiers that cleared it."""

    session: str
    resource: str
    text: str | None
    passed: tuple[str, ...] = ()


@dataclass
class World:
    """Everything but the call. `subjects`: attributes by name. `policies`: the current texts by policy_id."""

    policies: dict[str, str] = field(default_factory=dict)
    subjects: dict[str, dict[str, object]] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    tenant: str = "local"
    attestations: list[Record] = field(default_factory=list)
    buckets: dict[tuple[str, str], int] = field(default_factory=dict)  # (principal, policy_id) -> tat in µs
    cells: dict[tuple[str, str, str, str], tuple[int, float]] = field(default_factory=dict)  # -> (window, amount)
    history: list[Past] = field(default_factory=list)
    open_requests: int = 0  # of this requester
    heard: list[Heard] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # by persons


@dataclass
class Hop:
    """One DelegationGranted of a chain. `scope` is its JSON value, `expires` in ms."""

    delegator: str
    delegate: str
    scope: object
    expires: int
    revoked: bool = False


@dataclass
class Call:
    """One invocation. `subjects`: names, the root first, the signer last, or of a bound call first."""

    resource: str
    now: int
    subjects: list[str]
    params: str = "{}"
    operation: str | None = None
    intents: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    delegation: list[Hop] = field(default_factory=list)
    bound: bool = False
    session: str = ""
    chain_sessions: list[str] = field(default_factory=list)  # of delegators, for taint
    source_agent: str | None = None
    resumed: bool = False  # taken again when an approval completed (section 8)
    requested: list[str] | None = None  # keys asked for when the call became pending; None: all that it needs
    session_expires: int | None = None
    maskable: list[str] = field(default_factory=list)  # the paths that the executing tool declares
    trusted: list[str] | None = None  # TenantTrusted.resources: the caller is foreign (section 6)


@dataclass
class Finding:
    """A check that failed: its reason, and which line of which document it is."""

    reason: str
    policy: str = ""
    at: str = ""
    path: str = ""


@dataclass
class Verdict:
    """`check` is the deciding check, None when allowed. `writes` is what the decision changes in the tables.

    ("charge", principal, bucket, tat) · ("use", index of the record) · ("request", key, one_time, deadline)
    ("cell", cell key, window, amount)
    """

    outcome: str
    reason: str
    stage: float = 12
    check: Finding | None = None
    writes: list[tuple[object, ...]] = field(default_factory=list)
    retry_after_ms: int | None = None
    masks: list[str] = field(default_factory=list)  # the paths below which the tool gets tokens; none if denied
