"""The product and the second registry open the same sessions, whatever a bridge says of a login."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.identity.issuers import ALL_TRUSTED
from schemas.events.attributes import Attributes
from tests.builders import keys_of
from tests.processors.test_logins import ACCEPTED, CI, PARTNER, bridge_of
from tests.processors.test_providers import ACME, distrusted, trust, trusted
from tests.reference.registry_parts import Refused
from tests.reference.registry_reference import Registry
from tests.world import World

BASE: dict[str, Any] = {"issuer": ACME, "attributes": Attributes(company="Acme")}
PERSONS = ["user:alice", "user:Alice", "user:ns/alice", "user:a*", "user: a", "user:", "user:e\u0301", "user:partner/a"]
NAMES = st.one_of(
    st.sampled_from([*PERSONS, "workload:ci/b", "workload:ci/B", "workload:alice", "bot"]),
    st.builds("{}{}".format, st.sampled_from(["user:", "user:partner/", "workload:ci/"]), st.text(max_size=4)),
)
SAID = st.builds(
    Attributes,
    company=st.sampled_from([None, "Acme", "acme", "", "Acme\u200b"]), team=st.none() | st.text(max_size=3),
    user=st.sampled_from([None, None, "alice", "bob"]), email=st.sampled_from([None, "a@acme.example", "a@x.example"]),
    roles=st.lists(st.sampled_from(["analyst", "team-x", "admin"]), max_size=3).map(tuple),
)  # fmt: skip
DIGESTS = st.sampled_from([None, bytes(32), b"", bytes(33)])
ISSUERS = st.sampled_from([ACME, CI.issuer, PARTNER.issuer, "https://none.example", ALL_TRUSTED, None])
CHANGES: dict[str, st.SearchStrategy[Any]] = {  # of one field of the event, or of what is signed
    "name": NAMES, "issuer": ISSUERS, "attributes": SAID, "subject_ref": DIGESTS, "login_ref": DIGESTS,
    "token_sha256": st.sampled_from([None, bytes(range(32)), bytes(31)]),
    "actors": st.lists(NAMES, max_size=3).map(tuple) | st.just(("workload:ci/b",) * 9),
    "methods": st.lists(st.text(max_size=3) | st.sampled_from(["hwk", "x" * 65]), max_size=3).map(tuple),
    "ttl_ms": st.sampled_from([0, 1, 86_400_000, 86_400_001]),
    "ahead_ms": st.sampled_from([-1, 0, 1, 120_000, 120_001]),
    "nonce": st.sampled_from([b"", bytes(15), bytes(range(16))]),
    "bridge": st.just(bytes(32)), "is_renewal": st.booleans(), "genesis": st.just(bytes(32)),
}  # fmt: skip
SIGNED = {"nonce", "bridge", "is_renewal", "genesis"}
WORKLOAD = {"name": "workload:ci/b", "issuer": CI.issuer}


class Both:
    """A tenant as the product has it and as the second registry has it, with the same past."""

    def __init__(self) -> None:
        self.world = World.founded("both", development=False)
        self.second = Registry(self.world.tenant, self.world.tables.origin, self.world.genesis)
        trust(self.world, trusted(), CI, PARTNER)
        self.world.send(distrusted(PARTNER.issuer), self.world.admin)
        self.gate = self.world.register("bridge", "all", attributes=bridge_of(ALL_TRUSTED, ACME))
        for received in self.world.records:
            assert self.agrees(received.value, dict(received.headers), received.appended_at)
        self.world.tables.commit()

    def agrees(self, value: Any, headers: dict[str, Any], now: int) -> bool:
        """Return whether the second registry takes an event."""
        try:
            self.second.fold(value, headers["macaw-kid"], headers["macaw-proof"], now)
        except Refused:
            return False
        return True


BOTH = Both()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([{}, WORKLOAD]), st.lists(st.sampled_from([*CHANGES]), max_size=3), st.data())
def test_a_second_implementation_opens_the_same_sessions(base, changed, data):
    """For random names, attributes, actors and proofs docs/wire.md is enough to say which login is good."""
    world, said = BOTH.world, {"name": "user:alice", "ahead_ms": 60_000, **BASE, **base}
    said |= {field: data.draw(CHANGES[field], field) for field in changed}
    name, ends_at = said.pop("name"), world.now + said.pop("ahead_ms")
    signed = {field: said.pop(field) for field in SIGNED & said.keys()}
    keys = keys_of("random", world.draw())
    opening = world.provided_session(
        name, BOTH.gate, keys=keys, login={"expires_at": max(0, ends_at), **signed}, **said
    )
    value, headers = world.signed(opening, BOTH.gate)

    folded = world.attempt(value, headers)
    assert folded.says[1] != "INTERNAL_ERROR"
    assert folded.says == ACCEPTED or changed
    assert BOTH.agrees(value, dict(headers), world.now) == (folded.says == ACCEPTED)
    BOTH.second.sessions.clear()
