"""A rule file in any of the forms: which one it is, and its rules."""

from __future__ import annotations

import re2

from macaw.verifiers.importing import atr, crs, gitleaks
from macaw.verifiers.importing.imported import FILE_BYTES_MAX, ImportedRules, RuleFileError

_DIRECTIVE = re2.compile(r"(?m)^[ \t]*Sec[A-Z]")
_TABLE = re2.compile(r"(?m)^[ \t]*\[\[[ \t]*rules[ \t]*\]\]")


def form_of(text: str) -> str:
    """Return the form of a rule file. Raises RuleFileError for a text that is in none of them."""
    if text.lstrip().startswith(("[{", "{")) or _opens_list(text):
        return atr.FORM
    if _TABLE.search(text):
        return gitleaks.FORM
    if _DIRECTIVE.search(text):
        return crs.FORM
    raise RuleFileError(
        "the file is not a list of rules in JSON (ATR), TOML with `[[rules]]` (gitleaks), or SecRule (CRS)"
    )


def read_rule_file(data: bytes, *, paranoia: int = 1) -> ImportedRules:
    """Return the rules of a file. `paranoia` is the highest level of rules in CRS's form.

    Raises:
        RuleFileError: the file is in no known form, is broken, or is beyond FILE_BYTES_MAX or FILE_RULES_MAX.
    """
    if len(data) > FILE_BYTES_MAX:
        raise RuleFileError(f"the file has {len(data)} bytes, want at most {FILE_BYTES_MAX}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise RuleFileError("the line is not UTF-8", data.count(b"\n", 0, exc.start) + 1) from exc
    form = form_of(text)
    if form == atr.FORM:
        return atr.read_atr(text)
    return gitleaks.read_gitleaks(text) if form == gitleaks.FORM else crs.read_crs(text, paranoia)


def _opens_list(text: str) -> bool:
    """Return whether a text begins as a list in JSON: `[`, and then an object or the end."""
    begin = text.lstrip()
    return begin.startswith("[") and begin[1:].lstrip()[:1] in {"{", "]", ""}
