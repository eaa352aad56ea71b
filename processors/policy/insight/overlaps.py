"""Patterns in grant position held against each other: whether some text meets both, and whether one covers the other.

For readers of policies, never for a decision: a decision holds a pattern against a name.
"""

from enum import Enum

from processors.policy.globs import star_runs

WORK_MAX = 20_000  # steps of one comparison: what costs more has no answer


class Star(Enum):
    """A run of any characters, or of any but the slash."""

    ANY = "**"
    SEGMENT = "*"


Token = str | Star


def tokens(pattern: str) -> tuple[Token, ...]:
    """Return a pattern as characters and stars, as a grant reads it: `domain:*` is the whole domain."""
    domain, colon, rest = pattern.partition(":")
    if rest == "*" and colon and "*" not in domain:
        return (*domain, ":", Star.ANY)
    found: list[Token] = []
    at = 0
    for run in star_runs(pattern):
        begin = pattern.index(run, at)
        found += pattern[at:begin]
        found.append(Star.ANY if len(run) > 1 else Star.SEGMENT)
        at = begin + len(run)
    return (*found, *pattern[at:])


def overlap(one: str, other: str) -> bool:
    """Return whether some text may meet both patterns; True where to find out would cost too much."""
    if "*" not in one and "*" not in other:
        return one == other
    if not _heads_agree(one, other):
        return False
    left, right = tokens(one), tokens(other)
    seen = {(0, 0)}
    waiting = [(0, 0)]
    while waiting:
        at = waiting.pop()
        if at == (len(left), len(right)):
            return True
        if len(seen) > WORK_MAX:
            return True
        for following in _following(left, right, at):
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return False


def covers(wide: str, narrow: str) -> bool:
    """Return whether every text that meets `narrow` is known to meet `wide`; False where that is not known."""
    outer, inner = tokens(wide), tokens(narrow)
    if len(outer) * len(inner) > WORK_MAX:
        return wide == narrow
    # held[i]: the tokens of `inner` so far are covered by the first i of `outer`.
    held = [True] + [False] * len(outer)
    for i, token in enumerate(outer):
        held[i + 1] = held[i] and isinstance(token, Star)
    for symbol in inner:
        held = _covered(outer, held, symbol)
    return held[-1]


def _covered(outer: tuple[Token, ...], held: list[bool], symbol: Token) -> list[bool]:
    after = [False] * len(held)
    for i, token in enumerate(outer):
        if isinstance(token, Star):
            takes = token is Star.ANY or symbol is Star.SEGMENT or (isinstance(symbol, str) and symbol != "/")
            after[i + 1] = (takes and (held[i] or held[i + 1])) or after[i]
        else:
            after[i + 1] = held[i] and token == symbol
    return after


def intersection(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Return the patterns for texts that meet one of each list: the narrower ones, or `a & b` for both."""
    found: dict[str, None] = {}
    for left in one:
        for right in other:
            if covers(left, right):
                found[right] = None
            elif covers(right, left):
                found[left] = None
            elif overlap(left, right):
                found[f"{left} & {right}"] = None
    return tuple(found)


def _heads_agree(one: str, other: str) -> bool:
    head, other_head = one.partition("*")[0], other.partition("*")[0]
    size = min(len(head), len(other_head))
    return head[:size] == other_head[:size]


def _following(left: tuple[Token, ...], right: tuple[Token, ...], at: tuple[int, int]) -> list[tuple[int, int]]:
    i, j = at
    one = left[i] if i < len(left) else None
    other = right[j] if j < len(right) else None
    found = []
    if isinstance(one, Star):
        found.append((i + 1, j))
        if isinstance(other, str) and (one is Star.ANY or other != "/"):
            found.append((i, j + 1))
    if isinstance(other, Star):
        found.append((i, j + 1))
        if isinstance(one, str) and (other is Star.ANY or one != "/"):
            found.append((i + 1, j))
    if isinstance(one, str) and one == other:
        found.append((i + 1, j + 1))
    return found
