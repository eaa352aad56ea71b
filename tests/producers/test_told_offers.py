"""The log's word about an instance is believed only as far as its events prove it."""

from __future__ import annotations

from typing import Any

import pytest

from producers.kafka.offers import OfferBook
from producers.kafka.verified import UntrustedRecordError
from schemas.events.attributes import Attributes
from tests.offers_world import LOOK, Instance, Offers
from tests.producers.forging import TwinRegistry


class Told:
    """A world with instances, and a caller's book over its registry."""

    def __init__(self) -> None:
        self.world = Offers.opened()
        self.one = self.world.instance(self.world.app, LOOK)
        self.other = self.world.instance(self.world.other, "tool:other/x")
        self.alice = Instance(self.world, self.world.person("alice"))
        self.alice.offer(LOOK)
        self.book = OfferBook(
            TwinRegistry(self),
            tenant=self.world.tenant,
            genesis=self.world.genesis,
        )

    def about(self, one: Instance) -> dict[str, Any]:
        found: dict[str, Any] = self.world.tell(self.world.bot, "agent", {"session": one.id.hex()})["agent"]
        return found


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


def test_what_the_events_prove_is_believed(told: Told) -> None:
    found = told.book.take(told.about(told.one), LOOK)
    assert (found.session_id, found.principal_id, found.kid) == (told.one.id, "app", told.one.key.kid)
    assert told.book.newest(LOOK) == told.book.of_session(told.one.id, LOOK) == found
    assert told.book.take(told.about(told.alice)).principal_id == "user:alice"


def test_an_instance_is_forgotten(told: Told) -> None:
    told.book.take(told.about(told.one), LOOK)
    told.book.forget(LOOK, told.one.id)
    assert told.book.newest(LOOK) is told.book.of_session(told.one.id, LOOK) is None


@pytest.mark.parametrize("name", ["session", "ed25519", "offered", "opened"])
def test_a_part_of_another_instance_proves_nothing(told: Told, name: str) -> None:
    """A lying monitor may mix what it has: no mixture puts another key in the place of this one's."""
    mixed = {**told.about(told.one), name: told.about(told.other)[name]}
    with pytest.raises(UntrustedRecordError):
        told.book.take(mixed, LOOK)


@pytest.mark.parametrize("name", ["session", "ed25519", "offered", "opened"])
@pytest.mark.parametrize("value", [None, 1, "x", {}, {"event": "00"}])
def test_a_malformed_answer_proves_nothing(told: Told, name: str, value: Any) -> None:
    with pytest.raises(UntrustedRecordError):
        told.book.take({**told.about(told.one), name: value}, LOOK)


def test_a_persons_session_is_nobodys_newest_instance(told: Told) -> None:
    """Nothing that callers are told proves whose it is: it is reached by its id alone."""
    with pytest.raises(UntrustedRecordError):
        told.book.take(told.about(told.alice), LOOK)


def test_another_event_of_the_session_is_no_offer(told: Told) -> None:
    """Signed by the right key, and about something else."""
    world = told.world
    asked = world.ask(told.one.session, "presence")
    headers = dict(asked.received.headers)
    signed = {
        "event": (asked.received.value or b"").hex(),
        "proof": (headers["macaw-proof"] or b"").hex(),
        "kid": (headers["macaw-kid"] or b"").hex(),
    }
    with pytest.raises(UntrustedRecordError):
        told.book.take({**told.about(told.one), "offered": signed}, LOOK)


def test_the_answer_about_another_session_takes_no_calls(told: Told) -> None:
    """A lying monitor names an accomplice's session, which offers the same name in good order."""
    asked = told.one.id
    with pytest.raises(UntrustedRecordError, match="another session"):
        told.book.take(told.about(told.alice), session_id=asked)
    assert told.book.take(told.about(told.one), session_id=asked).session_id == asked


def test_a_program_is_the_owner_of_no_name_that_its_registration_does_not_let_it_offer(told: Told) -> None:
    """A lying monitor has accepted what it must refuse: an offer of another program's name."""
    world = told.world
    wide = world.register("service", "wide", attributes=Attributes(offers=("**",)))
    for program in (world.other, wide):
        _refuses_the_thief(told, Instance(world, world.open_session(program)), f"tool:{program.principal_id}/y")


def _refuses_the_thief(told: Told, thief: Instance, own: str) -> None:
    folded = thief.offer(LOOK)
    assert folded.says == ("refused", "OFFER_NOT_ALLOWED")
    headers = dict(folded.received.headers)
    signed = {
        "event": (folded.received.value or b"").hex(),
        "proof": (headers["macaw-proof"] or b"").hex(),
        "kid": (headers["macaw-kid"] or b"").hex(),
    }
    assert thief.offer(own).says == ("accepted", "")
    with pytest.raises(UntrustedRecordError, match="registration"):
        told.book.take({**told.about(thief), "offered": signed}, LOOK)
