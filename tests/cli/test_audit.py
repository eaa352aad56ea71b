"""`macaw audit verify`: what is said of an export, and with which exit status, also of one without its events."""

import json
from pathlib import Path

import pytest

from macaw.cli import main
from processors.evidence.folder_format import EVENTS, REGISTRY_KINDS
from streams.history.export import write_folder
from tests.reference.folder_changes import FOLDER, GENESIS, LOG, REFUSED

PINNED = ("--genesis", GENESIS.hex())
LAX = ("--allow-unwitnessed",)


def exported(target: Path, *, without: set[int] = frozenset()) -> str:
    """Write the small log as whoever has its files can change them: some events absent, and a fresh manifest."""
    events = [b"\0" if index in without else one for index, one in enumerate(FOLDER.items(EVENTS))]
    files = FOLDER.put(EVENTS, events).remade().files
    write_folder(files.items(), target)
    return str(target)


def every_event_that_can_go() -> set[int]:
    """Return the entries whose events no registry needs: calls, results, everything that was refused."""
    return {i for i, e in enumerate(LOG.entries) if not (e.outcome == "accepted" and e.kind in REGISTRY_KINDS)}


def verify(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(("audit", "verify", *argv, *PINNED))
    return status, *capsys.readouterr()


def test_a_whole_export_passes_and_says_nothing_of_absent_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As far as a log without a witness passes."""
    folder = exported(tmp_path / "whole")
    status, out, err = verify(capsys, folder, *LAX)

    assert (status, err) == (0, "")
    assert "without" not in out
    assert verify(capsys, folder)[0] == 1


def test_an_export_without_events_says_so_and_passes_only_where_that_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever holds the monitor's key can have written entries of calls that nobody has signed."""
    gone = every_event_that_can_go()
    folder = exported(tmp_path / "stripped", without=gone)
    status, out, err = verify(capsys, folder, *LAX)

    assert status == 1
    want = (
        f"{len(gone)} of {len(LOG.entries)} entries come without their event: of those only the monitor's word is known"
    )
    assert want in out
    assert out.startswith("UNWITNESSED: ")
    assert "--allow-absent" in err
    assert verify(capsys, folder, *LAX, "--allow-absent")[:2] == (0, out)
    assert verify(capsys, folder, "--allow-absent")[0] == 1


@pytest.mark.parametrize("options", [LAX, (*LAX, "--allow-absent")])
def test_the_verdict_lists_which_entries_those_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    """As ranges, for a program; the status is the same as for people."""
    folder = exported(tmp_path / "some", without={REFUSED})
    status, out, _ = verify(capsys, folder, *options, "--json")
    told = json.loads(out)

    assert status == (0 if "--allow-absent" in options else 1)
    assert (told["events_absent"], told["absent"]) == (1, [{"first": REFUSED, "last": REFUSED}])
    line = verify(capsys, folder, *options)[1]
    assert f"1 of {told['size']} entry comes without its event" in line or f"({REFUSED})" in line


def test_an_event_that_the_registry_needs_cannot_be_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing lets that pass."""
    folder = exported(tmp_path / "registry", without={1})
    status, out, _ = verify(capsys, folder, *LAX, "--allow-absent")

    assert status == 1
    assert out.startswith("PAYLOAD_MISSING at entry 1")


def test_a_link_in_the_folder_is_told_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And not that a check could not be made."""
    folder = exported(tmp_path / "linked")
    (Path(folder) / EVENTS).rename(tmp_path / "elsewhere")
    (Path(folder) / EVENTS).symlink_to(tmp_path / "elsewhere")
    status, out, _ = verify(capsys, folder, *LAX)

    assert status == 1
    assert f"'{EVENTS}' without following a link" in out
