"""Calls that wait for people, or that their caller gave up, kept so that the caller can come back after a restart.

    …/calls/<event id>.json     the call, its session, and the offset at which its answers begin on `results`
    …/calls/<event id>.key      the session's key, which alone opens the result

Both are for their owner only. They leave with the call's final answer, or when the log keeps the answer no longer.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from dataclasses import asdict, replace
from pathlib import Path

from producers.home.files import replace_private
from producers.home.home import TenantHome
from producers.home.keys import KeyPair
from producers.kafka.answers import Answer
from producers.kafka.sent import Sent
from producers.kafka.waiting import WaitingCall
from schemas import topics
from schemas.errors import InputError

FOLDER = "calls"
FILES_MAX = 20_000  # two for each call
_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class WaitingCallError(InputError):
    """A waiting call is not kept here; the message names the next step."""


class Book:
    """Where the calls of one session are written down; `left` are those without their final answer, by event id.

    With `in_memory` nothing is written: the calls, and the session's key, are gone with the process.
    """

    def __init__(self, folder: TenantHome, session: KeyPair, principal_id: str, *, in_memory: bool = False) -> None:
        self._folder, self._session, self._principal_id = folder, session, principal_id
        self.in_memory = in_memory
        self.left: dict[str, WaitingCall] = {}

    def described(self, sent: Sent, answer: Answer | None) -> WaitingCall:
        """Return how to come back to a call: as it was answered, or as far as it was sent."""
        if answer is not None:
            return WaitingCall.of(answer, sent.resource or "", self._principal_id)
        return WaitingCall.unanswered(sent, self._principal_id, self._session.kid)

    def write(self, call: WaitingCall) -> None:
        """Write down a call and its session's key. Raises OSError."""
        if not self.in_memory:
            keep(self._folder, call, self._session)
        self.left[call.event_id] = call

    def strike(self, call: WaitingCall) -> None:
        """Remove a call that has its answer."""
        if not self.in_memory:
            forget(self._folder, call)
        self.left.pop(call.event_id, None)

    def entrust(self) -> None:
        """Note on each call that the session ends when its last result is fetched."""
        for call in self.left.values():
            change(self._folder, replace(call, ends_session=True))


def keep(folder: TenantHome, call: WaitingCall, session: KeyPair) -> None:
    """Write down a call that waits, and the key that can hear its answer.

    Raises:
        WaitingCallError: another call with this event id is kept already, and its result would be lost.
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
        keys = folder.keys
        keys.put(making, session, keys.settings.store_for("call"))
        making.replace(key)
    _write(path, call)


def change(folder: TenantHome, call: WaitingCall) -> None:
    """Write a kept call anew; if its result was fetched meanwhile, do nothing."""
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

    Other files, and files that cannot be removed, are left alone: they must not keep a call from being written down.
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
    """Return a kept call and its session's key. Raises WaitingCallError, KeyAccessError."""
    path = _path(folder, event_id)
    try:
        found = json.loads(path.read_text("utf-8"))
        call = WaitingCall(**{**found, "verifiers": tuple(found.get("verifiers", ()))})
        whole = type(found["offset"]) is int and found["offset"] >= 0 and type(found["until"]) in {int, type(None)}
        whole = whole and type(call.ends_session) is bool
        whole = whole and set(map(type, found.get("verifiers", ()))) <= {str}
        texts = {type(found[name]) for name in ("resource", "principal_id", "event", "session")} == {str}
        digests = texts and all(_DIGEST.fullmatch(one) for one in (call.event, call.session))
    except OSError as exc:
        raise WaitingCallError(
            f"no call {event_id} of tenant {folder.tenant} waits here: it has had its answer, or was asked for another "
            "tenant or from another installation"
        ) from exc
    except (ValueError, TypeError, KeyError) as exc:
        raise WaitingCallError(f"{path} is damaged, so the call cannot be resumed from here") from exc
    if not (whole and digests and call.event_id == event_id):
        raise WaitingCallError(f"{path} is damaged, so the call cannot be resumed from here")
    key = folder.keys.load(_key_path(folder, event_id))
    if key.kid.hex() != call.session:
        raise WaitingCallError(
            f"{_key_path(folder, event_id)} is the key of another session, so the call cannot be resumed from here"
        )
    return call, key


def forget(folder: TenantHome, call: WaitingCall) -> None:
    """Remove a call that has its answer."""
    _path(folder, call.event_id).unlink(missing_ok=True)
    _key_path(folder, call.event_id).unlink(missing_ok=True)


def _path(folder: TenantHome, event_id: str) -> Path:
    if not _EVENT_ID.fullmatch(event_id):
        raise WaitingCallError(
            f"{event_id[:40]!r} is not an event id: give the 32 hexadecimal digits that the waiting call printed"
        )
    return folder.path / FOLDER / f"{event_id}.json"


def _key_path(folder: TenantHome, event_id: str) -> Path:
    # One key file for each call, also where calls share a session: so a call does not depend on another's file.
    return _path(folder, event_id).with_suffix(".key")
