"""Sessions that were renewed, in evidence: without the renewal no call after the first end holds."""

import pytest

from tests.processors.test_evidence_monitor import GENESIS, LOG, judge, said
from tests.reference.evidence_reference import verdict_of
from tests.reference.log_builder import FolderInMemory

RENEWED, REFUSED = (n for n, e in enumerate(LOG.entries) if e.kind == "SessionRenewed")
CALL = next(n for n in range(RENEWED, len(LOG.entries)) if LOG.entries[n].kind == "InvocationRequested")
LOGOUT = next(n for n, e in enumerate(LOG.entries) if e.kind == "LoginEnded")


def without(index: int, *files: str) -> FolderInMemory:
    """Return the folder without one event in some files, under a manifest that fits."""
    folder = LOG.folder()
    events = [b"\0" if n == index and "events.bin" in files else e for n, e in enumerate(folder.items("events.bin"))]
    registry = [
        r for r in folder.items("registry.bin")
        if int.from_bytes(r[:8], "big") != index or "registry.bin" not in files
    ]  # fmt: skip
    return folder.put("events.bin", events).put("registry.bin", registry).remade()


def both(folder: FolderInMemory) -> tuple[str, int | None]:
    """Return the verdict on which both verifiers agree."""
    found = said(folder)
    assert verdict_of(folder.files, GENESIS) == found
    return found


def test_a_call_after_the_first_end_holds_with_the_renewal() -> None:
    """The entry says that it was decided, its session was renewed before, and ends with its login."""
    assert LOG.entries[CALL].outcome == "denied"  # by a policy: it was decided
    assert (LOG.entries[REFUSED].reason, LOG.entries[LOGOUT + 2].reason) == ("SESSION_TTL", "EXPIRED_SESSION")
    verdict = judge(LOG.folder())

    assert (verdict.code, verdict.events_absent) == ("UNWITNESSED", 0)


def test_a_stripped_renewal_gives_no_time() -> None:
    """Whoever leaves it out of both files has a folder in which an ended session calls."""
    assert both(without(RENEWED, "events.bin", "registry.bin")) == ("KEY_NOT_VALID", CALL)


@pytest.mark.parametrize("file", ["events.bin", "registry.bin"])
@pytest.mark.parametrize("index", [RENEWED, LOGOUT])
def test_an_event_of_a_login_stands_in_both_files_or_in_neither(index: int, file: str) -> None:
    """A renewal that only one of them has is none."""
    assert both(without(index, file)) == ("PAYLOAD_MISSING", index)


def test_a_logout_that_is_left_out_lets_nothing_happen_after_it() -> None:
    """The entries behind it say that the session was refused; nothing else could be said with its key."""
    assert both(without(LOGOUT, "events.bin", "registry.bin")) == ("UNWITNESSED", None)
