"""A host takes masked values, and nothing else that a lying monitor changes: it can blank, and never substitute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pytest

from processors.calls.masked_form import NotMaskedError, check_blanked, check_changed
from processors.effects import Output
from processors.proof import jcs, sealing
from producers.client import approvals
from producers.client.approvals import CallForgedError, ParametersChangedError
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from producers.tools.admission import AdmittedCall, admit
from schemas import codec, topics
from schemas.records import CallPayload, Change, Decision
from tests.builders import Actor, Folded
from tests.masking_world import CLOTHED, MAIL, MASKABLE, NAKED, NOTE, TOKEN, Crm
from tests.producers.asking import Asking
from tests.producers.forging import TwinRegistry, TwinSessions, forged, record_of
from tests.world import Office

ASKED = {
    "text": NAKED, "to": MAIL, "n": 5, "flag": True, "lines": [{"text": MAIL, "to": "x"}, {"text": TOKEN}],
}  # fmt: skip
MASKED = {
    **ASKED, "text": CLOTHED, "lines": [{"text": "[masked:email]", "to": "x"}, {"text": "[masked:npm]"}],
}  # fmt: skip
TEXT, LINES, LINES_TOO = (
    Change(path="text", verifier="personal_data"),
    Change(path="lines[*].text", verifier="personal_data"),
    Change(path="lines[*].text", verifier="secrets"),
)
LISTED = (LINES, LINES_TOO, TEXT)


@dataclass(frozen=True)
class Operation:
    """An operation of the host, as far as masking goes."""

    maskable: tuple[str, ...] = MASKABLE


@dataclass
class Scene:
    office: Office
    decision: Output
    trusted: MonitorSigned

    @classmethod
    def played(cls, *paths: str) -> Scene:
        world = Crm.founded_with(*paths)
        [decision] = world.note(ASKED).of(topics.DECISIONS)
        office = Office(world, world.agent, world.bot, world.crm, NOTE)
        return cls(office, decision, MonitorSigned(TwinRegistry(office), tenant=world.tenant, genesis=world.genesis))

    @property
    def said(self) -> Decision:
        return codec.decode_as(Decision, self.decision.value or b"")  # type: ignore[no-any-return]

    def admit(self, record: Any, **how: Any) -> AdmittedCall | None:
        sessions, tool = TwinSessions(self.office, self.trusted.registry), self.office.tool
        operations = how.pop("operations", {NOTE: Operation()})
        now = self.office.world.tables.now
        return admit(
            record, self.trusted, sessions, tool=tool.principal_id, key=tool.keys, now_ms=now, operations=operations
        )

    def lie(self, parameters: Any, changed: tuple[Change, ...]) -> Any:
        """Return a decision of the monitor about parameters of its own choice, right in everything else."""
        text = parameters if isinstance(parameters, str) else jcs.canonical(parameters).decode()
        payload: CallPayload = codec.decode(codec.current("CallPayload"), self.decision.payload or b"")
        encoded = codec.encode(replace(payload, parameters=text))
        decision = replace(
            self.said,
            parameters_sha256=sealing.parameters_digest(payload.salt, text.encode()),
            payload_sha256=sha256(encoded).digest(),
            changed=changed,
        )
        return forged(self.office, self.decision, decision, encoded)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.played("text", "lines[*].text")


def test_a_masked_call_of_an_honest_monitor_is_admitted(scene: Scene) -> None:
    call = scene.admit(record_of(scene.office, scene.decision))

    assert call is not None
    assert call.parameters == MASKED
    assert call.decision.changed == LISTED


def test_a_monitor_may_blank_more_than_was_found(scene: Scene) -> None:
    """It could deny the call as well."""
    blank = {**ASKED, "text": "[masked:iban]"}
    call = scene.admit(scene.lie(blank, (TEXT,)))

    assert call is not None
    assert call.parameters == blank


def test_a_host_of_a_tool_that_declares_nothing_refuses_any_change(scene: Scene) -> None:
    record = record_of(scene.office, scene.decision)

    for operations in ({}, {NOTE: Operation(())}, {NOTE: Operation(("text",))}, {"tool:crm/plain": Operation()}):
        with pytest.raises(UntrustedRecordError, match="parameters"):
            scene.admit(record, operations=operations)


LIES: dict[str, tuple[Any, tuple[Change, ...]]] = {
    "another value": ({**ASKED, "text": "from eve"}, (TEXT,)),
    "another value beside a token": ({**ASKED, "text": "from eve [masked:iban]"}, (TEXT,)),
    "a token with a word of its own": ({**ASKED, "text": "from [masked:pay_eve]"}, (TEXT,)),
    "a token where nothing was": ({**ASKED, "text": f"{NAKED}[masked:iban]"}, (TEXT,)),
    "a token of another verifier": ({**ASKED, "text": "[masked:npm]"}, (TEXT,)),
    "a value that is cut": ({**ASKED, "text": "from "}, (TEXT,)),
    "an undeclared path": ({**ASKED, "to": "[masked:email]"}, (Change(path="to", verifier="personal_data"),)),
    "an undeclared path, listed as a declared one": ({**ASKED, "to": "[masked:email]"}, (TEXT,)),
    "a path that is not listed": (MASKED, (LINES, LINES_TOO)),
    "no list at all": (MASKED, ()),
    "a list without a change": (ASKED, (TEXT,)),
    "a change too many in the list": (MASKED, (*LISTED, Change(path="customer", verifier="secrets"))),
    "a verifier that masks nothing": (MASKED, (*LISTED, Change(path="text", verifier="prompt_injection"))),
    "a member more": ({**MASKED, "customer": "[masked:email]"}, LISTED),
    "a member less": ({name: one for name, one in MASKED.items() if name != "flag"}, LISTED),
    "another name": ({**{n: v for n, v in MASKED.items() if n != "to"}, "[masked:email]": MAIL}, LISTED),
    "an item more": ({**MASKED, "lines": [*MASKED["lines"], {"text": "[masked:npm]"}]}, LISTED),
    "an item less": ({**MASKED, "lines": MASKED["lines"][:1]}, LISTED),
    "items in another order": ({**MASKED, "lines": MASKED["lines"][::-1]}, LISTED),
    "another number": ({**MASKED, "n": 6}, LISTED),
    "a number as a text": ({**MASKED, "n": "[masked:card]"}, LISTED),
    "a text as an object": ({**MASKED, "text": {"x": "[masked:iban]"}}, LISTED),
    "a text as null": ({**MASKED, "text": None}, LISTED),
    "one for true": ({**MASKED, "flag": 1}, LISTED),
    "another value beside a masked one": ({**MASKED, "to": "eve"}, LISTED),
    "another form of the same": (jcs.canonical(MASKED).decode() + " ", LISTED),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_of_the_monitor_is_not_executed(scene: Scene, name: str) -> None:
    """Each is signed by the monitor's own key, with all digests right."""
    with pytest.raises(UntrustedRecordError, match="parameters"):
        scene.admit(scene.lie(*LIES[name]))


def test_a_digest_of_the_form_that_was_sent_does_not_stand_for_the_masked_one(scene: Scene) -> None:
    payload: CallPayload = codec.decode(codec.current("CallPayload"), scene.decision.payload or b"")
    digest = sealing.parameters_digest(payload.salt, jcs.canonical(ASKED))
    decision = replace(scene.said, parameters_sha256=digest)

    with pytest.raises(UntrustedRecordError, match="parameters"):
        scene.admit(forged(scene.office, scene.decision, decision, scene.decision.payload or b""))


# ---- the form by itself


def test_an_approver_sees_which_places_are_masked_and_no_other_difference() -> None:
    assert check_blanked(ASKED, MASKED) == [("text",), ("lines", 0, "text"), ("lines", 1, "text")]
    assert check_blanked(ASKED, ASKED) == []
    for other in ({**ASKED, "text": "eve"}, {**ASKED, "n": 6}, {**ASKED, "text": "[masked:eve]"}, {}):
        with pytest.raises(NotMaskedError):
            check_blanked(ASKED, other)


def test_a_change_is_listed_under_the_first_path_of_the_declaration_that_leads_there() -> None:
    both = ("text", "*")
    check_changed({"text": MAIL}, {"text": "[masked:email]"}, (TEXT,), both)
    with pytest.raises(NotMaskedError):
        check_changed({"text": MAIL}, {"text": "[masked:email]"}, (Change(path="*", verifier="personal_data"),), both)


# ---- people


@dataclass
class Desk:
    """A masked call that waits for carol, and how the log tells her of it."""

    world: Crm
    carol: Actor
    asked: Folded

    @classmethod
    def staged(cls) -> Desk:
        world = Crm.founded_with("text", "lines[*].text")
        world.require("agreed", resource=NOTE, approval_criteria="role:manager", timeout=3600)
        return cls(world, world.person("carol", "manager"), world.note(ASKED))

    def connection(self, **lie: Any) -> Any:
        return Asking(self.world, self.carol, answer=lambda _, told: {**told, **lie}, registry=TwinRegistry(self))

    def shown(self, **lie: Any) -> approvals.ShownCall:
        return approvals.show_call(self.connection(**lie), self.asked.entry.event.hex())


def test_an_approver_is_shown_the_masked_form_and_where_it_is_masked() -> None:
    desk = Desk.staged()
    shown = desk.shown()

    assert shown.parameters == MASKED
    assert shown.parameters_sha256 == sha256(jcs.canonical(MASKED)).digest()
    assert shown.masked == ("/text", "/lines/0/text", "/lines/1/text")
    desk.world.approve(desk.carol, desk.asked, "agreed", parameters_sha256=shown.parameters_sha256)
    assert desk.world.final(desk.asked).outcome == "allowed"


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (None, ParametersChangedError),
        (jcs.canonical(ASKED).decode(), ParametersChangedError),
        (jcs.canonical({**MASKED, "to": "eve"}).decode(), CallForgedError),
        (jcs.canonical({**MASKED, "text": "from eve [masked:iban]"}).decode(), CallForgedError),
        (jcs.canonical({**MASKED, "n": 6}).decode(), CallForgedError),
        ("[", CallForgedError),
        (5, CallForgedError),
    ],
)
def test_another_form_is_neither_shown_nor_signed(told: object, error: type[Exception]) -> None:
    desk = Desk.staged()
    listed = desk.shown().requests[0]

    with pytest.raises(error):
        desk.shown(masked=told)
    with pytest.raises(error):
        approvals.approve_request(desk.connection(masked=told), listed, "")
    assert desk.world.finals(desk.asked.entry.event) == []
