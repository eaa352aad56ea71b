"""Every bound of the policy language, with its unit (docs/mapl.md 1)."""

DOCUMENT_BYTES_MAX = 64 * 1024
DOCUMENT_DEPTH_MAX = 16  # containers inside each other, the document itself is 1
POLICY_ID_CHARS_MAX = 256  # code points after NFC, as everywhere below
ADVISORY_CHARS_MAX = 1024  # each of name, version, description and scope
PATTERNS_MAX = 512  # patterns in one list
PATTERN_CHARS_MAX = 512
PATTERN_STARS_MAX = 16  # runs of stars in one pattern
OPKEYS_MAX = 256  # operation keys in one document
PATHS_MAX = 128  # parameter paths under one operation key
PATH_CHARS_MAX = 1024
PATH_STEPS_MAX = 128  # deeper than any parameters
PATH_INDEX_DIGITS_MAX = 9  # of an index in a path
ENUM_MEMBERS_MAX = 1024  # literals in one allowed_values, items in one denied list
REQUIREMENTS_MAX = 64  # attestations that one document requires, and keys that it says more about
CONSTRAINT_ROLES_MAX = 64
SEQUENCE_RULES_MAX = 64
SEQUENCE_SAME_MAX = 16  # pairs of paths in one rule
SEQUENCE_ARGUMENTS_MAX = 16  # paths in one rule
EXTENDS_DEPTH_MAX = 16  # documents in one chain, the first included

EXPRESSION_CHARS_MAX = 2048
EXPRESSION_DEPTH_MAX = 32
EXPRESSION_NODES_MAX = 256

REGEX_CHARS_MAX = 512
REGEX_BYTES_MAX = 1024 * 1024  # memory of one compiled expression
REGEX_PROGRAMS_MAX = 100_000  # instructions of all expressions in one document, 0.1 s to compile
EVENT_PROGRAMS_MAX = 200_000  # and in all documents of one event

# Documents that come with a call: intents, prompt policies, delegation scopes, together.
INLINE_DOCUMENTS_MAX = 32
INLINE_BYTES_MAX = 8 * 1024
INLINE_PATTERNS_MAX = 64
INLINE_REQUIREMENTS_MAX = 16
INLINE_REGEXES_MAX = 8
INLINE_REGEX_CHARS_MAX = 128
INLINE_REGEX_BYTES_MAX = 64 * 1024  # their senders choose them freely, and several are remembered

RATE_MAX = 1_000_000  # calls in a minute
QUORUM_MAX = 16
TIMEOUT_SECONDS_MAX = 604_800
TIME_TO_LIVE_SECONDS_MAX = 31_622_400
USES_MAX = 1_000_000
OPEN_REQUESTS_MAX = 100  # approvals that one requester waits for
GRANT_REQUEST_MS = 3_600_000  # a request for a grant stays open as long
APPROVAL_TIMEOUT_SECONDS = 300  # of `require_approval`
DELEGATION_DEPTH_MAX = 8

NAME_CHARS_MAX = 1024  # a resource name, with its domain, in any of its spellings
DECODINGS_MAX = 3  # rounds of percent-decoding after which a name must have come to rest

ROLES_MAX = 64  # roles of one session
GROUPS_MAX = 256  # groups of one session

# Units that one call may spend, and what things cost: not time, because a replay must agree. A unit is at most 50 ns on
# a server's core of today; `python -m bench.worst_case` measures what it comes to at worst.
WORK_UNITS_MAX = 10_000_000
ITEM_UNITS = 16  # a pattern or item held against a text, and one for each character of it or more (`globs`)
PIECE_UNITS = 4  # each piece of a pattern that must be found
PIECE_CHARS = 64  # of a piece, for which a character of the text costs one more
TEXT_UNITS = 64  # a text that is looked at, where it is not ASCII, and for each byte of it
TEXT_BYTE_UNITS = 4
FOLDED_UNITS = 8  # each character of what folding makes of it: one may become eighteen
SPELLING_UNITS = 16  # a byte of a text whose other spellings are made, or looked for
GRAM_UNITS = 32  # a run of words that is digested, and looked for
WORD_BYTE_UNITS = 32  # each byte of a text whose words are found, in all its decodings
AMOUNT_UNITS = 32  # a number that a rule adds; the longest take 2 µs
REACHED_VALUE_UNITS = 16  # a value that a path with several steps leads to
NAME_UNITS = 8  # each member name that is looked at because none is to the letter the one that is sought
KEY_NODE_UNITS = 100  # a value that is compared whole: each value in it, and each byte that it is written in
KEY_BYTE_UNITS = 3
NUMBER_UNITS = 64  # a number that is written down to be compared
REGEX_UNITS = 64  # a match, and the program's size for each byte of the text
RECORD_UNITS = 32  # each record of a session, or approval, that is asked for
APPROVER_UNITS = 250  # each person behind such an approval: who that is now, with which attributes, is looked up
SCOPE_UNITS = 1_000  # the bounds of a registered approver, held against a call: up to 64 patterns
POLICY_BYTE_UNITS = 8  # a published document that applies
INLINE_BYTE_UNITS = 64  # a document that came with the call: it is read for this call
PROGRAM_UNITS = 16  # each instruction of a regular expression in such a document: it is compiled for this call
TEST_UNITS = 16  # each constraint that may apply, for each role that is tried

# Bounds of caches, in entries; they change no answer.
CACHED_NAMES_MAX = 4096
CACHED_NAME_CHARS_MAX = 128  # a long name has as many prefixes as slashes: remembered, a caller could fill the memory
CACHED_MATCHERS_MAX = 4096
CACHED_SCOPES_MAX = 512  # the largest take 35 KB, and anybody may send others with every record
CACHED_POLICIES_MAX = 1024
CACHED_POLICY_BYTES_MAX = 8 * 1024 * 1024  # of policies in force that are ready: more than may apply to one call
CACHED_PLANS_MAX = 4096
CACHED_PLAN_TESTS_MAX = 1_000_000  # tests of parameters in all remembered plans of a tenant
CACHED_INLINE_MAX = 64  # documents that came with calls, and plans with such
CACHED_ZONE_SECONDS_MAX = 64
