"""Questions to people: waiting calls of one requester under one approval key go into one message.

    one look finds 20 calls of payer and 1 of clerk, all under the key manager
    it asks: [8 of payer, 12 more], [1 of clerk], [8 of payer, 4 more], [4 of payer]

A group has at most `PER_GROUP_MAX` open questions and a requester `PER_REQUESTER_MAX`. The other calls wait until a
question of theirs is over; the last message says how many they are. Requesters with few open questions come first.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from producers.kafka.outcomes import MalformedReplyError

CALLS_MAX = 8  # in one question
PER_GROUP_MAX = 4
PER_REQUESTER_MAX = 16
QUESTIONS_MAX = 256  # open at once
_TAG = b"macaw/question/v1\n"
_HEX_CHARS = 64
TIME_MS_MAX = 253_402_300_799_000  # the last second of the year 9999, beyond which no date can be shown


class CallKey(NamedTuple):
    """A call that waits for one approval: its event, the attestation key, and the digest that an answer binds."""

    request: str
    key: str
    parameters_sha256: str


class Group(NamedTuple):
    """The calls that one answer can serve: of one requester, under one key, with the same choice of scopes."""

    for_user: str
    for_agent: str
    key: str
    scopes: tuple[tuple[str, int], ...]
    is_one_time: bool


@dataclass(frozen=True, slots=True)
class ListedCall:
    """One request as the log lists it. `row` is the listed row; `parameters` are those that may be shown, if any."""

    call: CallKey
    group: Group
    resource: str
    open_until: int
    asked_at: int
    row: Mapping[str, Any] = field(repr=False, compare=False)
    parameters: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class CallQuestion:
    """Some calls of one group, asked about in one message; `more` calls of the group are in no message yet."""

    calls: tuple[ListedCall, ...]
    more: int = 0

    @property
    def group(self) -> Group:
        return self.calls[0].group

    @property
    def question_id(self) -> str:
        """The digest of the calls, 32 hex digits: the same question has the same id after a restart."""
        hashed = hashlib.sha256(_TAG)
        for one in self.calls:
            for text in one.call:
                hashed.update(len(text.encode()).to_bytes(4) + text.encode())
        return hashed.hexdigest()[:32]

    @property
    def open_until(self) -> int:
        """The log time in ms at which the first of its calls is over."""
        return min(one.open_until for one in self.calls)


def waiting_in(row: Mapping[str, Any]) -> ListedCall:
    """Read a row of the list of requests. Raises MalformedReplyError."""
    try:
        texts = [row[name] for name in ("request", "key", "parameters_sha256", "for_user", "for_agent", "resource")]
        request, key, digest, for_user, for_agent, resource = texts
        times = row["open_until"], row["asked_at"]
        scopes = tuple(sorted((str(name), int(most)) for name, most in row.get("scopes", {}).items()))
        is_one_time = row["one_time"] is True
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise MalformedReplyError("the log lists a request in another form than it must have") from None
    is_formed = all(isinstance(one, str) and _is_whole(one) for one in texts)
    is_formed = is_formed and all(type(one) is int and 0 <= one <= TIME_MS_MAX for one in times)
    if not is_formed or not (_is_digest(request) and _is_digest(digest)):
        raise MalformedReplyError("the log lists a request in another form than it must have")
    group = Group(for_user, for_agent, key, scopes, is_one_time)
    return ListedCall(CallKey(request, key, digest), group, resource, *times, row=row)


def _is_whole(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair, so that it can be written."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_digest(text: str) -> bool:
    return len(text) == _HEX_CHARS and not set(text) - set("0123456789abcdef")


def due(waiting: Iterable[ListedCall], asked: Collection[CallQuestion]) -> list[CallQuestion]:
    """Return the questions to ask now, where those in `asked` are open. Pure, and in the same order each time."""
    told = {one.call for question in asked for one in question.calls}
    groups: dict[Group, list[ListedCall]] = defaultdict(list)
    for one in sorted(waiting, key=lambda one: (one.asked_at, one.call)):
        if one.call not in told:
            groups[one.group].append(one)
    open_of, of_requester = Counter(q.group for q in asked), Counter(_requester(q.group) for q in asked)
    room, found = QUESTIONS_MAX - len(asked), list[CallQuestion]()
    # A turn only becomes later while questions are added, so a group is put back where its turn has changed.
    turns = [(*_turn(group, calls, of_requester), at, group) for at, (group, calls) in enumerate(groups.items())]
    heapq.heapify(turns)
    while len(found) < room and turns:
        *turn, at, group = heapq.heappop(turns)
        if not _has_room(group, open_of, of_requester):
            continue
        if turn == [*_turn(group, groups[group], of_requester)]:
            calls, groups[group] = groups[group][:CALLS_MAX], groups[group][CALLS_MAX:]
            found.append(CallQuestion(tuple(calls), len(groups[group])))
            open_of[group] += 1
            of_requester[_requester(group)] += 1
        if groups[group]:
            heapq.heappush(turns, (*_turn(group, groups[group], of_requester), at, group))
    return found


def _turn(group: Group, calls: Sequence[ListedCall], of_requester: Mapping[tuple[str, str], int]) -> tuple[int, int]:
    """Return the turn of a group: requesters with few open questions come first, then the older call."""
    return of_requester[_requester(group)], calls[0].asked_at


def _requester(group: Group) -> tuple[str, str]:
    return group.for_user, group.for_agent


def _has_room(group: Group, open_of: Mapping[Group, int], of_requester: Mapping[tuple[str, str], int]) -> bool:
    return open_of[group] < PER_GROUP_MAX and of_requester[_requester(group)] < PER_REQUESTER_MAX


@dataclass(frozen=True, slots=True)
class Choice:
    """A scope that a person may choose: its name on the wire, words for people, and the arguments of the approval."""

    name: str
    words: str
    arguments: Mapping[str, Any]


HOUR_SECONDS = 3600
_ONCE = Choice("once", "only this call", {"once": True})
_HOUR = Choice("hour", "for one hour", {"for_seconds": HOUR_SECONDS})
_ALL = Choice("policy", "for as long as the policies allow", {})


def choices(group: Group) -> Sequence[Choice]:
    """Return the scopes to offer, the narrowest first; none where an approval serves the call alone in any case."""
    scopes = dict(group.scopes)
    if group.is_one_time or not scopes.keys() - {"once"}:
        return ()
    has_hour = scopes.get("for_seconds", 0) > HOUR_SECONDS
    return ([_ONCE] if scopes.get("once") else []) + ([_HOUR] if has_hour else []) + [_ALL]


def choice_of(group: Group, name: str | None) -> Choice | None:
    """Return the scope of this name, the narrowest one without a name; None if the group does not offer it."""
    offered = choices(group)
    if not offered:
        return Choice("", "", {}) if name is None else None
    return next((one for one in offered if name is None or one.name == name), None)
