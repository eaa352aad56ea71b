"""The rules of ATR (Agent Threat Rules, MIT) as the package pyatr brings them: read as data, compiled on RE2.

Only the rules' file is read; the package's own engine, which backtracks, is never imported. The file's digest is
pinned, because a changed rule changes verdicts: a new file is a new engine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import re2

from processors.content.identity import DetectorDataError
from processors.content.rules import TextRule

PACKAGE = "pyatr"
VERSION = "0.3.1"
SHA256 = "5a60aac316bfc0cda6f0fd39c687a78365a55b1b96447c4fdf3fff37d5524879"
_FILE = "pyatr/_bundled_rules.json"

# Rules for texts that somebody sends to an agent. The other fields are a tool's name, its arguments and traces.
_FIELDS = frozenset({"content", "user_input"})
_SILENT = frozenset({"draft", "deprecated"})

# Rules that were reviewed and left out of the tier that denies, by reason; `<number>/<condition from 0>` is one
# condition of a rule. Most of them were seen to speak of manuals, of program text, or of catalogues of messages.
_REASONS: dict[str, str] = {
    "judges program text, statements or commands, which detectors of their own judge": (
        "00076 00089 00110 00111 00112 00113 00217 00225 00259 00398 00407 00436 00440 00443 00446 00497 00521 00522 "
        "00554 00567 01018 01600 01603 01611 01890/2 02101"
    ),
    "takes characters that scripts, emoji and escapes need for a disguise; readings of the text take disguises off": (
        "00080 00086 00120/4 00129 00202 00284 00394 00403 00404 00454 02004 02010 02015 02018"
    ),
    "takes ordinary words for an attack": (
        "00001/17 00002/8 00004/1 00004/9 00004/17 00032/3 00050 00051 00060 00061 00072/1 00074 00088/3 00091 00097 "
        "00115 00117 00118/4 00131 00133 00142 00148 00163 00242 00453 00481/3 00566 01013/4 01013/8 01772 01901/6 "
        "01925 02003 02009"
    ),
    "tells a token or key that stands in a text, which is a secret, and no order to a model": (
        "00141 00145 00150/0 00150/2 00152 00411/3"
    ),
    "judges a talk over several turns, but sees one text": "00005 00081",
    "costs 20 ms for 4 KiB of words, more than all other rules together": "01771",
}
LEFT_OUT: dict[str, str] = {
    f"ATR-2026-{number}": reason for reason, numbers in _REASONS.items() for number in numbers.split()
}

_CODE_POINT = re2.compile(r"\\u([0-9A-Fa-f]{4})")


class AtrError(DetectorDataError):
    """The rules of the pinned package are not there, or are not those that the engine names."""


class AtrRules(NamedTuple):
    """The rules in the order of the file, with the digest of the file as read."""

    rules: tuple[TextRule, ...]
    sha256: str


def data() -> bytes:
    """Return the bytes of the rules' file.

    Raises:
        AtrError: the package is missing, or is another version, or its file differs from the pinned one.
    """
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise AtrError(f"{PACKAGE} is not installed; install {PACKAGE}=={VERSION}") from None
    if package.version != VERSION:
        raise AtrError(f"{PACKAGE} is version {package.version}; install {PACKAGE}=={VERSION}")
    found = Path(str(package.locate_file(_FILE))).read_bytes()
    if (digest := hashlib.sha256(found).hexdigest()) != SHA256:
        raise AtrError(f"{_FILE} of {PACKAGE} {VERSION} has SHA-256 {digest}, want {SHA256}; install it anew")
    return found


@cache
def load() -> AtrRules:
    """Return the rules, not yet compiled: each condition of a rule is a pattern under the rule's id.

    Rules that are drafts, deprecated, or conjunctions of conditions are not among them, nor those of LEFT_OUT.

    Raises:
        AtrError: as `data`.
    """
    found = data()
    rules = [rule for document in json.loads(found) if _is_used(document) for rule in _rules(document)]
    return AtrRules(tuple(dict.fromkeys(rules)), hashlib.sha256(found).hexdigest())


def _is_used(document: dict[str, Any]) -> bool:
    return (
        document["status"] not in _SILENT
        and document["detection"]["condition"] == "any"
        and document["id"] not in LEFT_OUT
    )


def _rules(document: dict[str, Any]) -> list[TextRule]:
    kind = "injection." + document["tags"]["category"].replace("-", "_")
    return [
        TextRule(document["id"], kind, _pattern(condition["value"]))
        for number, condition in enumerate(document["detection"]["conditions"])
        if condition["field"] in _FIELDS and f"{document['id']}/{number}" not in LEFT_OUT
    ]


def _pattern(value: str) -> str:
    """Return a pattern in RE2's syntax: without regard to case, as ATR matches, and with RE2's code points."""
    translated: str = _CODE_POINT.sub(r"\\x{\1}", value)
    return f"(?i){translated}"
