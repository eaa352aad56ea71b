r"""Authenticated prompts: texts for models that carry a policy, and the line of prompts behind each (docs/wire.md 9).

prompt id = SHA-256("macaw/prompt/v1\n" ‖ session ‖ parent or 32 zero bytes ‖ SHA-256(JCS of the value at its path)
‖ SHA-256(JCS of its policy)); both sides compute it. A derived prompt's call is judged by the policies of the prompt
and of all its ancestors together, so a policy that is wider than its parent's gives nothing. A prompt's row is written
only with the decision that allows its call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

from processors.calls.call import Call
from processors.identity import offers
from processors.identity.logins import lasts_until
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
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.shares import check_room
from processors.state.tables import Tables
from processors.text.characters import quoted, utf8_size
from schemas import limits
from schemas.reasons import Reason
from schemas.records import Prompt
from schemas.rows import PromptRow

PROMPT_TAG = b"macaw/prompt/v1\n"
ROW_TAG = b"macaw/prompt-row/v1\n"
NO_PARENT = bytes(32)
_TOO_MUCH = f"a call brings at most {INLINE_DOCUMENTS_MAX} intents and prompt policies, {INLINE_BYTES_MAX} bytes in all"


class Checked(NamedTuple):
    """The prompts of a call: the documents that it must also pass, and the rows to write if it is allowed."""

    policies: tuple[str, ...] = ()
    rows: tuple[tuple[bytes, PromptRow], ...] = ()
    keys: tuple[bytes, ...] = ()


NOTHING = Checked()


def prompt_id(session_id: bytes, parent: bytes | None, value: JSONValue, policy: JSONValue) -> bytes:
    """Return the id of a prompt. Raises ValueError for a value that JSON cannot express."""
    parts = (sha256(jcs.canonical(one)).digest() for one in (value, policy))
    return sha256(PROMPT_TAG + session_id + (parent or NO_PARENT) + b"".join(parts)).digest()


def row_key(session_id: bytes, prompt: bytes) -> bytes:
    """Return the key of a prompt's row."""
    return sha256(ROW_TAG + session_id + prompt).digest()


def check(
    tables: Tables, asked: Call, declared: tuple[str, ...], parameters: Mapping[str, JSONValue], work: Work
) -> Checked:
    """Check the prompts of a call and return their policies and rows. `declared` are the paths of the operation.

    Raises:
        Refusal: PROMPT_MISSING, PROMPT_UNKNOWN, PROMPT_DEPTH, PROMPT_MISMATCH, POLICY_BROKEN or LIMIT_EXCEEDED.
        WorkExceededError: the check costs more than the call may spend.
    """
    body = asked.body
    if not body.prompts and not declared:
        return NOTHING
    if len(body.prompts) > limits.PROMPTS_PER_CALL_MAX or len({one.path for one in body.prompts}) < len(body.prompts):
        raise Refusal(
            Reason.PROMPT_MISMATCH,
            f"a call carries at most {limits.PROMPTS_PER_CALL_MAX} prompts, each for a path of its own",
        )
    brought = {one.path for one in body.prompts}
    for path in declared:
        if path not in brought and values_at(parameters, path, work):
            raise Refusal(
                Reason.PROMPT_MISSING, f"send an authenticated prompt for {quoted(path)}: the tool requires one"
            )
    _check_policies([*body.intents, *(one.policy for one in body.prompts)], work)
    found = [_checked(tables, asked, one, parameters, work) for one in body.prompts]
    policies = tuple(dict.fromkeys(text for _, row in found for text in row.policies))
    documents = (*body.intents, *policies)
    if len(documents) > INLINE_DOCUMENTS_MAX or sum(map(utf8_size, documents)) > INLINE_BYTES_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"{_TOO_MUCH}, those of parent prompts included")
    return Checked(policies, tuple(found), tuple(key for key, _ in found))


def remember(tables: Tables, checked: Checked, paid_by: str) -> None:
    """Write the rows of the prompts of an allowed call. Raises Refusal LIMIT_EXCEEDED."""
    for key, row in checked.rows:
        if tables.prompts.get(key) is None:
            tables.prompts.put(key, kept := replace(row, payer=paid_by))
            check_room(tables.prompts, kept)


def _checked(
    tables: Tables, asked: Call, prompt: Prompt, parameters: Mapping[str, JSONValue], work: Work
) -> tuple[bytes, PromptRow]:
    """Return the row of one prompt. Raises Refusal."""
    values = values_at(parameters, prompt.path, work)
    if len(values) != 1:
        raise Refusal(Reason.PROMPT_MISMATCH, f"got {len(values)} values at a prompt's path, want exactly one")
    value: JSONValue = values[0]  # type: ignore[assignment]
    spend(work, KEY_NODE_UNITS * nodes_in(value))
    own = prompt_id(asked.session_id, prompt.parent, value, jcs.parse_strict(prompt.policy.encode()))
    root, depth = own, 1
    inherited: tuple[str, ...] = ()
    if prompt.parent is not None:
        parent = _parent(tables, asked, prompt.parent)
        root, depth, inherited = parent.root, parent.depth + 1, parent.policies
    if depth > limits.PROMPT_DEPTH_MAX:
        want = f"a line has at most {limits.PROMPT_DEPTH_MAX} prompts; derive from an earlier prompt"
        raise Refusal(Reason.PROMPT_DEPTH, want)
    row = PromptRow(
        session_id=asked.session_id,
        root=root,
        parent=prompt.parent,
        depth=depth,
        policies=tuple(dict.fromkeys((*inherited, prompt.policy))),
        until=lasts_until(asked.session),
    )
    return row_key(asked.session_id, own), row


def _check_policies(texts: list[str], work: Work) -> None:
    """Check the documents that a call brings, together. Documents beyond the bounds are not read.

    Raises:
        Refusal: LIMIT_EXCEEDED, POLICY_BROKEN.
        WorkExceededError: reading them costs more than the call may spend.
    """
    if len(texts) > INLINE_DOCUMENTS_MAX or sum(map(utf8_size, texts)) > INLINE_BYTES_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, _TOO_MUCH)
    spend(work, INLINE_BYTE_UNITS * sum(map(utf8_size, texts)))
    try:
        documents = inline_documents(texts)
    except PolicyError as exc:
        # The code alone: the place holds members of the policy, and the decision stands in the clear.
        raise Refusal(Reason.POLICY_BROKEN, f"an intent or a prompt's policy is not valid: {exc.code}") from exc
    except PolicyBrokenError as exc:
        raise Refusal(Reason.POLICY_BROKEN, "intents and prompt policies are too large together; send fewer") from exc
    spend(work, PROGRAM_UNITS * sum(document.programs for document in documents))


def _parent(tables: Tables, asked: Call, parent: bytes) -> PromptRow:
    """Return the prompt that another derives from: of the same session, or of the call that the signer executes.

    Raises:
        Refusal: PROMPT_UNKNOWN.
    """
    keys = [row_key(asked.session_id, parent)]
    cause = asked.event.header.causation_id
    for decision in tables.calls.of(cause) if cause is not None else ():
        call = tables.calls.rows[decision]
        is_mine = call.tool == asked.principal_id and call.target in (None, asked.session_id)
        if is_mine and not offers.is_over(tables, call):
            # Of the caller's prompts only those that came with this call; with others the tool could claim any line.
            keys += [key for key in call.prompts if key == row_key(call.session_id, parent)]
    for key in keys:
        row = tables.prompts.get(key)
        if row is not None and tables.now < row.until and lives(tables, row.session_id):
            return row
    raise Refusal(Reason.PROMPT_UNKNOWN, "`parent` is not a prompt of this session or of the call that it executes")


def values_at(parameters: Mapping[str, JSONValue], path: str, work: Work) -> list[object]:
    """Return the values at a prompt's path. Raises Refusal PROMPT_MISMATCH, WorkExceededError."""
    try:
        found = reached(parameters, parse_path(path, ""), work)
    except PolicyError as exc:
        raise Refusal(Reason.PROMPT_MISMATCH, "a prompt's `path` is not a path to a parameter") from exc
    return [value for value in found if value is not MISMATCH]
