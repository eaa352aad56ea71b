"""A policy made ready to be asked: placed in its layer, its constraints turned into closures.

Must never live here: the choice of policies that apply, and the consequences of a denial.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from processors.policy import limits
from processors.policy.denials import denial_test
from processors.policy.documents import PolicyDocument, pointer_to
from processors.policy.evaluation import Parameters, Work
from processors.policy.globs import granting, restricting
from processors.policy.listed import ListedTest
from processors.policy.parameter_checks import Test, parameter_test
from processors.policy.patterns import ResourceName, grants_a_spelling
from processors.policy.rates import Rate, rate_of
from processors.policy.resolve import Layer, Placement, placement

_INLINE = Placement(layer=Layer.INLINE, grants=False)
_NEVER_GRANTS = ("org:", "restrict:", "filter:")  # also where a policy that may grant extends them


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCheck:
    """A constraint as a test of parameters. Requires names in NFC at the top."""

    meets: Callable[[str], bool] = field(repr=False)  # the operation key, held against a folded name
    path: str
    pointer: str
    test: Test = field(repr=False)

    def told(self, parameters: Parameters, work: Work) -> str:
        """Return the path to tell where the test denied. Raises WorkExceededError."""
        return (self.test.first_other(parameters, work) or "") if isinstance(self.test, ListedTest) else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskCheck:
    """A path at which calls are masked. Requires names in NFC at the top."""

    meets: Callable[[str], bool] = field(repr=False)  # the operation key, held against a folded name
    path: str
    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompiledPolicy:
    """A policy in force. Compared by identity, which `compile_policy` keeps to one for each digest it remembers."""

    policy_id: str
    digest: bytes
    key: bytes  # the digest, and whether it came with a call: what tells one document from another
    extends: str | None
    layer: Layer
    grants: bool
    may_grant: bool  # its resources, where it was reached through a layer that grants
    role: str | None
    document: PolicyDocument = field(repr=False)
    resources: tuple[str, ...]
    denied_resources: tuple[str, ...]
    checks: tuple[ParameterCheck, ...] = field(repr=False)  # allowed parameters, parameters
    denials: tuple[ParameterCheck, ...] = field(repr=False)  # denied parameters
    masks: tuple[MaskCheck, ...] = field(repr=False)
    rate: Rate | None
    allowing: tuple[Callable[[str], bool], ...] = field(repr=False)  # `resources`, as tests
    denying: tuple[Callable[[str], bool], ...] = field(repr=False)  # `denied_resources`, as tests

    @property
    def policy(self) -> "CompiledPolicy":
        """The policy itself. An index holds policies, or functions that make them on demand."""
        return self

    @property
    def tests(self) -> int:
        """How much there is to hold against a call: constraints and patterns."""
        return len(self.checks) + len(self.denials) + len(self.masks) + len(self.allowing) + len(self.denying)

    @property
    def has_sequence(self) -> bool:
        """Whether it has rules over several calls."""
        return bool(self.document.sequence)

    def denied_by(self, name: ResourceName) -> int | None:
        """Return which of its `denied_resources` meets a name first, None where none does."""
        for at, meets in enumerate(self.denying):
            if any(map(meets, name.spellings)):
                return at
        return None

    def lists(self, name: ResourceName) -> bool:
        """Return whether its `resources` meet a name. Requires some."""
        text, tenant = name.text, name.tenant
        if not tenant:
            return any(meets(text) for meets in self.allowing)
        # A foreign tenant's resource is granted only by a pattern that names the tenant literally.
        pairs = zip(self.resources, self.allowing, strict=True)
        return any(pattern.startswith(tenant) and meets(text) for pattern, meets in pairs)

    def lists_a_spelling(self, name: ResourceName) -> bool:
        """Return whether its `resources` meet a name in any spelling. Requires some."""
        return any(grants_a_spelling(pattern, name) for pattern in self.resources)


@lru_cache(maxsize=limits.CACHED_POLICIES_MAX)
def compile_policy(document: PolicyDocument, *, strict: bool = False) -> CompiledPolicy:
    """Return the policy ready to be asked; the same object for the same digest while it is remembered.

    `strict` is the tenant's setting `strict_parameters`: a constrained parameter must then be there.
    """
    place = _INLINE if document.inline else placement(document.policy_id)
    return CompiledPolicy(
        policy_id=document.policy_id,
        digest=document.digest,
        key=document.digest + (b"\x01" if document.inline else b""),
        extends=document.extends,
        layer=place.layer,
        grants=place.grants,
        may_grant=not document.inline and not document.policy_id.startswith(_NEVER_GRANTS),
        role=place.role,
        document=document,
        resources=document.resources,
        denied_resources=document.denied_resources,
        checks=(
            *(
                ParameterCheck(meets=restricting(one.opkey), path="", pointer=one.pointer, test=ListedTest(one))
                for one in document.allowed_parameters
            ),
            *(
                ParameterCheck(
                    meets=restricting(one.opkey),
                    path=one.path,
                    pointer=one.pointer,
                    test=parameter_test(one, strict=strict),
                )
                for one in document.parameters
            ),
        ),
        denials=tuple(
            ParameterCheck(meets=restricting(one.opkey), path=one.path, pointer=one.pointer, test=denial_test(one))
            for one in document.denied_parameters
        ),
        masks=tuple(
            MaskCheck(meets=restricting(one.opkey), path=path, pointer=pointer_to(one.pointer, at))
            for one in document.masked_parameters
            for at, path in enumerate(one.paths)
        ),
        rate=None if document.rate_limit is None else rate_of(document.rate_limit),
        allowing=tuple(map(granting, document.resources)),
        denying=tuple(map(restricting, document.denied_resources)),
    )
