"""A call without its final answer, as a value: enough to come back to it later, from another process too."""

from __future__ import annotations

from dataclasses import dataclass

from producers.kafka.answers import Answer
from producers.kafka.sent import Sent
from schemas import topics


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingCall:
    """A call without its final answer: digests and ids in hex, times in milliseconds since the epoch.

    `until` is the end of the time that people, or verifiers, have; None if nobody is known to be asked. `verifiers` are
    the names of those whose verdicts are awaited, `+` for further ones; empty where people are. `ends_session`: the
    session was opened for one client that has gone, so it is ended when its last result is fetched.
    """

    event_id: str
    event: str
    resource: str
    principal_id: str
    session: str
    until: int | None
    offset: int
    ends_session: bool = False
    verifiers: tuple[str, ...] = ()

    @property
    def awaited(self) -> str:
        """The approval or verdict that it waits for, in words."""
        if not self.verifiers:
            return "an approval" if self.until is not None else "its answer"
        names = [one for one in self.verifiers if one != "+"]
        more = " and others" if len(names) < len(self.verifiers) else ""
        return f"the verdict of {', '.join(names)}{more}"

    @classmethod
    def of(cls, answer: Answer, resource: str, principal_id: str) -> WaitingCall:
        """Return the way back to a call from the answer that it waits. Requires such an answer."""
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
            verifiers=answer.pending_verifiers,
        )

    @classmethod
    def unanswered(cls, sent: Sent, principal_id: str, session: bytes) -> WaitingCall:
        """Return the way back to a call that has no answer yet. Requires that the call was drafted."""
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
        """The offset to read `results` from, by partition."""
        return {topics.keyed_partition(bytes.fromhex(self.session)): self.offset}
