"""RE2 and the units of work that one decision may spend (docs/mapl.md 1)."""

import re2

from tests.reference.mapl.refusals import RefusedError

UNITS_MAX = 10**7
DENIED_ITEM_UNITS = 16
REGEX_CODE_POINTS_MAX = 512
REGEX_BYTES_MAX = 1024 * 1024


class WorkExceededError(Exception):
    """LIMIT_EXCEEDED: the decision would spend more than UNITS_MAX."""


class Work:
    """Counts units in the order in which the checks are made; the first check that does not fit ends the decision."""

    def __init__(self) -> None:
        self.spent = 0

    def spend(self, units: int) -> None:
        self.spent += units
        if self.spent > UNITS_MAX:
            raise WorkExceededError


def options() -> re2.Options:
    chosen = re2.Options()
    chosen.max_mem = REGEX_BYTES_MAX
    chosen.log_errors = False
    return chosen


def check_regex(regex: str, pointer: str, *, code_points_max: int = REGEX_CODE_POINTS_MAX) -> None:
    if len(regex) > code_points_max:
        raise RefusedError("E_LIMIT", pointer)
    try:
        re2.compile(regex, options())
    except re2.error:
        raise RefusedError("E_REGEX", pointer) from None


def regex_matches(regex: str, text: str, work: Work) -> bool:
    """Sections 3 and 7: RE2, the entire text. Costs program size times UTF-8 bytes."""
    compiled = re2.compile(regex, options())
    work.spend(compiled.programsize * len(text.encode("utf-8", "surrogatepass")))
    return compiled.fullmatch(text) is not None
