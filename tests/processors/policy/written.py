"""Policies and times as tests write them: documents as values, times in ms."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.documents import parse_policy


def policies_of(documents: Sequence[dict[str, Any]]) -> dict[str, CompiledPolicy]:
    """Return documents as policies in force by id, those of the organisation among them."""
    parsed = [parse_policy(json.dumps(document).encode(), organisation=True) for document in documents]
    return {document.policy_id: compile_policy(document) for document in parsed}


def digest_of(document: dict[str, Any]) -> bytes:
    """Return the digest of a document."""
    return parse_policy(json.dumps(document).encode(), organisation=True).digest


def iso(now: int) -> str:
    """Return a time in ms as case files write it."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=now)).isoformat().replace("+00:00", "Z")
