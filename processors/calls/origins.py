"""The answer to a rule that asks from which report a value came, if no person said it.

*Heard* are the results that reached one of the sessions behind a call: its own, those of its delegators, and those of
the callers around it. Results of a program count for all its sessions, because it is one memory behind them; results of
a person's session count for that session alone.

*Said* are the prompts that persons signed in one of these sessions, this call's among them, and the purposes and scopes
of the delegations by persons that it presents. The words of a program are never said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from processors.calls.clearing import Clearing
from processors.calls.fingerprints import fingerprint
from processors.identity.delegations import Chain
from processors.policy.evaluation import Heard, Work, spend
from processors.policy.limits import (
    CACHED_NAME_CHARS_MAX,
    CACHED_NAMES_MAX,
    GRAM_UNITS,
    REACHED_VALUE_UNITS,
    WORD_BYTE_UNITS,
)
from processors.policy.patterns import resource_name, restricts
from processors.state.tables import Tables
from processors.text.characters import utf8_size
from processors.text.words import grams, parts_of, readings, whole_of, words_of
from schemas.rows import HeardRow, SessionRow
from schemas.words import Role

_SIGNIFICANT_CHARS = 3  # of a run of words, without blanks: shorter ones stand in every text
ANY_RESOURCE = ""


def owner_of(session_id: bytes, session: SessionRow | None) -> str:
    """Return the owner of the texts that came to a session: a person's session, or a program."""
    if session is None or session.role == Role.USER:
        return f"session:{session_id.hex()}"
    return program(session.principal_id)


def program(principal_id: str) -> str:
    """Return the owner that stands for all sessions of a program."""
    return f"program:{principal_id}"


def handed(principal_id: str) -> str:
    """Return the owner of the words of calls that a program executed while it had no session."""
    return f"handed:{principal_id}"


def with_handed(owner: str) -> tuple[str, ...]:
    """Return an owner, and beside a program the owner of texts handed to it while it had no session."""
    kind, _, name = owner.partition(":")
    return (owner, handed(name)) if kind == "program" else (owner,)


def speaker(session_id: str) -> str:
    """Return the owner of a person's own words in a session, named in hex."""
    return f"said:{session_id}"


def meets_resource(pattern: str, resource: str) -> bool:
    """Return whether a pattern meets the resource of a row; the one that stands for any is met by every pattern."""
    return resource == ANY_RESOURCE or restricts(pattern, resource_name(resource))


class Origins:
    """The heard texts behind one call: the read-only view that policies look at. Nothing is written meanwhile."""

    __slots__ = ("_chain", "_owners", "_prompts", "_said_here", "_sessions", "_tables")

    def __init__(
        self, tables: Tables, session_id: bytes, session: SessionRow, chain: Chain | None, prompts: Sequence[str] = ()
    ) -> None:
        """`chain` is the call's, with the callers around it; `prompts` are the texts that a person signs with it."""
        self._tables, self._chain, self._prompts = tables, chain, prompts
        beyond = () if chain is None else chain.sessions
        self._sessions = tuple(dict.fromkeys((session_id.hex(), *beyond)))
        owners = [owner_of(session_id, session)]
        for one in map(bytes.fromhex, beyond):
            owners += (owner_of(one, tables.sessions.get(one)), owner_of(one, None))
        if chain is not None:  # also programs whose session has left
            owners += (program(subject.principal) for subject in chain.subjects)
        resources = tables.heard_index.resources
        every = (one for owner in dict.fromkeys(owners) for one in with_handed(owner))
        self._owners = tuple(one for one in every if resources(one))
        self._said_here: frozenset[str] | None = None

    @property
    def genesis(self) -> bytes:
        """The key of the tenant's fingerprints."""
        return self._tables.genesis

    def from_resources(self, pattern: str, work: Work, *, cleared_by: str = "") -> Heard | None:
        """Return the texts from the resources that a pattern meets, None where none came. Raises WorkExceededError.

        Results that the verifier with the prefix `cleared_by` has passed are left out.
        """
        index = self._tables.heard_index
        came = [index.resources(owner) for owner in self._owners]
        spend(work, REACHED_VALUE_UNITS * sum(map(len, came)))
        met = any(meets_resource(pattern, one) for some in came for one in some)
        return _FromResources(self, pattern, Clearing(self._tables, cleared_by), work) if met else None

    def is_said(self, run: str, work: Work) -> bool:
        """Return whether a person said some words, which are given without blanks. Raises WorkExceededError."""
        spend(work, GRAM_UNITS)
        if self._said_here is None:
            self._said_here = self._said_beside(work)
        if run in self._said_here:
            return True
        index, mark = self._tables.heard_index, fingerprint(self._tables.genesis, run)
        return any(index.rows_with(speaker(one), mark) for one in self._sessions)

    def _said_beside(self, work: Work) -> frozenset[str]:
        """Return the words of this call's prompts and of its delegations by persons."""
        texts = (*self._prompts, *(() if self._chain is None else self._chain.spoken))
        spend(work, (WORD_BYTE_UNITS + GRAM_UNITS) * sum(map(utf8_size, texts)))
        return frozenset(run for text in texts for run in grams(words_of(text)))

    def report_with(self, pattern: str, mark: bytes, clearing: Clearing, work: Work) -> HeardRow | None:
        """Return the oldest marked row from the resources of a pattern with some words, by their fingerprint.

        Raises:
            WorkExceededError: the words stand in too many rows.
        """
        rows_with = self._tables.heard_index.rows_with
        found = [keys for owner in self._owners if (keys := rows_with(owner, mark))]
        if not found:
            return None  # most values
        spend(work, REACHED_VALUE_UNITS * sum(map(len, found)))
        rows = self._tables.heard.rows
        met = (key for keys in found for key in keys if meets_resource(pattern, rows[key].resource))
        return self._oldest(self._not_cleared(met, clearing, work))

    def is_tainted(self, pattern: str, clearing: Clearing, work: Work) -> bool:
        """Return whether a marked text from the resources of a pattern was not seen. Raises WorkExceededError."""
        return any(True for _ in self._unseen(pattern, clearing, work))

    def unseen(self, pattern: str, clearing: Clearing, work: Work) -> HeardRow | None:
        """Return the oldest marked row that stands for a text from the resources of a pattern that was not seen.

        Raises:
            WorkExceededError.
        """
        return self._oldest(self._unseen(pattern, clearing, work))

    def _unseen(self, pattern: str, clearing: Clearing, work: Work) -> Iterator[bytes]:
        unseen = self._tables.heard_index.unseen
        met = (keys for owner in self._owners for one, keys in unseen(owner).items() if meets_resource(pattern, one))
        yield from self._not_cleared((key for keys in met for key in keys), clearing, work)

    def _not_cleared(self, keys: Iterable[bytes], clearing: Clearing, work: Work) -> Iterator[bytes]:
        """Yield the keys of rows that are not cleared. Whoever stops early has spent the same in every replay."""
        if not clearing.may_clear:
            yield from keys
            return
        rows = self._tables.heard.rows
        for key in sorted(keys):  # the index has no order, and each look is paid for
            if not clearing.clears(key, rows[key], work):
                yield key

    def _oldest(self, keys: Iterable[bytes]) -> HeardRow | None:
        rows = self._tables.heard.rows
        found = min(((rows[key].at, key) for key in keys), default=None)
        return None if found is None else rows[found[1]]


def _marked(genesis: bytes, text: str) -> tuple[tuple[str, bytes], ...]:
    """Return the runs of words by which a value is recognised in any of its readings, with their fingerprints."""
    runs = dict.fromkeys(run for reading in readings(text) for run in parts_of(reading))
    return tuple((run, fingerprint(genesis, run)) for run in runs)


_remembered = lru_cache(maxsize=CACHED_NAMES_MAX)(_marked)  # rules ask for the same values one after the other


class _FromResources:
    """The heard texts from the resources of one pattern."""

    __slots__ = ("_clearing", "_is_tainted", "_origins", "_pattern")

    def __init__(self, origins: Origins, pattern: str, clearing: Clearing, work: Work) -> None:
        self._origins, self._pattern, self._clearing = origins, pattern, clearing
        self._is_tainted = origins.is_tainted(pattern, clearing, work)

    def origin(self, text: str, work: Work, *, exact: bool) -> str:
        spend(work, WORD_BYTE_UNITS * utf8_size(text))
        if self._is_tainted:
            return self._not_said(text, work)
        genesis = self._origins.genesis
        marked = _remembered(genesis, text) if len(text) <= CACHED_NAME_CHARS_MAX else _marked(genesis, text)
        spend(work, GRAM_UNITS * len(marked))
        for run, mark in marked:
            if len(run) >= _SIGNIFICANT_CHARS or exact:
                row = self._origins.report_with(self._pattern, mark, self._clearing, work)
                if row is not None and not self._origins.is_said(run, work):
                    return told(row)
        return ""

    def origin_of_parts(self, parts: Sequence[str], work: Work) -> str:
        if self._is_tainted:
            return ""  # then each part must have been said by itself
        found = self.origin(" ".join(parts), work, exact=False)
        said = self._origins.is_said
        return "" if found and all(said(run, work) for part in parts for run in whole_of(part)) else found

    def _not_said(self, text: str, work: Work) -> str:
        """Return the origin of a value that may have been in a text that was not seen."""
        runs = whole_of(text)
        spend(work, GRAM_UNITS * len(runs))
        if not text or (runs and all(self._origins.is_said(run, work) for run in runs)):
            return ""
        row = self._origins.unseen(self._pattern, self._clearing, work)
        return "" if row is None else told(row)


def told(row: HeardRow) -> str:
    """Return the place in the log that a denial names: a report, or another event such as an open call, by its leaf."""
    return f"{'report' if row.reported else 'event'} {row.source.hex()}"
