"""A question as a message of Slack, and its later states. Pure: values in, Block Kit out.

Every text from the log stands in a code span (`showing`). All other texts are fixed words, so a mention or a link
can only come from here. `verbatim` keeps Slack from looking for links, and the text of the notification is fixed too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streams.approvals.proofs import Bound, Buttons
from streams.approvals.questions import CallQuestion, ListedCall, choices
from streams.approvals.showing import code, code_block, utc

APPROVE = "macaw-approve"
DENY = "macaw-deny"
SCOPE = "macaw-scope"
ANSWER_BLOCK = "macaw-answer"
LASTS = "An approval also serves LATER calls of this requester, with OTHER parameters."
SECTION_CHARS_MAX = 3000  # Slack's own bound of a section's text
MESSAGE_BYTES_MAX = 64 * 1024

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """The states of a question's calls, in their order: how each has ended, None for one that waits, and notes on it.

    The texts are parts of a message, with names from the log in code spans.
    """

    ends: tuple[str | None, ...]
    notes: tuple[str, ...]

    @property
    def is_over(self) -> bool:
        """Whether none of the calls waits any more."""
        return None not in self.ends


def message(
    question: CallQuestion,
    state: State,
    *,
    buttons: tuple[Buttons, bytes] | None,
    approver: str,
    shows_parameters: bool,
) -> dict[str, Any]:
    """Return the members `text` and `blocks` of a message.

    `buttons` seals the buttons and has the digest of the terms; None makes a message without buttons, for
    people with keys of their own.
    """
    group, count = question.group, len(question.calls)
    head = f"{_calls(count)} {'waits' if count == 1 else 'wait'} for an approval"
    if state.is_over:
        head = f"{_calls(count)}: nothing to answer any more"
    blocks = [
        _section(
            f"*{head}*\nasked by {code(group.for_agent)} for {code(group.for_user)}, approval key {code(group.key)}"
        )
    ]
    for one, end, note in zip(question.calls, state.ends, state.notes, strict=True):
        blocks.append(_section(_call(one, end, note, shows_parameters=shows_parameters)))
    if not state.is_over:
        blocks += _asking(question, state, buttons, approver)
    return {"text": head, "blocks": blocks}


def _asking(question: CallQuestion, state: State, buttons: tuple[Buttons, bytes] | None, approver: str) -> list[Block]:
    shown = next(one.call.request for one, end in zip(question.calls, state.ends, strict=True) if end is None)
    notes = [f"Exact parameters, and the answer with a key of your own: `macaw approvals show {shown} --as user:NAME`"]
    if question.more:
        listing = code(f"macaw approvals list --as {approver}")
        notes.append(f"{_calls(question.more)} more of this requester are in no message yet: {listing}")
    if not question.group.is_one_time and not choices(question.group):
        # Engine 1 tells no scopes: its approvals last as their policies say.
        notes.append("An approval serves this call only." if question.group.scopes else LASTS)
    found = [_context(one) for one in notes]
    if buttons is not None:
        seal, terms_sha256 = buttons
        calls = tuple((one.call.request, one.call.parameters_sha256) for one in question.calls)
        found.append(_actions(question, seal, Bound(terms_sha256, calls)))
    return found


def _call(one: ListedCall, end: str | None, note: str, *, shows_parameters: bool) -> str:
    lines = [f"{code(one.resource)} call `{one.call.request}`"]
    if end is not None:
        lines.append(end)
        return "\n".join(lines)
    block = code_block(one.parameters) if shows_parameters and one.parameters is not None else None
    if shows_parameters:
        lines.append(block or "the parameters are not shown here: the command below shows them")
    lines.append(f"digest of the parameters `{one.call.parameters_sha256}`, open until {utc(one.open_until)}")
    if note:
        lines.append(note)
    return "\n".join(lines)


def _actions(question: CallQuestion, seal: Buttons, bound: Bound) -> Block:
    offered, count = choices(question.group), len(question.calls)
    those = "exactly this call" if count == 1 else f"exactly these {count} calls"
    elements: list[Block] = []
    if offered:
        options = [{"text": _plain(one.words), "value": one.name} for one in offered]
        elements.append({"type": "static_select", "action_id": SCOPE, "options": options, "initial_option": options[0]})
    for action, words, style, asks in (
        (APPROVE, "Approve", "primary", f"Approve {those}?"),
        (DENY, "Deny", "danger", f"Deny {those}? A denial is final."),
    ):
        confirm = {"title": _plain(words), "text": _plain(asks), "confirm": _plain(words), "deny": _plain("Cancel")}
        elements.append(
            {
                "type": "button",
                "action_id": action,
                "text": _plain(words),
                "style": style,
                "value": seal.seal(action, bound),
                "confirm": confirm,
            }
        )
    return {"type": "actions", "block_id": ANSWER_BLOCK, "elements": elements}


def private_note(text: str) -> dict[str, Any]:
    """Return the body for `response_url` that tells one person something and leaves the message as it is."""
    return {"response_type": "ephemeral", "replace_original": False, "text": text, **NEVER_LINKED}


NEVER_LINKED: Mapping[str, Any] = {"unfurl_links": False, "unfurl_media": False, "parse": "none", "link_names": False}


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"


def _section(text: str) -> Block:
    assert len(text) <= SECTION_CHARS_MAX
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text, "verbatim": True}]}


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": text, "emoji": False}
