"""Every bound, named once with its unit and its reason."""

from __future__ import annotations

# Sizes on the wire. The broker refuses a record above its topic's limit; a smaller one is refused on the log.
EVENT_BYTES_MAX = 256 * 1024  # of every event but a ResultReported
RESULT_EVENT_BYTES_MAX = 1024 * 1024  # of a ResultReported, which carries a tool's answer
INTAKE_MESSAGE_BYTES_MAX = 1_310_720  # 1.25 MiB: a ResultReported with its headers
OUTPUT_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
OUTPUT_PAYLOAD_BYTES_MAX = 3 * 1024 * 1024  # leaves room for the record, its proof and sealing for 16 instances
ARRAY_ITEMS_MAX = 65_536  # of one array of a record: an array of one-byte items takes longer to read than to send
HEADERS_MAX = 16  # of one record; one with more counts as one without. 400,000 would fit, and take 40 MB
DEAD_LETTER_BYTES_MAX = 64 * 1024  # of a record's value; the rest is cut off
DETAIL_CHARS_MAX = 160  # keeps an audit entry of a refusal at 512 bytes or less
TRACEPARENT_CHARS_MAX = 256  # version 00 of W3C Trace Context has 55

# Signatures.
HEAD_LEAVES_MAX = 1024  # records under one signature
PROOF_PATH_MAX = 10  # ceil(log2(1024))
HEADS_REMEMBERED_MAX = 8192  # verified signatures that a process keeps, so as not to verify them again
CARRIED_HEADS_REMEMBERED_MAX = 1024  # the same, of events that came inside payloads
AGREEMENTS_REMEMBERED_MAX = 64  # keys that a pair shares with others, kept so as not to be derived again

# Time. The append time of the broker is the only clock of the fold.
SEQ_AHEAD_MS_MAX = 60_000  # a sequence number (µs) ahead of log time: above it an event is FUTURE
ISSUED_AHEAD_MS_MAX = 10_000  # `issued_at` ahead of log time: above it an event is FUTURE
ISSUED_BEHIND_MS_MAX = 300_000  # `issued_at` behind log time: above it an event is STALE
EXECUTE_WITHIN_MS = 60_000  # from a decision to the latest time at which its call begins
LOG_AHEAD_MS_MAX = 60_000  # append time ahead of a worker's clock; beyond it log time would move all deadlines along
UNKNOWN_GRACE_MS = 15_000  # for the report of a tool that began in time
SESSION_TTL_MS_MAX = 24 * 3600 * 1000
# A session row stays longer after the session's end than an event may be late; else old events could be replayed.
SESSION_LINGER_MS = ISSUED_BEHIND_MS_MAX + ISSUED_AHEAD_MS_MAX + 60_000
EXPIRED_PER_EVENT_MAX = 64  # rows past their deadline that one record removes

# Rulings on offsets.
RULED_OFFSETS_MAX = 200_000  # of one ruling; more than one batch of intake can hold, empty records included
RULING_KEPT_MS = 24 * 3600 * 1000  # a followed ruling is kept this long for its own event, at a later offset

# An engine.
ENGINE_DATA_MAX = 64  # data that one engine names
ENGINE_DATA_NAME_CHARS_MAX = 128
ENGINE_AHEAD_MAX = 1000  # of one activation, above the present number: a thief of an admin's key cannot use them all up

# An identity provider.
PROVIDERS_MAX = 64  # of one tenant, ended ones included: their namespaces stay theirs
PROVIDER_AUDIENCES_MAX = 16
PROVIDER_HOSTS_MAX = 16
ISSUER_CHARS_MAX = 512  # declared, or named by a token
AUDIENCE_CHARS_MAX = 256
PROVIDED_NAME_CHARS_MAX = 512  # of a principal that a provider names, with its prefix and namespace
PROVIDED_STARS_MAX = 8  # in one pattern of names or attributes
PROVIDED_PATTERNS_MAX = 64  # of one list of attributes
DIGEST_BYTES = 32  # SHA-256

# A transaction.
BATCH_RECORDS_MAX = 512
BATCH_OUTPUTS_MAX = 4096
BATCH_WRITES_MAX = 8192  # to rows
BATCH_BYTES_MAX = 8 * 1024 * 1024
BATCH_MS_MAX = 50
TRANSACTION_TIMEOUT_MS = 15_000

# Call parameters (RFC 8259 text, before anything reads them).
PARAMETERS_DEPTH_MAX = 32
PARAMETERS_NODES_MAX = 16_384  # sixty tools with their schemas have about six thousand
JSON_NODES_MAX = 4096  # of other JSON texts that a stranger sends
INTEGER_MAX = 2**53

# Bodies: texts that travel beside the log, sealed, in chunks (docs/wire.md 19).
BODY_CHUNK_BYTES = 512 * 1024  # of content in one record; a broker takes 1 MiB by default, and so does the topic
BODY_MESSAGE_BYTES_MAX = 1024 * 1024  # a chunk, sealed to 16 instances
BODY_BYTES_MAX = 64 * 1024 * 1024  # of one body; its reader has it in memory whole
BODIES_PER_CALL_MAX = 16
BODY_CALL_BYTES_MAX = 64 * 1024 * 1024  # of all bodies of one call; a host has so much in memory for each that runs
BODY_PARAMETERS_BYTES = 64 * 1024  # larger parameters: a client moves texts out of them, where the tool takes bodies
BODY_RESULT_BYTES = 256 * 1024  # a larger result travels beside its report
BODY_UPLOAD_MS = 120_000  # from the first chunk to the call; readers look no further back
STREAM_ITEM_BYTES_MAX = 512 * 1024  # of one item of a stream: one chunk
STREAM_ITEMS_MAX = 1_000_000
STREAM_BYTES_MAX = 1024 * 1024 * 1024

# Shares of every table of a tenant (`processors/state/shares.py`). Above a share: LIMIT_EXCEEDED.
SHARE_PART = 4  # a sponsor, or a holder without one, has at most a quarter of a table
SHARE_PARTS_MAX = 256  # the smallest share is 1/256: a tool, guest of a delegate, guest of a holder with a sponsor
WITHIN_PART = 4  # a holder with a sponsor, or a guest, has a quarter of the share in which it acts

# An administrator sets a tenant's limits between these bounds (`processors/state/bounds.py`).
LIMIT_FLOOR_PART = 64  # the floor of a limit is a 64th of its value here: a tenant stays usable, and can raise it again
LIMIT_CAP_TIMES = 2  # the cap is twice its value here: a worker's memory for one tenant stays bounded

# One tenant. Above them: LIMIT_EXCEEDED.
KEYS_MAX = 10_000  # live keys; revoked and expired ones are kept, and count for no share
RESOURCES_MAX = 40_000
ENROLLED_BYTES_MAX = 16 * 1024 * 1024  # of all registrations by one enrolment key; every client reads them, for ever
INSTANCE_KEYS_MAX = 16  # live keys of one principal
DECISION_KEYS_MAX = 16  # live ones of one tenant; they need no room in the table of keys
KEY_END_TOLD_MS = 30 * 24 * 3600 * 1000  # before its end a key is warned of: a rotation needs people, some are away
SESSIONS_MAX = 400_000  # of which one identity provider, or one bridge for a file, has a quarter, 100,000
SESSION_BYTES_MAX = 1024 * 1024 * 1024  # of memory for the sessions that a worker holds
SESSION_OWN_BYTES = 1024  # about the size of a session event without its texts
SESSION_MEMORY_BYTES = 2 * 1024  # of one session and its person in a worker, texts of attributes aside; measured
SESSIONS_PER_PERSON_MAX = 256  # open at once, by one bridge; revoking one of them reads them all
PENDING_CALLS_MAX = 400_000  # of which the principals of one enrolment key have a quarter, 100,000
IDEMPOTENCY_KEY_BYTES_MAX = 128
IDEMPOTENCY_KEY_MS = 24 * 3600 * 1000  # a key stays used up for a day, longer than any call stays open
IDEMPOTENCY_KEYS_MAX = 200_000  # keys used up within a day
POLICIES_MAX = 10_000
ORGANISATION_POLICIES_MAX = 256  # `org:` documents, beside the tenant's own: each of them is asked about every call
DOCUMENTS_PER_EVENT_MAX = 64
INTENTS_PER_CALL_MAX = 2  # policies that a caller adds to its own call
RATE_BUCKETS_MAX = 400_000  # principals and policies with calls in the last minute; a bucket at rest has no row
RULE_CELLS_MAX = 400_000  # cells in which sequence rules count calls of sessions and users
WORK_FREE_UNITS = 200_000  # of one call, about 10 ms; more is paid from a bucket (`processors.calls.work`)
WORK_BUCKET_UNITS = 20_000_000  # of one principal at once; one unit comes back each µs, which is a twentieth of a core
MARKS_PER_CALL_MAX = 64  # marks that one successful call leaves for sequence rules to count
TOOLS_PER_PRINCIPAL_MAX = 512
OFFERS_MAX = 40_000  # instances that offer tools
OFFER_BYTES_MAX = 256 * 1024 * 1024  # of memory: each is kept as it was signed, and decoded
OFFERED_TOOL_BYTES = 256  # of memory for one operation of an offer, its texts aside; measured
OFFERED_PATH_BYTES = 64  # of memory for one of its prompts and paths
OFFERS_PER_PRINCIPAL_MAX = 4096  # sessions that offer tools and have not left, those of instances that died among them
INSTANCES_PER_PRINCIPAL_MAX = 256  # there at once: a call without a target looks at all of them, and at their tools
QUERY_AGENTS_BYTES_MAX = 256 * 1024  # of names of tools on one page of `agents`
PRESENCE_MS = 60_000  # without a sign of life for so long an instance counts as gone
LABEL_CHARS_MAX = 256  # of an instance, for people
CALLERS_MAX = 32  # calls around each other
DECLARED_PATTERNS_MAX = 4096  # of one tool's registration; checking a pattern takes 5 µs, and it may have 3 bytes only
OBSERVED_MAX = 32  # tenant, policies and resources in observe mode at once; each call is held against the patterns
FROZEN_MAX = 256  # tenant, principals and resources that are frozen at once
BREAK_GLASS_MAX = 8  # open at once: more are a policy, and a policy is reviewed
BREAK_GLASS_MS_MIN = 60_000
BREAK_GLASS_MS_MAX = 3_600_000
CATALOGUES_MAX = 8  # of rules that verifiers match beside their own; all of them are compiled in every worker
CATALOGUE_RULES_MAX = 2_000  # in one event
CATALOGUE_BYTES_MAX = 192 * 1024  # of UTF-8, ids, kinds and patterns together: the event has a bound of its own
CATALOGUE_PATTERN_CHARS_MAX = 8_192  # rules for commands list hundreds of names; the programs are bounded beside it
CATALOGUE_PROGRAMS_MAX = 150_000  # instructions of all patterns in one event, 0.3 s to compile
CATALOGUE_LOOSE_MAX = 12_000  # of these, in rules that any text may have to be tried for, and 128 for each such rule
TOOL_SCHEMA_BYTES_MAX = 16 * 1024  # of one JSON schema of an operation, in UTF-8
DESCRIPTION_CHARS_MAX = 1024  # of an operation of a tool
ROOT_KEYS_MAX = 16
ROOT_ACT_BYTES_MAX = 8192  # of a recovery by next root keys: 16 keys, 16 digests, a reason of 1,024 characters
NAME_CHARS_MAX = 256
RESOURCE_CHARS_MAX = 1024
ATTRIBUTES_BYTES_MAX = 16 * 1024
ATTRIBUTES_REMEMBERED_BYTES_MAX = (
    4 * 1024 * 1024
)  # of attributes with a ready subject; subjects take twelve times as much
TOOL_TIMEOUT_MS_MAX = 3_600_000

# Verifiers outside, and their verdicts.
VERIFIERS_MAX = 8  # of one tenant: a call is sealed to all that are in scope, and a record has room for 16 recipients
VERIFIER_KEYS_MAX = 2  # live ones of one verifier: two processes, or an old and a new one
VERIFIER_RESOURCES_MAX = 64  # patterns of one verifier; each is matched with the resource of every call
VERIFIER_PRIORITY_MAX = 1000
VERIFIER_STAMPS_MAX = 32  # of one verifier
VERDICT_EVENT_BYTES_MAX = 8 * 1024  # kept whole while its call waits, and carried by the call that it is stapled to
VERDICTS_PER_CALL_MAX = 8  # stapled to one call
VERDICT_FINDINGS_MAX = 8
VERDICT_AGE_MS_MAX = SESSION_TTL_MS_MAX
VERDICT_WAIT_MS = 60_000  # of a call for its verdicts; a judge has a part of it
RESULT_VERDICT_MS = 600_000  # after a result was passed on a verdict on it is taken; a burst of results may queue
STAMPS_BYTES_MAX = 4 * 1024  # of one verdict
STAMP_TEXT_CHARS_MAX = 256
STAMP_TEXTS_MAX = 64  # in one list

# Workflow state of one tenant. Above them: LIMIT_EXCEEDED.
ATTESTATIONS_MAX = 400_000  # about 1 KB each; the strong logins of one provider have room for 100,000
ATTESTATION_BYTES_MAX = 128 * 1024 * 1024
ATTESTATION_VALUE_BYTES_MAX = 4 * 1024
ATTESTATION_LINGER_MS = 3600 * 1000  # expired ones are kept this long: callers hear EXPIRED, not MISSING
ATTESTATION_TTL_MS_MAX = 366 * 24 * 3600 * 1000
ATTESTATIONS_PER_REPORT_MAX = 16
USES_COUNTED_MAX = 2**31 - 1  # of a record without a bound on uses; rows count in 32 bits, and no policy asks for more
SETTERS_PER_KEY_MAX = 64  # attestations under one key of a session; one principal may set at most a quarter of them
REASON_CHARS_MAX = 1024  # of an event's reason, and of a delegation's purpose
PENDING_BYTES_MAX = 64 * 1024 * 1024  # of all calls that wait for approvals; each is kept whole
APPROVALS_PER_REQUEST_MAX = 16  # the largest quorum that a policy may ask for
CLOSED_REQUEST_MS = 3600 * 1000  # closed requests are kept this long: late approvers hear how they ended
FOR_EVER_MS = 2**62  # the deadline of rows that end only by an event
GRANTS_MAX = 50_000
GRANT_BYTES_MAX = 64 * 1024 * 1024  # of the approvals in all grants
GRANT_OVER_MS = SESSION_TTL_MS_MAX + SESSION_LINGER_MS  # ended ones are kept as long as a call can wait
REQUESTS_MAX = 400_000  # when a share is full of closed ones, the end of a further one is not kept
APPROVER_LIMITS_BYTES_MAX = 16 * 1024  # of a registered approver; they stay in the row of its key
APPROVER_PATTERNS_MAX = 64  # of one list in the limits of a registered approver
APPROVAL_EVENT_BYTES_MAX = 8 * 1024  # kept whole: 16 in one row of state, and in grants for as long as they last
DELEGATIONS_MAX = 50_000
DELEGATION_BYTES_MAX = 128 * 1024 * 1024
REVOKED_DELEGATION_MS = 3600 * 1000  # revoked ones are kept this long: callers hear REVOKED, not UNKNOWN
DELEGATION_MS_MAX = 366 * 24 * 3600 * 1000
PERSONS_MAX = 400_000  # persons whose attributes are kept, with or without a session
PERSON_BYTES_MAX = 256 * 1024 * 1024
PERSON_KEPT_MS = 400 * 24 * 3600 * 1000  # after the login: longer than a delegation from its session can last
PROMPTS_MAX = 200_000
PROMPT_BYTES_MAX = 128 * 1024 * 1024  # of the policies of all prompts
PROMPTS_PER_CALL_MAX = 8
PROMPT_DEPTH_MAX = 8

# Values that a session heard (`processors.calls.provenance`). Beyond these any value counts as heard.
HEARD_ROWS_MAX = 200_000  # results and prompts whose words are remembered
HEARD_BYTES_MAX = 8 * 1024 * 1024  # of fingerprints; ready to be looked up they take eleven times as much memory
HEARD_TEXT_BYTES_MAX = 8 * 1024  # of one result whose words are remembered
HEARD_SESSION_BYTES_MAX = 32 * 1024  # of fingerprints of one session: 4,096 of them
HEARD_RESULTS_MAX = 256  # results of one session of which words are remembered
HEARD_UNSEEN_MAX = 32  # rows of one session that stand for texts that were not seen; then they become one
HEARD_KEPT_MS = 24 * 3600 * 1000  # of a program's: at least so long, also where its session ends before
VAULT_KEYS_MAX = 400_000
VAULT_BYTES_MAX = 256 * 1024 * 1024
VAULT_SCOPES_MAX = 80_000  # shared ones, and one for each session that keeps values
VAULT_KEY_BYTES_MAX = 256
VAULT_VALUE_BYTES_MAX = 64 * 1024
VAULT_TTL_MS_MAX = 366 * 24 * 3600 * 1000
VAULT_LIST_MAX = 100
VAULT_LIST_PAGES_MAX = 1000  # that one call of a client reads, one after the other
APPLICATION_TEXT_CHARS_MAX = 256
APPLICATION_METADATA_BYTES_MAX = 16 * 1024
QUERY_ROWS_MAX = 100  # rows that one question reads
QUERY_NAMES_MAX = 64  # of resources in one question
QUERY_USERS_MAX = 50  # in a page of an answer; the attributes of each have 16 KiB at most
QUERY_DELEGATIONS_MAX = 50  # in a page of an answer; a scope of 8 KiB grows to 28 KiB when 1e15 is written out

# Tokens of identity providers, and the key sets that verify them.
TOKEN_CHARS_MAX = 16 * 1024  # of one compact token, checked before anything reads it; providers stay below 8 KiB
TOKEN_DEPTH_MAX = 16  # containers inside each other in a token's claims; eight actors need nine
TOKEN_TEXT_CHARS_MAX = 255  # of sub, jti, sid and the like; OpenID Connect Core bounds sub so
TOKEN_AUDIENCES_MAX = 64  # of one token, and of the rules for one issuer
TOKEN_METHODS_MAX = 16  # items of amr
TOKEN_ACTORS_MAX = 8  # in a chain of act (RFC 8693)
TOKEN_SKEW_MS = 60_000  # a token may be issued, or begin, so far ahead of our clock
TOKEN_SKEW_MS_MAX = 300_000  # as for events; more would hide a wrong clock
LOGOUT_TOKEN_AGE_MS_MAX = 300_000  # of a logout token since `iat`; providers give it an `exp` two minutes ahead
KEY_SET_BYTES_MAX = 256 * 1024
KEY_SET_KEYS_MAX = 64  # in one set; large providers publish about ten
KEY_ID_CHARS_MAX = 256  # of a kid

# Logins: a token on its way to a bridge, and the bridge's answer.
LOGIN_MESSAGE_BYTES_MAX = 64 * 1024  # a token of the largest size, sealed, with its keys
LOGIN_MS = 60_000  # in which a bridge may use a login, counted by the clock of its maker
LOGIN_AHEAD_MS_MAX = 2 * LOGIN_MS  # a login that ends later, by log time, is refused: its maker's clock is wrong
LOGIN_NONCE_BYTES = 16
LOGIN_GROUP_BYTES = 256  # of memory, so that a logout finds a session by its login or its subject
LOGIN_METHOD_CHARS_MAX = 64  # of one item of amr that stands on the log; a token with more says nothing of its methods
