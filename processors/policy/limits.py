"""Every bound of the policy language, with its unit (MAPL.md 1)."""

DOCUMENT_BYTES_MAX = 64 * 1024
DOCUMENT_DEPTH_MAX = 16  # containers inside each other, the document itself is 1
POLICY_ID_CHARS_MAX = 256  # code points after NFC, as everywhere below
ADVISORY_CHARS_MAX = 1024  # each of name, version, description and scope
PATTERNS_MAX = 512  # patterns in one list
PATTERN_CHARS_MAX = 512
PATTERN_STARS_MAX = 16  # runs of stars in one pattern
OPKEYS_MAX = 256  # operation keys in one document
PATHS_MAX = 128  # parameter paths under one operation key
ENUM_MEMBERS_MAX = 1024  # literals in one allowed_values

NAME_CHARS_MAX = 1024  # a resource name, with its domain, in any of its spellings
DECODINGS_MAX = 3  # rounds of percent-decoding after which a name must have come to rest

ROLES_MAX = 64  # roles of one session
GROUPS_MAX = 256  # groups of one session

# Bounds of caches, in entries; they change no answer.
CACHED_NAMES_MAX = 4096
CACHED_NAME_CHARS_MAX = 128  # a long name has as many prefixes as slashes: remembered, a caller could fill the memory
CACHED_MATCHERS_MAX = 4096
CACHED_POLICIES_MAX = 1024
CACHED_PLANS_MAX = 4096
