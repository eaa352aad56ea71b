"""Policies of a tenant as the log has them: publication, and the decision on one call.

The language stands in `processors.policy`; here its documents meet the tables and a session's attributes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.decide import Verdict, decide
from processors.policy.documents import PolicyDocument, PolicyError, parse_policy
from processors.policy.resolve import Subject
from processors.refusal import Refusal
from processors.registry import parse_attributes
from processors.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import PolicyPublished
from schemas.rows import PolicyRow, SessionRow


def publish(tables: Tables, body: PolicyPublished) -> None:
    """Put every document into force, or none.

    Raises:
        Refusal: with the policy language's own `E_…` code and a JSON pointer, `E_CONFLICT` where `previous` is not the
            digest in force, or LIMIT_EXCEEDED.
    """
    if not 0 < len(body.documents) <= limits.DOCUMENTS_PER_EVENT_MAX or len(body.previous) != len(body.documents):
        raise Refusal(Reason.LIMIT_EXCEEDED, "want 1 to 64 documents, and as many previous digests")
    seen = set()
    for at, (text, previous) in enumerate(zip(body.documents, body.previous, strict=True)):
        document = _parse(at, text)
        row = tables.policies.get(document.policy_id.encode())
        if (row.digest if row else None) != previous or document.policy_id in seen:
            raise Refusal("E_CONFLICT", f"document {at}: another version is in force")
        seen.add(document.policy_id)
        tables.policies.put(document.policy_id.encode(), PolicyRow(document=text, digest=document.digest))
    if len(tables.policies) > tables.limits.policies:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a tenant has at most {tables.limits.policies} policies")


def _parse(at: int, text: str) -> PolicyDocument:
    try:
        return parse_policy(text.encode())
    except (PolicyError, UnicodeEncodeError) as exc:
        code = exc.code if isinstance(exc, PolicyError) else "E_TEXT"
        raise Refusal(code, f"document {at}: {exc}") from exc


def decide_call(tables: Tables, session: SessionRow, resource: str, parameters: dict[str, Any]) -> Verdict:
    """Judge one call of a session by the policies in force."""
    subject = subject_of(session.attributes, session.role, session.principal_id)
    return decide(_InForce(tables.policies.rows), subject, resource, parameters)


class _InForce(Mapping[str, CompiledPolicy]):
    """The policies in force by id, each compiled once for its digest."""

    __slots__ = ("_rows",)

    def __init__(self, rows: dict[bytes, PolicyRow]) -> None:
        self._rows = rows

    def get(self, key: str, default: Any = None) -> Any:
        row = self._rows.get(key.encode())
        return default if row is None else _compiled(row.digest, row.document)

    def __getitem__(self, key: str) -> CompiledPolicy:
        row = self._rows[key.encode()]
        return _compiled(row.digest, row.document)

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in self._rows)

    def __len__(self) -> int:
        return len(self._rows)


@functools.lru_cache(maxsize=limits.POLICIES_MAX)
def _compiled(digest: bytes, text: str) -> CompiledPolicy:
    document = parse_policy(text.encode())
    assert document.digest == digest
    return compile_policy(document)


@functools.lru_cache(maxsize=limits.SESSIONS_MAX)
def subject_of(attributes: str, role: str, principal_id: str) -> Subject:
    """Return the subject that policies judge: attributes of the registration, and the name of the program."""
    values = parse_attributes(attributes)

    def text(name: str) -> str | None:
        value = values.get(name)
        return value if isinstance(value, str) else None

    def texts(name: str) -> tuple[str, ...]:
        value = values.get(name, ())
        return (value,) if isinstance(value, str) else value

    return Subject(
        company=text("company"),
        business_unit=text("business_unit"),
        team=text("team"),
        user=text("user"),
        email=text("email"),
        roles=texts("roles"),
        groups=texts("groups"),
        clearance=text("clearance") or "standard",
        agent=principal_id if role == "agent" else None,
        service=principal_id if role == "service" else None,
        type=role,
    )
