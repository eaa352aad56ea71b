"""How long an archive can be read: profiles, the destruction of keys, and the legal hold that forbids it.

Segments are never deleted. Once a month is wholly older than the profile, its key is destroyed (crypto-shredding): its
records read as absent, their leaves stay, and so do the registrations, without which no signature could be judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from processors.evidence.archive.bodies import month_of, month_text
from producers.home.files import FileError, create_private, read_file
from producers.home.home import Home
from schemas.errors import InstallationError, StoppedError
from streams.archive.keyring import Keyring
from streams.archive.marks import check_not_shorter
from streams.archive.reading import ArchivedLog

# In months. The names are those of the rules that ask for them: logs of high-risk systems, books, records of brokers.
PROFILES: Mapping[str, int] = {"6-months": 6, "3-years": 36, "6-years": 72}
SETTING, LONGEST = "archive_profile", "6-years"
HOLD = "hold.json"
HOLD_BYTES_MAX = 16 * 1024


class RetentionError(InstallationError):
    """The profile or the legal hold is malformed; the message names the file."""


class HeldError(StoppedError):
    """A legal hold forbids the destruction."""

    code = "LEGAL_HOLD"


class NotTrimmedError(StoppedError):
    """The brokers still have records whose key was to be destroyed."""

    code = "STILL_ON_BROKERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalHold:
    """A legal hold: nothing of this tenant's log may be destroyed or trimmed. `since` is in ms since the epoch."""

    reason: str
    since: int


def profile_of(home: Home) -> str:
    """Return the retention profile of an installation, the longest without a setting. Raises RetentionError."""
    name = home.config.get(SETTING, LONGEST)
    if name not in PROFILES:
        where = home.path / "config.json"
        raise RetentionError(f"`{SETTING}` is {name[:40]!r} in {where}: it must be one of {', '.join(PROFILES)}")
    return name


def expired_months(keyring: Keyring, profile: str, now_ms: int) -> list[int]:
    """Return the months with a key here that are wholly older than a profile at a time."""
    return [month for month in keyring.months() if month + 1 + PROFILES[profile] <= month_of(now_ms)]


@dataclass(frozen=True, slots=True)
class OnBrokers:
    """The log that the brokers still have: the first offset of intake, and the oldest month behind the archive."""

    low: int
    month_behind: int | None


def expire(
    keyring: Keyring, months: list[int], *, profile: str, now_ms: int, archive: ArchivedLog, brokers: OnBrokers
) -> None:
    """Destroy the keys of some months, in order.

    The archive's last record stays on the brokers in the clear, where no trim deletes it, until the next one is there.

    Raises:
        HeldError: there is a legal hold; nothing was destroyed.
        NotTrimmedError: the brokers still have records of these months; nothing was destroyed.
        SegmentError, StoreError: the archive does not hold, or is shorter than it was; nothing was destroyed.
        RetentionError, MarkError, OSError.
    """
    check_no_hold(keyring.path)
    check_not_shorter(keyring.path, archive.span.next_index)
    if months:
        _check_trimmed(months[-1], archive, brokers)
    record = json.dumps({"destroyed_at": now_ms, "profile": profile}).encode() + b"\n"
    for month in months:
        keyring.destroy(month, record)


def _check_trimmed(month: int, archive: ArchivedLog, brokers: OnBrokers) -> None:
    """Raise NotTrimmedError if the brokers have records up to the end of a month. Raises SegmentError, StoreError."""
    if brokers.month_behind is not None and brokers.month_behind <= month:
        raise NotTrimmedError(
            f"{NotTrimmedError.code}: the audit log has entries of {month_text(brokers.month_behind)} that are not "
            "archived: run `macaw archive run --once`, then `macaw archive trim`"
        )
    last, kept = archive.last_offset_of(month), archive.span.next_offset - 1
    if last is None:
        return
    bound = min(last + 1, kept)
    if brokers.low < bound:
        raise NotTrimmedError(
            f"{NotTrimmedError.code}: intake still has records up to the end of {month_text(month)} in the clear, "
            f"from offset {brokers.low} on: run `macaw archive trim --to {bound}` first"
        )


# --- the legal hold


def hold_in(folder: Path) -> LegalHold | None:
    """Return the legal hold in a folder of keys, None if there is none. Raises RetentionError for a damaged one."""
    file = folder / HOLD
    try:
        return LegalHold(**json.loads(read_file(file, HOLD_BYTES_MAX)))
    except FileError as exc:
        if exc.missing:
            return None
        raise RetentionError(str(exc)) from exc
    except (ValueError, TypeError) as exc:
        raise RetentionError(f"{file} is not a legal hold; nothing is destroyed or trimmed while it is there") from exc


def check_no_hold(folder: Path) -> None:
    """Raise HeldError if there is a legal hold. Raises RetentionError."""
    hold = hold_in(folder)
    if hold is not None:
        raise HeldError(
            f"{HeldError.code}: a legal hold forbids it ({hold.reason}): `macaw archive hold --release` ends the hold"
        )


def set_hold(folder: Path, hold: LegalHold) -> None:
    """Set a legal hold. Raises FileExistsError if there is one, OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    create_private(folder / HOLD, json.dumps(asdict(hold), indent=2).encode() + b"\n")


def release_hold(folder: Path) -> bool:
    """End a legal hold; return False if there was none. Raises OSError."""
    existed = (folder / HOLD).exists()
    (folder / HOLD).unlink(missing_ok=True)
    return existed
