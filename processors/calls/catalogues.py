"""A tenant's catalogues: an administrator's rules for the verifiers of texts (docs/verifiers.md).

A catalogue is replaced and withdrawn as a policy is: the event names the digest that it replaces. Its administrator
pays for compiling it, even where it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import re2

from processors.calls import work as buckets
from processors.calls.verifiers.catalogue_rules import (
    NO_CATALOGUES,
    CatalogueRuleError,
    Catalogues,
    compile_units,
    compiled,
    digest_of,
    ready,
)
from processors.calls.verifiers.content import EVERY
from processors.effects import Effects
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import quoted, utf8_size
from schemas import limits
from schemas.events.catalogues import CataloguePublished, CatalogueRule, CatalogueWithdrawn
from schemas.reasons import Reason
from schemas.rows import CatalogueRow

READERS = tuple(one.name for one in EVERY)  # the verifiers that match catalogues
ID_CHARS_MAX = 128
CONFLICT = "E_CONFLICT"

_NAME = re2.compile(r"[a-z][a-z0-9-]{0,39}(?:/[1-9][0-9]?)?")
_ID = re2.compile(r"[!-~]{1,128}")
_KIND = re2.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def is_name(text: str) -> bool:
    """Return whether a text is the name of a catalogue, or of a part of one: `own`, `own/2`."""
    return text.isascii() and _NAME.fullmatch(text) is not None


def is_kind(text: str) -> bool:
    """Return whether a text can be the kind of a rule."""
    return text.isascii() and _KIND.fullmatch(text) is not None


def publish(tables: Tables, effects: Effects, principal_id: str, body: CataloguePublished) -> None:
    """Put a catalogue into force, from the next record on.

    Raises:
        Refusal: CATALOGUE_FORM; E_CONFLICT if `previous` is not the digest in force under the name; LIMIT_EXCEEDED for
            too many rules, bytes or catalogues, or while the administrator's bucket of work is empty.
    """
    check_form(body)
    key = body.name.encode()
    row = tables.catalogues.get(key)
    if (None if row is None else row.digest) != body.previous:
        raise Refusal(CONFLICT, f"{body.name}: `previous` is not the digest of the catalogue in force")
    if row is None and len(tables.catalogues) >= limits.CATALOGUES_MAX:
        want = f"a tenant has at most {limits.CATALOGUES_MAX} catalogues; withdraw one first"
        raise Refusal(Reason.LIMIT_EXCEEDED, want)
    buckets.check_not_empty(tables, principal_id)
    try:
        programs = compiled(body.rules).programs
    except CatalogueRuleError as exc:
        buckets.note(effects, principal_id, compile_units(exc.programs))
        raise Refusal(Reason.CATALOGUE_FORM, f"rule {quoted(exc.rule_id)}: {exc.why}") from exc
    buckets.note(effects, principal_id, compile_units(programs))
    digest = digest_of(body.name, body.verifier, body.rules)
    tables.catalogues.put(key, CatalogueRow(verifier=body.verifier, rules=body.rules, digest=digest, since=tables.now))


def withdraw(tables: Tables, body: CatalogueWithdrawn) -> None:
    """Take a catalogue out of force. Raises Refusal E_CONFLICT if `previous` is not the digest in force."""
    key = body.name[: limits.CATALOGUE_BYTES_MAX].encode()
    row = tables.catalogues.get(key)
    if row is None or row.digest != body.previous:
        raise Refusal(CONFLICT, f"{quoted(body.name)}: `previous` is not the digest of the catalogue in force")
    tables.catalogues.delete(key)


def in_force(tables: Tables) -> Catalogues:
    """Return the catalogues by verifier. After a change the changed one alone is compiled."""
    return tables.derived(tables.catalogues, ready) if tables.catalogues.rows else NO_CATALOGUES


def check_form(body: CataloguePublished) -> None:
    """Raise Refusal CATALOGUE_FORM or LIMIT_EXCEEDED for a fault that no pattern need be compiled for."""
    if not is_name(body.name):
        want = "want a-z, 0-9 and -, at most 40, beginning with a letter, and /1 to /99 for a part"
        raise Refusal(Reason.CATALOGUE_FORM, f"{quoted(body.name)} is not the name of a catalogue: {want}")
    if body.verifier not in READERS:
        raise Refusal(Reason.CATALOGUE_FORM, f"{quoted(body.verifier)} is none of {', '.join(READERS)}")
    if not 0 < len(body.reason) <= limits.REASON_CHARS_MAX:
        raise Refusal(Reason.CATALOGUE_FORM, f"give a reason of at most {limits.REASON_CHARS_MAX} characters")
    if not body.rules:
        raise Refusal(Reason.CATALOGUE_FORM, "the catalogue has no rule: withdraw it instead")
    if len(body.rules) > limits.CATALOGUE_RULES_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a catalogue has at most {limits.CATALOGUE_RULES_MAX} rules")
    if weight_of(body.rules) > limits.CATALOGUE_BYTES_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a catalogue has at most {limits.CATALOGUE_BYTES_MAX} bytes of rules")
    seen: set[str] = set()
    for rule in body.rules:
        if fault := fault_of(rule) or ("its id stands twice" if rule.id in seen else ""):
            raise Refusal(Reason.CATALOGUE_FORM, f"rule {quoted(rule.id)}: {fault}")
        seen.add(rule.id)


def fault_of(rule: CatalogueRule) -> str:
    """Return the fault in the form of a rule, before its pattern is compiled; "" for none."""
    if not rule.id.isascii() or _ID.fullmatch(rule.id) is None:
        return f"its id must be 1 to {ID_CHARS_MAX} printable ASCII characters without blanks"
    if not is_kind(rule.kind):
        return f"its kind {quoted(rule.kind)} must be 1 to 64 of a-z, 0-9, `.`, `_` and `-`"
    if not 0 < len(rule.pattern) <= limits.CATALOGUE_PATTERN_CHARS_MAX:
        return f"its pattern must have 1 to {limits.CATALOGUE_PATTERN_CHARS_MAX} characters"
    return ""


def weight_of(rules: Sequence[CatalogueRule]) -> int:
    """Return the bytes of rules that a catalogue's bound counts."""
    return sum(utf8_size(one.id) + utf8_size(one.kind) + utf8_size(one.pattern) for one in rules)


def told(tables: Tables) -> JSONValue:
    """Return the catalogues in force for an administrator's question, in the order of names."""
    rows = sorted(tables.catalogues.rows.items())
    return {
        "catalogues": [
            {
                "name": key.decode(),
                "verifier": row.verifier,
                "rules": len(row.rules),
                "digest": row.digest.hex(),
                "since": row.since,
            }
            for key, row in rows
        ]
    }
