"""Fold logs, judge folders and ask the rules about texts, and print all of it: `python -m tests.interpreters.answers`.

Runs in the test's own Python and in others, with no library but those of the fold. The request is a JSON file:
`logs`, each with `tenant`, `deployment`, `genesis` and `records`; `folders`, each with `path` and `genesis`.
"""

from __future__ import annotations

import json
import platform
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import re2

from processors.feed import KINDS, Source, feed_of
from processors.intake.identify import Received
from processors.policy import times
from processors.policy.errors import ResourceInvalidError
from processors.policy.names import known_as
from processors.policy.patterns import is_one_path, resource_name
from processors.policy.resolve import slug
from processors.proof import jcs
from processors.proof.signing import VerifiedHeads
from processors.state import engine
from processors.state.engines import installed
from processors.state.tables import Tables
from processors.step import step
from processors.text import characters, forms
from schemas import codec
from streams.history.evidence_folder import verify_folder
from tests.engines import EVERY as EVERY_ENGINE

Json = Any
# Of the planes without characters, and of those for private use, one in 97: a set of questions takes 5 s then, not 15.
EVERY = [chr(code) for code in range(sys.maxunicode + 1) if code >> 16 in {0, 1, 2, 3, 14} or code % 97 == 0]
TEXTS = 20_000
# Characters that do something: case, composition, marks, width, blanks, nothing to be seen; and some of each Unicode
# from 15.0 on, with cases, marks, compositions and invisible ones among them.
BUSY = (
    "aA%/\\:.*'\" \t\n\x85\xa0\u0130\u0131ß\u017f\u212a\u0301\u0323\u0345\u034f\u0dd9\u0dca\u0ddd\u1100\u1161\u11a8"
    "\u1680\u200b\u2028\u2044\u2215½\u2800\u3164\ufb01\ufdfa\uff0e\uff0f\uff21\U0001d15e\U0001f600\ud800\u0378\ufffe"
)
NEW = (
    "\u0cf3\U00010efd\U00011f02\U00013439\U0001343f\U0001e030\U0001e08f\U0001e4ec\U0001f6dc\U0001fae8\U00031350"  # 15.0
    "\u2ffc\u31ef\U0002ebf0\U0002ee5d"  # 15.1
    "\u0897\u1c89\u1c8a\ua7cb\ua7da\U000105c9\U000105d2\U00010d50\U00010d6a\U000113c5\U00016121\U0001ccd6"  # 16
    "\ua7ce\u1acf\U00016ea0\U00016ebb\U0001e6e3"  # 17
)


def answers(request: Json) -> Json:
    """Return everything that must be the same on every Python, by what it is about."""
    return {
        "data": [[name, digest.hex()] for number in installed() for name, digest in engine.data(number)],
        "logs": [folded(log) for log in request["logs"]],
        "folders": [judged(Path(one["path"]), bytes.fromhex(one["genesis"])) for one in request["folders"]],
        "texts": dict(asked_about_texts()),
        "numbers": digest_of(map(read_and_written, numbers())),
        "zones": digest_of(local_times()),
        "expressions": digest_of(matched()),
    }


def folded(log: Json) -> Json:
    """Return what each record of a log causes, byte for byte, and how the tables and the audit log stand at its end."""
    genesis = bytes.fromhex(log["genesis"])
    tables = Tables(tenant=log["tenant"], deployment=log["deployment"], genesis=genesis, engines=EVERY_ENGINE)
    heads, caused = VerifiedHeads(), []
    for partition, offset, appended_at, value, headers in log["records"]:
        given = [(name, None if one is None else bytes.fromhex(one)) for name, one in headers]
        received = Received(partition, offset, appended_at, None if value is None else bytes.fromhex(value), given)
        mark = tables.savepoint()
        outputs = step(tables, received, heads)
        feed = feed_of(tables.writes(KINDS, since=mark), Source(tables.origin, tables.tenant_id))
        caused.append([repr(output) for output in (*outputs, *feed)])
    rows = {
        name: digest_of(f"{key.hex()} {codec.frame(table.rows[key]).hex()}" for key in sorted(table.rows))
        for name, table in tables.by_name.items()
    }
    return {"records": caused, "head": tables.prev.hex(), "rows": rows}


def judged(path: Path, genesis: bytes) -> Json:
    verdict = verify_folder(path, genesis=genesis)
    return [str(verdict.code), verdict.index, verdict.detail, verdict.size, verdict.root.hex(), verdict.events_absent]


def digest_of(told: Iterable[object]) -> str:
    digest = sha256()
    for one in told:
        digest.update(ascii(one).encode() + b"\n")
    return digest.hexdigest()


def drawn() -> Iterator[str]:
    """Yield texts that look random and are the same on every Python."""
    for number in range(TEXTS):
        digits = sha256(f"text {number}".encode()).digest()
        pools = [BUSY, NEW, BUSY + NEW, EVERY]
        pool = pools[digits[0] % len(pools)]
        yield "".join(
            pool[int.from_bytes(digits[at : at + 3], "big") % len(pool)] for at in range(1, 2 + digits[31] % 28, 3)
        )


def asked_about_texts() -> Iterator[tuple[str, str]]:
    """Yield the name of a question and the digest of its answers about code points and many texts."""
    texts = list(drawn())
    readable = [text for text in texts if not any("\ud800" <= c <= "\udfff" for c in text)]
    tests: list[Callable[[str], bool]] = [
        characters.is_assigned, characters.is_printable, characters.is_plain_text, characters.has_control,
        characters.has_hidden, characters.has_outer_blanks, forms.is_stream_safe,
    ]  # fmt: skip
    for test in tests:
        yield test.__name__, digest_of((bytes(map(test, EVERY)), bytes(map(test, texts))))
    changes: list[Callable[[str], str]] = [
        characters.without_invisible, characters.single_spaced, characters.quoted, forms.nfc, forms.nfkc,
        forms.casefold, forms.fold,
    ]  # fmt: skip
    for change in changes:
        yield change.__name__, digest_of((changed(change, EVERY), [*map(change, texts)]))
    yield "a mark behind every character", digest_of(changed(forms.nfc, [f"{c}\u0301" for c in EVERY]))
    for use in (slug, known_as, is_one_path, spellings, read_and_written):
        yield use.__name__, digest_of(map(use, readable))


def changed(change: Callable[[str], str], texts: list[str]) -> list[tuple[int, str]]:
    return [(at, new) for at, (old, new) in enumerate(zip(texts, map(change, texts), strict=True)) if old != new]


def spellings(text: str) -> object:
    try:
        return resource_name(f"tool:desk/{text}").spellings
    except ResourceInvalidError as exc:
        return str(exc)


def numbers() -> Iterator[str]:
    """Yield numbers as JSON may write them."""
    for number in range(TEXTS):
        digits = sha256(f"number {number}".encode()).digest()
        whole, fraction = (int.from_bytes(digits[at : at + 1 + digits[31] % 9], "big") for at in (0, 10))
        exponent = int.from_bytes(digits[20:22], "big", signed=True) % 700 - 350
        yield f"{'-' * (digits[30] % 2)}{whole}.{fraction}e{exponent}"


def read_and_written(text: str) -> object:
    try:
        return jcs.canonical(jcs.parse_strict(f'{{"{text}": "{text}", "a": [{text}]}}'.encode()))
    except jcs.MalformedJSONError as exc:
        return exc.cause


def local_times() -> Iterator[object]:
    """Yield what conditions can ask of some moments in every zone."""
    moments = range(-1_000_000_000, 4_000_000_000, 50_000_003)
    for name, _ in times.zone_files():
        zone = times.zone_named(name, "")
        yield name, [field(datetime.fromtimestamp(at, zone)) for at in moments for field in times.FIELDS.values()]
    yield [times.iso_time(at * 1000) for at in moments], [datetime.fromtimestamp(at, UTC).year for at in moments]


def matched() -> Iterator[object]:
    """Yield what expressions of RE2 find, which has Unicode's tables of its own."""
    text = "".join(c for c in EVERY if not "\ud800" <= c <= "\udfff")
    for expression in (r"\p{L}+", r"\p{Lu}+", r"\p{M}+", r"\p{Nd}+", r"\p{So}+", r"(?i)[a-z\x{100}-\x{2000}]+", r"\w+"):
        yield expression, [found.span() for found in re2.finditer(expression, text)]


def native() -> Json:
    """Return what the interpreter itself says of texts: another thing on each Python, or the test would say nothing."""
    return {
        "printable": digest_of([bytes(map(str.isprintable, EVERY))]),
        "normal forms": digest_of([changed(lambda text: unicodedata.normalize("NFKC", text), EVERY)]),
        "quoted": digest_of([changed(repr, EVERY)]),
    }


if __name__ == "__main__":
    found = answers(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    told = {"python": platform.python_version(), "native": native(), "answers": found}
    print(json.dumps(told))
