"""Calls that wait for people, or whose caller gave up, kept so that whoever asked can come back after a restart.

    …/calls/<event id>.json     what was asked, by which session, and where its answers begin on `results`
    …/calls/<event id>.key      the session's key: without it nobody can open the result

Both are for their owner only. They leave with the call's final answer, or when the log keeps it no longer.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from producers.answers import Answer
from producers.files import replace_private
from producers.home import TenantHome
from producers.keys import KeyPair
from producers.sent import Sent
from schemas import topics

FOLDER = "calls"
FILES_MAX = 20_000  # two for each call
_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class WaitingCallError(ValueError):
    """A call that waits is not kept here; the message says what can be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingCall:
    """A call without its final answer: digests and ids in hex, times in milliseconds since the epoch.

    `until`: how long people may take; None where none are known to be asked. `ends_session`: whose session was opened
    for one client that has gone, so whoever fetches its last result ends it.
    """

    event_id: str
    event: str
    resource: str
    principal_id: str
    session: str
    until: int | None
    offset: int
    ends_session: bool = False

    @classmethod
    def of(cls, answer: Answer, resource: str, principal_id: str) -> WaitingCall:
        """Return what an answer says of the call that waits. Requires that it says so."""
        result, until = answer.result, answer.pending_until
        assert until is not None
        return cls(
            event_id=result.event_id.hex(),
            event=result.event.hex(),
            resource=resource,
            principal_id=principal_id,
            session=result.to.hex(),
            until=until,
            offset=answer.offset,
        )

    @classmethod
    def unanswered(cls, sent: Sent, principal_id: str, session: bytes) -> WaitingCall:
        """Return what is known of a call that has no answer yet. Requires that it was drafted."""
        return cls(
            event_id=sent.event_id.hex(),
            event=sent.event.hex(),
            resource=sent.resource or "",
            principal_id=principal_id,
            session=session.hex(),
            until=None,
            offset=sent.answers_from[topics.keyed_partition(session)],
        )

    @property
    def start(self) -> dict[int, int]:
        """Where to read `results` from."""
        return {topics.keyed_partition(bytes.fromhex(self.session)): self.offset}


class Book:
    """Where one session's calls are written down; `left` are those without their final answer, by event id."""

    def __init__(self, folder: TenantHome, session: KeyPair, principal_id: str) -> None:
        self._folder, self._session, self._principal_id = folder, session, principal_id
        self.left: dict[str, WaitingCall] = {}

    def described(self, sent: Sent, answer: Answer | None) -> WaitingCall:
        """Return how to come back to a call: as it was answered, or as far as it was sent."""
        if answer is not None:
            return WaitingCall.of(answer, sent.resource or "", self._principal_id)
        return WaitingCall.unanswered(sent, self._principal_id, self._session.kid)

    def write(self, call: WaitingCall) -> None:
        """Write that down. Raises OSError."""
        keep(self._folder, call, self._session)
        self.left[call.event_id] = call

    def strike(self, call: WaitingCall) -> None:
        """Remove a call that has its answer."""
        forget(self._folder, call)
        self.left.pop(call.event_id, None)

    def entrust(self) -> None:
        """Leave it to whoever fetches the last result to end the session."""
        for call in self.left.values():
            change(self._folder, replace(call, ends_session=True))


def keep(folder: TenantHome, call: WaitingCall, session: KeyPair) -> None:
    """Write down that a call waits, and the key that can hear its answer.

    Raises:
        WaitingCallError: another call with this event id is kept already: its result would be lost.
        OSError: it cannot be written.
    """
    path = _path(folder, call.event_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(path.parent)
    if path.exists() and load(folder, call.event_id)[0].event != call.event:
        raise WaitingCallError(
            f"two calls have the event id {call.event_id}, and the other one is kept: fetch its result first, with "
            f"`macaw invoke --resume {call.event_id}`; this one is the event {call.event}"
        )
    key = _key_path(folder, call.event_id)
    if not key.exists():
        making = key.with_suffix(f".{secrets.token_hex(4)}")
        session.save(making)
        making.replace(key)
    _write(path, call)


def change(folder: TenantHome, call: WaitingCall) -> None:
    """Write down something else of a call that is kept; nothing where its result was fetched meanwhile."""
    path = _path(folder, call.event_id)
    if path.exists():
        _write(path, call)


def is_last(folder: TenantHome, call: WaitingCall) -> bool:
    """Whether no other call of the same session is kept here."""
    for path in (folder.path / FOLDER).glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # fetched meanwhile
            if path.stem != call.event_id and f'"session": "{call.session}"' in path.read_text("utf-8"):
                return False
    return True


def _sweep(calls: Path) -> None:
    """Remove calls whose answers the log keeps no longer, and the oldest of too many.

    What else lies there, or cannot be removed, is let be: it must not keep a call from being written down.
    """
    found = []
    for path in calls.iterdir():
        with contextlib.suppress(OSError):  # fetched meanwhile
            if _EVENT_ID.fullmatch(path.name.partition(".")[0]):
                found.append((path.stat().st_mtime, path))
    oldest = time.time() - topics.RESULTS.retention_ms / 1000
    if len(found) > FILES_MAX:
        oldest = max(oldest, sorted(at for at, _ in found)[-FILES_MAX])
    for at, path in found:
        if at < oldest:
            with contextlib.suppress(OSError):
                path.unlink()


def _write(path: Path, call: WaitingCall) -> None:
    replace_private(path, json.dumps(asdict(call)).encode())


def load(folder: TenantHome, event_id: str) -> tuple[WaitingCall, KeyPair]:
    """Return a call that is kept, with its session's key. Raises WaitingCallError, KeyFileError."""
    path = _path(folder, event_id)
    try:
        found = json.loads(path.read_text("utf-8"))
        call = WaitingCall(**found)
        whole = type(found["offset"]) is int and found["offset"] >= 0 and type(found["until"]) in {int, type(None)}
        whole = whole and type(call.ends_session) is bool
        texts = {type(found[name]) for name in ("resource", "principal_id", "event", "session")} == {str}
        digests = texts and all(_DIGEST.fullmatch(one) for one in (call.event, call.session))
    except OSError as exc:
        raise WaitingCallError(
            f"no call {event_id} of tenant {folder.tenant} waits here: it has had its answer, or was asked for another "
            "tenant or from another installation"
        ) from exc
    except (ValueError, TypeError, KeyError) as exc:
        raise WaitingCallError(f"{path} is not what was written there") from exc
    if not (whole and digests and call.event_id == event_id):
        raise WaitingCallError(f"{path} is not what was written there")
    key = KeyPair.load(_key_path(folder, event_id))
    if key.kid.hex() != call.session:
        raise WaitingCallError(f"{_key_path(folder, event_id)} is not what was written there")
    return call, key


def forget(folder: TenantHome, call: WaitingCall) -> None:
    """Remove a call that has its answer."""
    _path(folder, call.event_id).unlink(missing_ok=True)
    _key_path(folder, call.event_id).unlink(missing_ok=True)


def _path(folder: TenantHome, event_id: str) -> Path:
    if not _EVENT_ID.fullmatch(event_id):
        raise WaitingCallError(
            f"got {event_id[:40]!r}, want an event id, as the waiting call told it: 32 hexadecimal digits"
        )
    return folder.path / FOLDER / f"{event_id}.json"


def _key_path(folder: TenantHome, event_id: str) -> Path:
    # One for each call, also where calls share a session: so none needs to know of the others.
    return _path(folder, event_id).with_suffix(".key")
