"""The policies in force, found by id: those for a subject and a resource, each with its chain (docs/mapl.md 5, 6).

A look-up costs as much as the ids that are tried, however many policies there are. Documents are read when they are
first needed: a worker that restarts with ten thousand of them begins at once.
"""

import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from processors.policy import limits
from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.documents import parse_policy
from processors.policy.errors import BrokenChainError, ResourceInvalidError
from processors.policy.origins import NotFrom
from processors.policy.patterns import ResourceName, resource_name
from processors.policy.resolve import Layer, Subject, placement, resource_ids, spelt_ids
from processors.text.forms import fold


class Entry(Protocol):
    """A policy in force, perhaps not read yet. Compared by identity."""

    @property
    def policy_id(self) -> str: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def extends(self) -> str | None: ...
    @property
    def has_sequence(self) -> bool: ...
    @property
    def policy(self) -> CompiledPolicy: ...


class Remembered(dict[object, object]):
    """Things by key, so many and of so much weight together; the oldest leave first.

    Several threads may share one: tenants are restored beside those that are folded.
    """

    def __init__(self, count_max: int, weight_max: int = limits.CACHED_PLAN_TESTS_MAX) -> None:
        super().__init__()
        self._count_max = count_max
        self._weight_max = weight_max
        self._weights: dict[object, int] = {}
        self._weight = 0
        self._lock = threading.Lock()

    def put(self, key: object, thing: object, weight: int) -> None:
        """Remember a thing, unless another thread has put one under its key meanwhile."""
        with self._lock:
            if key in self:
                return
            self[key], self._weights[key] = thing, weight
            self._weight += weight
            while len(self) > self._count_max or self._weight > self._weight_max:
                oldest = next(iter(self))
                self._weight -= self._weights.pop(oldest)
                del self[oldest]


# Bounded by what they weigh, not by how many they are: a call to which many small policies apply would else drive out
# each of them before it came to it again, and compile all of them every time.
_ready = Remembered(sys.maxsize, limits.CACHED_POLICY_BYTES_MAX)


class StoredPolicy:
    """A policy as a table holds it: read and compiled when it is first asked."""

    __slots__ = ("_text", "digest", "extends", "policy_id")

    def __init__(self, policy_id: str, digest: bytes, text: str, extends: str | None) -> None:
        self.policy_id = policy_id
        self.digest = digest
        self.extends = extends
        self._text = text

    @property
    def policy(self) -> CompiledPolicy:
        """The policy, ready to be asked. Raises ValueError if the text does not have its digest."""
        key = self.digest, self._text
        policy = _ready.get(key)
        if policy is None:
            policy = _compiled(*key)
            _ready.put(key, policy, len(self._text))
        assert isinstance(policy, CompiledPolicy)
        return policy

    @property
    def has_sequence(self) -> bool:
        """Whether it has rules over several calls."""
        # A member name can hide behind escapes; nothing else can.
        hidden = "\\u" in self._text
        return ('"sequence"' in self._text or hidden) and self.policy.has_sequence


def _compiled(digest: bytes, text: str) -> CompiledPolicy:
    document = parse_policy(text.encode(), organisation=True)
    if document.digest != digest:
        raise ValueError("a policy row does not have the digest of its document")
    return compile_policy(document)


class PolicyIndex:
    """The policies in force, by id.

    INVARIANT: `by_id` does not change; when a policy is published or withdrawn, another index is made.
    """

    def __init__(self, by_id: Mapping[str, Entry]) -> None:
        self.by_id = by_id
        shared = [policy_id for policy_id in by_id if policy_id.startswith(("org:", "company:", "restrict:org:"))]
        organisation = sorted(policy_id for policy_id in shared if policy_id.startswith("org:"))
        self.organisation = tuple(by_id[policy_id] for policy_id in organisation)  # layer 1, by id
        self.has_company = len(shared) > len(organisation)  # whether some policy binds the members of some company
        # What was planned, by policies and resource; callers must not push out others' plans with what they bring.
        self.plans = Remembered(limits.CACHED_PLANS_MAX)
        self.inline_plans = Remembered(limits.CACHED_INLINE_MAX)

    def found(self, subject: Subject, resource: str, owner: str = "") -> tuple[Entry, ...]:
        """Return the policies that are looked up for a call and exist, in the order of their layers.

        `owner` is the program that offers the resource: a name without a segment does not lead to its app's policy.

        Raises:
            ResourceInvalidError: the text is no resource name.
        """
        get = self.by_id.get
        ids = resource_ids(resource)
        found = (*self.organisation, *filter(None, map(get, subject.policy_ids)), *filter(None, map(get, ids)))
        entry = get(f"app:{owner}") if owner else None
        return found if entry is None or entry in found else (*found, entry)

    def spelt(self, name: ResourceName) -> tuple[Entry, ...]:
        """Return a resource's own policies that stand under another spelling of its name: they only restrict.

        Without them a gateway that asks about `tool:bank/WIRE` would not hear of the restrictions of `tool:bank/wire`.
        """
        exact = resource_ids(name.text)
        found = dict.fromkeys(one for key in spelt_ids(name) for one in self._by_spelling.get(key, ()))
        return tuple(self.by_id[one] for one in sorted(found) if one not in exact)

    @cached_property
    def _by_spelling(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for policy_id in self.by_id:
            if placement(policy_id).layer is Layer.RESOURCE:
                for spelling in _spellings(policy_id):
                    found.setdefault(spelling, []).append(policy_id)
        return found

    def tried(self, subject: Subject, name: ResourceName) -> tuple[list[str], list[str]]:
        """Return the ids that were looked up for a call: those that exist, and those that do not."""
        ids = dict.fromkeys((*subject.policy_ids, *resource_ids(name.text)))
        found = [one.policy_id for one in self.organisation] + [one for one in ids if one in self.by_id]
        return found + [one.policy_id for one in self.spelt(name)], [one for one in ids if one not in self.by_id]

    def chain(self, policy: Entry) -> tuple[CompiledPolicy, ...]:
        """Return a policy and its ancestors, the nearest first.

        Raises:
            BrokenChainError: an ancestor is gone, or the chain is a circle or too long. Neither can be published,
                but an older log may hold it.
        """
        chain = {policy.policy_id: policy.policy}
        parent = policy.extends
        while parent is not None:
            entry = self.by_id.get(parent)
            if entry is None or parent in chain or len(chain) >= limits.EXTENDS_DEPTH_MAX:
                raise BrokenChainError(parent)
            chain[parent] = entry.policy
            parent = entry.extends
        return tuple(chain.values())

    @cached_property
    def children(self) -> Mapping[str, Sequence[str]]:
        """The ids of those that extend each id."""
        found: dict[str, list[str]] = {}
        for policy_id, entry in self.by_id.items():
            if entry.extends is not None:
                found.setdefault(entry.extends, []).append(policy_id)
        return found

    @cached_property
    def sequenced(self) -> tuple[CompiledPolicy, ...]:
        """The policies with rules over several calls, by id."""
        return tuple(self.by_id[one].policy for one in sorted(self.by_id) if self.by_id[one].has_sequence)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The patterns of resources from which some rule forbids values, each once."""
        rules = (rule.test for policy in self.sequenced for rule in policy.document.sequence)
        return tuple(dict.fromkeys(test.source for test in rules if isinstance(test, NotFrom)))

    @cached_property
    def reachable(self) -> frozenset[str]:
        """The ids that some resource's policies lead to: their rules may judge a later call of anybody."""
        reached: set[str] = set()
        for policy_id in self.by_id:
            if placement(policy_id).layer is Layer.RESOURCE:
                one: str | None = policy_id
                while one is not None and one in self.by_id and one not in reached:
                    reached.add(one)
                    one = self.by_id[one].extends
        return frozenset(reached)


def _spellings(policy_id: str) -> Sequence[str]:
    if "%" not in policy_id and policy_id.isascii():
        return (fold(policy_id),)
    try:
        return (fold(policy_id), *resource_name(policy_id).spellings)
    except ResourceInvalidError:  # an id may hold what no name does; nothing is called like this
        return (fold(policy_id),)


def index_policies(policies: Mapping[str, CompiledPolicy]) -> PolicyIndex:
    """Return the index of policies by their ids; costs one pass over all ids."""
    return PolicyIndex(policies)


def index_stored(policies: Iterable[StoredPolicy]) -> PolicyIndex:
    """Return the index of policies as tables hold them; costs one pass over all ids."""
    return PolicyIndex({policy.policy_id: policy for policy in policies})
