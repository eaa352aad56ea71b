r"""Authenticated prompts: texts for models that carry a policy, and the line of prompts behind each (docs/wire.md 9).

prompt id = SHA-256("macaw/prompt/v1\n" ‖ session ‖ parent or 32 zero bytes ‖ SHA-256(JCS of the value at its path)
‖ SHA-256(JCS of its policy)); both sides compute it. A derived prompt's call is judged by the policies of the prompt
and of all its ancestors together, so a policy that is wider than its parent's gives nothing. What stands here is
written only with the decision that allowed the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

from processors.calls.call import Call
from processors.identity.sessions import lives
from processors.policy.decide import inline_documents
from processors.policy.errors import PolicyBrokenError, PolicyError
from processors.policy.evaluation import Work, spend
from processors.policy.limits import (
    INLINE_BYTE_UNITS,
    INLINE_BYTES_MAX,
    INLINE_DOCUMENTS_MAX,
    KEY_NODE_UNITS,
    PROGRAM_UNITS,
)
from processors.policy.parameter_checks import nodes_in
from processors.policy.paths import MISMATCH, parse_path, reached
from processors.policy.text import utf8_size
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.shares import check_room
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import Prompt
from schemas.rows import PromptRow, ResourceRow

PROMPT_TAG = b"macaw/prompt/v1\n"
ROW_TAG = b"macaw/prompt-row/v1\n"
NO_PARENT = bytes(32)


class Checked(NamedTuple):
    """The prompts of a call: the documents that it must also pass, and what is remembered if it is allowed."""

    policies: tuple[str, ...] = ()
    rows: tuple[tuple[bytes, PromptRow], ...] = ()
    keys: tuple[bytes, ...] = ()


NOTHING = Checked()


def prompt_id(session_id: bytes, parent: bytes | None, value: JSONValue, policy: JSONValue) -> bytes:
    """Return the id of a prompt. Raises ValueError for what JSON cannot write."""
    parts = (sha256(jcs.canonical(one)).digest() for one in (value, policy))
    return sha256(PROMPT_TAG + session_id + (parent or NO_PARENT) + b"".join(parts)).digest()


def row_key(session_id: bytes, prompt: bytes) -> bytes:
    """Return the key of a prompt's row."""
    return sha256(ROW_TAG + session_id + prompt).digest()


def check(
    tables: Tables, asked: Call, resource: ResourceRow | None, parameters: Mapping[str, JSONValue], work: Work
) -> Checked:
    """Return what the prompts of a call come to.

    Raises:
        Refusal: PROMPT_MISSING, PROMPT_UNKNOWN, PROMPT_DEPTH, PROMPT_MISMATCH, POLICY_BROKEN or LIMIT_EXCEEDED.
        WorkExceededError: looking for them costs more than the call may spend.
    """
    body = asked.body
    declared = resource.prompts if resource is not None else ()
    if not body.prompts and not declared:
        return NOTHING
    if len(body.prompts) > limits.PROMPTS_PER_CALL_MAX or len({one.path for one in body.prompts}) < len(body.prompts):
        raise Refusal(
            Reason.PROMPT_MISMATCH, f"want at most {limits.PROMPTS_PER_CALL_MAX} prompts, each for a path of its own"
        )
    brought = {one.path for one in body.prompts}
    for path in declared:
        if path not in brought and _values(parameters, path, work):
            raise Refusal(Reason.PROMPT_MISSING, f"the tool takes {path!r} as an authenticated prompt")
    _check_policies([*body.intents, *(one.policy for one in body.prompts)], work)
    found = [_checked(tables, asked, one, parameters, work) for one in body.prompts]
    policies = tuple(dict.fromkeys(text for _, row in found for text in row.policies))
    documents = (*body.intents, *policies)
    if len(documents) > INLINE_DOCUMENTS_MAX or sum(map(utf8_size, documents)) > INLINE_BYTES_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"want at most {INLINE_BYTES_MAX} bytes of intents and prompt policies")
    return Checked(policies, tuple(found), tuple(key for key, _ in found))


def remember(tables: Tables, checked: Checked, paid_by: str) -> None:
    """Write down the prompts of an allowed call. Raises Refusal LIMIT_EXCEEDED."""
    for key, row in checked.rows:
        if tables.prompts.get(key) is None:
            tables.prompts.put(key, kept := replace(row, payer=paid_by))
            check_room(tables.prompts, kept)


def _checked(
    tables: Tables, asked: Call, prompt: Prompt, parameters: Mapping[str, JSONValue], work: Work
) -> tuple[bytes, PromptRow]:
    """Return the row of one prompt. Raises Refusal."""
    values = _values(parameters, prompt.path, work)
    if len(values) != 1:
        raise Refusal(Reason.PROMPT_MISMATCH, "a prompt names one value of the parameters")
    value: JSONValue = values[0]  # type: ignore[assignment]
    spend(work, KEY_NODE_UNITS * nodes_in(value))
    own = prompt_id(asked.session_id, prompt.parent, value, jcs.parse_strict(prompt.policy.encode()))
    root, depth = own, 1
    inherited: tuple[str, ...] = ()
    if prompt.parent is not None:
        parent = _parent(tables, asked, prompt.parent)
        root, depth, inherited = parent.root, parent.depth + 1, parent.policies
    if depth > limits.PROMPT_DEPTH_MAX:
        raise Refusal(Reason.PROMPT_DEPTH, f"at most {limits.PROMPT_DEPTH_MAX} prompts in a line")
    row = PromptRow(
        session_id=asked.session_id,
        root=root,
        parent=prompt.parent,
        depth=depth,
        policies=tuple(dict.fromkeys((*inherited, prompt.policy))),
        until=asked.session.expires_at,
    )
    return row_key(asked.session_id, own), row


def _check_policies(texts: list[str], work: Work) -> None:
    """Check the documents that a call brings, together: they are read no further than their bounds.

    Raises:
        Refusal: LIMIT_EXCEEDED, POLICY_BROKEN.
        WorkExceededError: reading them costs more than the call may spend.
    """
    if len(texts) > INLINE_DOCUMENTS_MAX or sum(map(utf8_size, texts)) > INLINE_BYTES_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"want at most {INLINE_BYTES_MAX} bytes of intents and prompt policies")
    spend(work, INLINE_BYTE_UNITS * sum(map(utf8_size, texts)))
    try:
        documents = inline_documents(texts)
    except PolicyError as exc:
        # Its code alone: the place holds members of the policy, and the decision stands in the clear.
        raise Refusal(Reason.POLICY_BROKEN, f"an intent, or a prompt's policy: {exc.code}") from exc
    except PolicyBrokenError as exc:
        raise Refusal(Reason.POLICY_BROKEN, "intents and prompt policies exceed their bounds together") from exc
    spend(work, PROGRAM_UNITS * sum(document.programs for document in documents))


def _parent(tables: Tables, asked: Call, parent: bytes) -> PromptRow:
    """Return the prompt that another derives from: the session's own, or one of the call which the signer executes.

    Raises:
        Refusal: PROMPT_UNKNOWN.
    """
    keys = [row_key(asked.session_id, parent)]
    cause = asked.event.header.causation_id
    for decision in tables.calls.of(cause) if cause is not None else ():
        call = tables.calls.rows[decision]
        if call.tool == asked.principal_id and tables.now < call.unknown_at:
            # Of its caller's prompts only those that the tool was given: by the others it could name any line.
            keys += [key for key in call.prompts if key == row_key(call.session_id, parent)]
    for key in keys:
        row = tables.prompts.get(key)
        if row is not None and tables.now < row.until and lives(tables, row.session_id):
            return row
    raise Refusal(Reason.PROMPT_UNKNOWN, "the parent is no prompt of this session, nor of the call that is executed")


def _values(parameters: Mapping[str, JSONValue], path: str, work: Work) -> list[object]:
    try:
        found = reached(parameters, parse_path(path, ""), work)
    except PolicyError as exc:
        raise Refusal(Reason.PROMPT_MISMATCH, "want a path to a parameter") from exc
    return [value for value in found if value is not MISMATCH]
