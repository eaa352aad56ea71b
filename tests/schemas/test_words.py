"""The words of records and the reasons of refusals: a member is its text, and each reason says what to do next."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from processors.policy.verdict import RANK
from processors.proof import jcs
from schemas import codec, words
from schemas.changes import SessionChanged
from schemas.reasons import Reason
from schemas.words import Outcome, Role, Stage, Status, Word


@pytest.mark.parametrize("listed", Word.__subclasses__(), ids=lambda one: one.__name__)
def test_a_word_reads_as_its_text_wherever_it_is_put(listed: type[Word]) -> None:
    """Details of refusals quote words: a word that showed its class there would change bytes on the wire."""
    for word in listed:
        assert (f"{word}", f"{word!r}", repr((word,))) == (word.value, repr(word.value), repr((word.value,)))
        assert (hash(word), word.encode()) == (hash(word.value), word.value.encode())
        assert pickle.loads(pickle.dumps(word)) is word
        assert jcs.canonical([str(word)]) == jcs.canonical([word.value])


def test_a_record_with_a_word_has_the_bytes_of_the_text() -> None:
    """A row that was just made and the same row read back are equal, and written alike."""
    plain = SessionChanged(
        origin="o", audit_index=1, tenant="acme", session_id=b"s" * 32, principal_id="bot", role="agent", status="open",
        opened_at=1, expires_at=2, at=1,
    )  # fmt: skip
    made = replace(plain, role=Role.AGENT, status=Status.OPEN)

    assert made == plain
    assert codec.frame(made) == codec.frame(plain)
    assert codec.decode_as(SessionChanged, codec.frame(made)) == made


def test_the_wire_keeps_its_words() -> None:
    """Outcomes, statuses and roles stand on logs that are kept for ever."""
    assert " ".join(Outcome) == "allowed pending denied accepted refused skipped ok failed unknown"
    assert " ".join(words.NotedOutcome) == "success failure denied"
    assert " ".join(Status) == (
        "open ended active revoked consumed expired pending approved denied timeout cancelled set deleted"
    )
    assert " ".join(Role) == (
        "root organisation admin monitor enrolment bridge approver attester verifier agent service tool session offer "
        "user"
    )  # fmt: skip
    assert " ".join(words.ProviderSubjects) == "user workload"
    assert " ".join(words.AttestationKind) == "record request grant"
    assert " ".join(words.RegistryKind) == "tenant key tools revoked roots sealing engine provider"
    assert " ".join(words.SessionKind) == "session renewed ended"
    assert {str(outcome) for outcome in RANK} == {"denied", "pending", "allowed"}


def test_stages_are_in_order_and_told_by_their_numbers() -> None:
    """The order decides between two denials; the number is what people and JSON are told."""
    assert [stage.number for stage in Stage] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8.5, 9, 10, 11, 12]
    assert sorted(Stage, key=lambda stage: stage.number) == list(Stage) == sorted(Stage)
    assert jcs.canonical([Stage.CONDITIONS.number, Stage.SEQUENCE.number]) == b"[8,8.5]"
    assert len({stage.label for stage in Stage}) == len(Stage)


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_a_reason_says_what_is_wrong_and_what_to_do_next(reason: Reason) -> None:
    """Its value is its name, and both texts are there, as parts of one sentence."""
    assert reason == reason.name == Reason(reason.value)
    for text in (reason.meaning, reason.step):
        assert text == text.strip()
        assert text
        assert not text.endswith(".")
        assert text.split()[0] not in {"who", "whoever", "what", "whatever", "nobody", "somebody"}
