"""Every bound of claims mapping, with its unit. Above a bound a file is refused, and so is a login."""

PROVIDERS_MAX = 64  # of one file
RULES_MAX = 64  # of one provider
CLAIMS_PER_RULE_MAX = 8  # of which the first that the token has counts
CONDITIONS_MAX = 8  # of one rule
TRANSFORMS_MAX = 8  # of one rule
LISTED_MAX = 256  # texts in a list or table of a file
OPTION_CHARS_MAX = 256  # a text of a transform, condition, filter or detection
ID_CHARS_MAX = 512  # a provider's id, which may be its issuer
PATH_CHARS_MAX = 256
PATH_STEPS_MAX = 16
REGEX_CHARS_MAX = 512
REGEX_BYTES_MAX = 1024 * 1024  # memory of one compiled expression
REGEX_PROGRAM_MAX = 10_000  # its instructions
REGEX_PROGRAMS_MAX = 100_000  # instructions of all expressions of one provider, 0.1 s to compile
TOKEN_AGE_MINUTES_MAX = 24 * 60  # no session lasts longer

# Of a token, whose author may be hostile.
VISITED_MAX = 4096  # values that one path leads to, on its way and at its end
TEXTS_MAX = 1024  # texts of one rule at any time: of a claim, or what a transform makes of it
TEXT_CHARS_MAX = 4096  # of one of them: a list in a text, before it is split
RULE_CHARS_MAX = 16 * 1024  # of all of them together
VALUE_CHARS_MAX = 512  # of one mapped text
PERSON_CHARS_MAX = 255  # of a person's name, without the prefix and the namespace
NEAREST_MAX = 256  # names among which a misspelt one is looked for
UNREAD_MAX = 32  # names of claims that no rule reads, in a report
SHOWN_CHARS_MAX = 64  # of a claim's name in a report
