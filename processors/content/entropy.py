"""Entropy of short texts in whole numbers, and the texts that only stand where a secret will stand.

Shannon's entropy (A Mathematical Theory of Communication, 1948, section 6) in thousandths of a bit for each character.
All arithmetic is on integers: `math.log2` differs between C libraries, and a verdict must not.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise

MILLIBITS = 1000
LENGTH_MAX = 512  # characters of a text that are counted: a longer secret is as random in its beginning

# Words that examples, templates and manuals write in the place of a secret. Compared in lower case.
_STANDING_WORDS = (
    "example", "placeholder", "changeme", "change_me", "change-me", "your_", "your-", "yourkey", "yourtoken",
    "yourapi", "yoursecret", "yourpass", "my_secret", "my-secret", "mysecret", "insert_", "insert-", "replace_",
    "replace-", "redacted", "dummy", "sample", "_here", "-here", "keyhere", "tokenhere", "todo", "fixme", "foobar",
    "not_a_", "notareal", "not-a-", "fake_", "fake-", "fakekey", "lorem", "xxxx", "****", "....", "____", "----",
)  # fmt: skip
# Values that manuals write for a password, whole.
_STANDING_VALUES = frozenset({
    "password", "passwd", "passphrase", "pass", "passw0rd", "p@ssw0rd", "pwd", "secret", "token", "user", "username",
    "key", "apikey", "api_key", "api-key", "access_token", "access-token", "changeit", "admin", "root", "test", "guest",
    "postgres", "mysql", "mongodb", "redis", "mypassword", "userpassword", "user_password", "string", "value", "null",
    "none", "true", "false", "undefined", "credentials", "proxy_password", "username:password", "user:password",
    "user:pass", "username:pass", "login:password", "user:passwd", "admin:admin", "admin:password", "name:password",
    "root:root", "test:test", "user_name:password", "user-password", "remote_password", "api_token", "db_password",
})  # fmt: skip
_REFERENCES = ("os.", "env.", "process.env", "secrets.", "vault:", "config.")  # the value stands elsewhere
_SIGNS = frozenset("-_./+=~:@!#*% \t\n\\'\"")
_STEPS_MIN = 7  # of one letter or digit to the next, in a row: by chance, one random text in 10^9 has as many


def millibits(text: str) -> int:
    """Return the entropy of the text's characters, in thousandths of a bit for each character, rounded down.

    A text of one character repeated has 0; 16 different characters have 4000. The first LENGTH_MAX characters of a text
    are counted. The empty text has 0.
    """
    seen = text[:LENGTH_MAX]
    if not seen:
        return 0
    logs = _logs()
    spread = sum(count * logs[count] for count in Counter(seen).values())
    return max(0, len(seen) * logs[len(seen)] - spread) // len(seen)


def is_placeholder(text: str) -> bool:
    """Return True for a text that marks the place of a secret: `xxxx`, `your-key-here`, `EXAMPLE`, `abcdef…`, `$NAME`.

    True too for at most two different characters, for one short piece repeated, and for a text that the alphabet or
    counting make up by half. Of a text, the first LENGTH_MAX characters are looked at.
    """
    seen = text[:LENGTH_MAX]
    low = "".join(one.lower() if one.isascii() else one for one in seen)
    letters = "".join(one for one in low if one not in _SIGNS)
    if len(set(letters)) <= 2 or low in _STANDING_VALUES or low[:1] in "<${%[":
        return True
    if low.startswith(_REFERENCES) or any(word in low for word in _STANDING_WORDS):
        return True
    return _repeats(letters) or 2 * _in_sequence(letters) >= len(letters)


def _repeats(letters: str) -> bool:
    """Return True if a piece of at most six characters, repeated three times or more, is the whole text."""
    return any(
        len(letters) >= 3 * size and letters == (letters[:size] * (len(letters) // size + 1))[: len(letters)]
        for size in range(1, 7)
    )


def _in_sequence(letters: str) -> int:
    """Return how many characters stand in runs that count up or down by one, of more than _STEPS_MIN characters."""
    inside = steps = last = 0
    for one, other in pairwise(letters):
        step = ord(other) - ord(one)
        if abs(step) == 1 and step == last:
            steps += 1
            continue
        inside += steps + 1 if steps >= _STEPS_MIN else 0
        last, steps = (step, 1) if abs(step) == 1 else (0, 0)
    return inside + (steps + 1 if steps >= _STEPS_MIN else 0)


@cache
def _logs() -> tuple[int, ...]:
    """Return 1000·log2(n), rounded down, for n up to LENGTH_MAX: the bits of n^1000, less one."""
    return (0, *((n**MILLIBITS).bit_length() - 1 for n in range(1, LENGTH_MAX + 1)))
