"""Every bound, named once with its unit and its reason."""

from __future__ import annotations

# Sizes on the wire. The broker refuses what exceeds a topic's limit; between our limit and that we refuse on the log.
EVENT_BYTES_MAX = 256 * 1024
RESULT_EVENT_BYTES_MAX = 1024 * 1024
INTAKE_MESSAGE_BYTES_MAX = 1_310_720  # 1.25 MiB: a ResultReported with its headers
OUTPUT_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
OUTPUT_PAYLOAD_BYTES_MAX = 3 * 1024 * 1024  # leaves room for the record, its proof and sealing for 16 instances
ARRAY_ITEMS_MAX = 65_536  # of one array of a record: one of a byte each would take longer to read than to send
HEADERS_MAX = 16  # of a record; one with more counts as one without: 400,000 fit into a record, and take 40 MB
DEAD_LETTER_BYTES_MAX = 64 * 1024
DETAIL_CHARS_MAX = 160  # keeps an audit entry of a refusal at 512 bytes or less
TRACEPARENT_CHARS_MAX = 256  # version 00 of W3C Trace Context has 55

# Signatures.
HEAD_LEAVES_MAX = 1024
PROOF_PATH_MAX = 10  # ceil(log2(1024))
HEADS_REMEMBERED_MAX = 8192

# Time. The append time of the broker is the only clock of the fold.
SEQ_AHEAD_MS_MAX = 60_000
ISSUED_AHEAD_MS_MAX = 10_000
ISSUED_BEHIND_MS_MAX = 300_000
EXECUTE_WITHIN_MS = 60_000
LOG_AHEAD_MS_MAX = 60_000  # append time ahead of a worker's clock: log time would drag all deadlines along
UNKNOWN_GRACE_MS = 15_000  # for the report of a tool that began in time
SESSION_TTL_MS_MAX = 24 * 3600 * 1000
# A session row outlives the session by more than an event may be late, or its old events could be replayed.
SESSION_LINGER_MS = ISSUED_BEHIND_MS_MAX + ISSUED_AHEAD_MS_MAX + 60_000
EXPIRED_PER_EVENT_MAX = 64

# Rulings on offsets.
RULED_OFFSETS_MAX = 200_000  # more records than one batch of intake can hold, empty ones included
RULING_KEPT_MS = 24 * 3600 * 1000  # until its own event, which stands further on, is folded

# A transaction.
BATCH_RECORDS_MAX = 512
BATCH_OUTPUTS_MAX = 4096
BATCH_WRITES_MAX = 8192  # to rows
BATCH_BYTES_MAX = 8 * 1024 * 1024
BATCH_MS_MAX = 50
TRANSACTION_TIMEOUT_MS = 15_000

# Call parameters (RFC 8259 text, before anything reads them).
PARAMETERS_DEPTH_MAX = 32
PARAMETERS_NODES_MAX = 4096
INTEGER_MAX = 2**53

# Shares of every table of a tenant (`processors/state/shares.py`): LIMIT_EXCEEDED above them, as above its own bound.
SHARE_PART = 4  # who vouches for others, or stands alone, has this part of a table: a quarter
SHARE_PARTS_MAX = 256  # no part is smaller: of one for whom a key vouches, a delegate's, of that a tool's
WITHIN_PART = 4  # one among those for whom a key vouches, or who acts within another's share, has this part of it

# One tenant. Above them: LIMIT_EXCEEDED.
KEYS_MAX = 10_000  # that live; spent ones are kept, and count for nobody
RESOURCES_MAX = 40_000
ENROLLED_BYTES_MAX = 16 * 1024 * 1024  # of all registrations by one enrolment key: clients read them for ever
INSTANCE_KEYS_MAX = 16
SESSIONS_MAX = 40_000  # so that one bridge has 10,000
SESSION_BYTES_MAX = 64 * 1024 * 1024  # of what clients read of them when they start
SESSION_OWN_BYTES = 1024  # about what an event in the registry has beside its texts
SESSIONS_PER_PERSON_MAX = 256  # that one bridge opens; all of them are looked at when one is revoked
PENDING_CALLS_MAX = 400_000  # so that what one enrolment key registered has 100,000
IDEMPOTENCY_KEY_BYTES_MAX = 128
IDEMPOTENCY_KEY_MS = 24 * 3600 * 1000  # for so long one is used up; longer than any call stays open
IDEMPOTENCY_KEYS_MAX = 200_000  # used up within a day
POLICIES_MAX = 10_000
DOCUMENTS_PER_EVENT_MAX = 64
INTENTS_PER_CALL_MAX = 2
RATE_BUCKETS_MAX = 400_000  # of calls in the last minute; a bucket at rest is no row
RULE_CELLS_MAX = 400_000  # what sequence rules remember of sessions and users
WORK_FREE_UNITS = (
    200_000  # of one call, up to 10 ms: for more it pays from its principal's work bucket (`processors.calls.work`)
)
WORK_BUCKET_UNITS = 20_000_000  # that a principal may spend at once; one each µs comes back, a twentieth of a core
MARKS_PER_CALL_MAX = 64  # what one call leaves for them when it ends well
TOOLS_PER_PRINCIPAL_MAX = 512
DECLARED_PATTERNS_MAX = 4096  # that a tool's registration holds: to look at one takes 5 µs, and it may be 3 bytes
DESCRIPTION_CHARS_MAX = 1024  # of an operation of a tool
ROOT_KEYS_MAX = 16
NAME_CHARS_MAX = 256
RESOURCE_CHARS_MAX = 1024
ATTRIBUTES_BYTES_MAX = 16 * 1024
ATTRIBUTES_REMEMBERED_BYTES_MAX = 4 * 1024 * 1024  # whose subjects are kept ready; these take twelve times as much
TOOL_TIMEOUT_MS_MAX = 3_600_000

# Workflow state of one tenant. Above them: LIMIT_EXCEEDED.
ATTESTATIONS_MAX = 200_000
ATTESTATION_BYTES_MAX = 128 * 1024 * 1024
ATTESTATION_VALUE_BYTES_MAX = 4 * 1024
ATTESTATION_LINGER_MS = 3600 * 1000  # for so long it is told that a record has expired, not that there is none
ATTESTATION_TTL_MS_MAX = 366 * 24 * 3600 * 1000
ATTESTATIONS_PER_REPORT_MAX = 16
USES_COUNTED_MAX = 2**31 - 1  # of what serves any number of times: rows count in 32 bits, and no policy asks for more
SETTERS_PER_KEY_MAX = 64  # of a session; a quarter of them one principal
REASON_CHARS_MAX = 1024  # of every reason that is given, and of a delegation's purpose
PENDING_BYTES_MAX = 64 * 1024 * 1024  # of all calls that wait for approvals: they are kept whole
APPROVALS_PER_REQUEST_MAX = 16  # the largest quorum that a policy may ask for
CLOSED_REQUEST_MS = 3600 * 1000  # for so long it is told how a request ended, not that there is none
FOR_EVER_MS = 2**62  # of what ends only by somebody's word
GRANTS_MAX = 50_000
GRANT_BYTES_MAX = 64 * 1024 * 1024  # of the approvals in them
GRANT_OVER_MS = SESSION_TTL_MS_MAX + SESSION_LINGER_MS  # of one that is over: no call waits longer than a session
REQUESTS_MAX = 400_000  # of a share full of closed ones nobody is told how a further one ended
APPROVAL_EVENT_BYTES_MAX = 8 * 1024  # it is kept whole, with 15 others in one row of state, and in grants for ever
DELEGATIONS_MAX = 50_000
DELEGATION_BYTES_MAX = 128 * 1024 * 1024
REVOKED_DELEGATION_MS = 3600 * 1000  # for so long it is told that it was revoked, not that there is none
DELEGATION_MS_MAX = 366 * 24 * 3600 * 1000
PERSONS_MAX = 400_000  # of whom it is known what they are, with a session or without
PERSON_BYTES_MAX = 256 * 1024 * 1024
PERSON_KEPT_MS = 400 * 24 * 3600 * 1000  # after the login: longer than what was delegated in its session can last
PROMPTS_MAX = 200_000
PROMPT_BYTES_MAX = 128 * 1024 * 1024  # of their policies
PROMPTS_PER_CALL_MAX = 8
PROMPT_DEPTH_MAX = 8
VAULT_KEYS_MAX = 400_000
VAULT_BYTES_MAX = 256 * 1024 * 1024
VAULT_SCOPES_MAX = 80_000  # one for each session, and as many that are shared
VAULT_KEY_BYTES_MAX = 256
VAULT_VALUE_BYTES_MAX = 64 * 1024
VAULT_TTL_MS_MAX = 366 * 24 * 3600 * 1000
VAULT_LIST_MAX = 100
VAULT_LIST_PAGES_MAX = 1000  # that a client asks for, one after the other
APPLICATION_TEXT_CHARS_MAX = 256
APPLICATION_METADATA_BYTES_MAX = 16 * 1024
QUERY_ROWS_MAX = 100  # that one question looks at
QUERY_DELEGATIONS_MAX = 50  # that one question looks at: a scope of 8 KiB may be told in 28, as 1e15 in its digits
