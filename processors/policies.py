"""Policies of a tenant as the log has them: publication, and the decision on one call.

The language stands in `processors.policy`; here its documents meet the tables and a session's attributes.
"""

from __future__ import annotations

import functools
from typing import Any

from processors.attributes import subject_of
from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.decide import PolicyIndex, Verdict, decide, index_policies
from processors.policy.documents import PolicyDocument, PolicyError, parse_policy
from processors.refusal import Refusal
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
    return decide(tables.derived(tables.policies, _index), subject, resource, parameters)


def _index(rows: dict[bytes, PolicyRow]) -> PolicyIndex:
    return index_policies({key.decode(): _compiled(row.digest, row.document) for key, row in rows.items()})


@functools.lru_cache(maxsize=limits.POLICIES_MAX)
def _compiled(digest: bytes, text: str) -> CompiledPolicy:
    document = parse_policy(text.encode())
    if document.digest != digest:
        raise ValueError("a policy row does not have the digest of its document")
    return compile_policy(document)
