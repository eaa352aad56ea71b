"""The client of an agent: it opens a session, asks for operations, and gets verified answers.

    with Client.connect("acme", "shopper") as client:
        print(client.invoke("tool:bank/get_balance", {}))

Every error names the next step. A call that is not answered in time is not known to have run: it raises
`NoAnswerError`, it never returns a guess. A call that people must approve blocks until they have. A call that is left
without its answer is written down here (`kept_calls`), so that `Client.resume` can fetch its result, after a restart
too.

A client belongs to the process that connected it: used after a fork it raises ForkedError at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import wait
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from processors.policy.names import PERSON_PREFIX, WORKLOAD_PREFIX
from producers.client import kept_calls
from producers.client.bound import UNBOUND, Binding, BoundClient, check_bindable, granted
from producers.client.calls import Calls
from producers.client.discovery import agent_in, agents_in
from producers.client.open_call import CallPatience, OpenCall, Waiting
from producers.client.workflow import Workflow
from producers.home.clock import clock_ms
from producers.home.home import Home
from producers.kafka.appending import Appending, Fate, PublishError
from producers.kafka.connection import SESSION_TTL_MS, Connection
from producers.kafka.link import logins_of
from producers.kafka.logins import LOGIN_SECONDS
from producers.kafka.sent import Sent
from schemas.events.workflow import DelegationRevoked
from schemas.limits import QUERY_NAMES_MAX
from schemas.records import SessionClosed

if TYPE_CHECKING:
    from producers.identity import KeptLogin, Login, RemoteIdentityProvider

log = logging.getLogger(__name__)

END_SECONDS = 2.0  # for the log to take the end of a session; it ends by itself too


class Client(Workflow, Calls, AbstractContextManager["Client"]):
    """One agent, service or person with one open session. Thread-safe: any number of calls may be under way."""

    def __init__(
        self,
        connection: Connection,
        *,
        heads_path: Path | None = None,
        ends_session: bool = False,
        session_ends_at: int | None = None,
        keeps_calls: bool = True,
    ) -> None:
        """Speak with the key of an open session or of a registered approver; `connection` is closed with the client.

        `heads_path` is the file that keeps the heads of the vault (`producers.home.heads`), None for no file. With
        `ends_session` the session was opened for this client alone, and ends with it. `session_ends_at` is the end of
        its time to live in ms since the epoch, None if that is not known here. Without `keeps_calls` neither a call nor
        the session's key is written to a file, so nobody comes back to a call after the process has ended.

        Raises:
            HeadsError: the file of heads cannot be read; the connection is closed.
        """
        Calls.__init__(self, connection, keeps_calls=keeps_calls)
        Workflow.__init__(self, connection)
        self._ends_session, self._session_ends_at, self._is_over = ends_session, session_ends_at, False
        self._bound: set[BoundClient] = set()  # services that act for this person
        try:
            connection.answers.newest = self._vault.keep_heads(heads_path)
        except BaseException:
            connection.close()
            raise

    @classmethod
    def connect(
        cls, tenant: str | None, name: str, *, home: Home | None = None, session_ttl_ms: int = SESSION_TTL_MS
    ) -> Self:
        """Open a session for a registered agent or service. It ends with the client, or after `session_ttl_ms`.

        Raises:
            HomeError, KeyAccessError: the installation, tenant or key is not here.
            ConnectError: the brokers do not answer.
            RefusedError, NoAnswerError, PublishError: the session was not opened.
        """
        registered, heads_path = connect_with_key(tenant, "agent", name, name, home)
        try:
            session, ends_at = registered.link.session_key(), clock_ms() + session_ttl_ms
            registered.open_session(session, principal_id=name, ttl_ms=session_ttl_ms)
            connection = registered.of_session(session)
        except BaseException:
            registered.close()
            raise
        return cls(connection, heads_path=heads_path, ends_session=True, session_ends_at=ends_at)

    @classmethod
    def for_person(cls, tenant: str | None, name: str, *, home: Home | None = None) -> Self:
        """Speak for a person, with a session that a bridge has opened and a key that is kept here.

        Raises:
            HomeError, KeyAccessError: the installation, tenant or key is not here.
            ConnectError: the brokers do not answer.
        """
        principal_id = f"{PERSON_PREFIX}{name}"
        connection, heads_path = connect_with_key(tenant, "session", name, principal_id, home, is_session=True)
        return cls(connection, heads_path=heads_path)

    @classmethod
    def for_workload(cls, tenant: str | None, name: str, *, home: Home | None = None) -> Self:
        """Speak for a workload `NAMESPACE/NAME`, as `for_person` does for a person. Raises as it does."""
        connection, heads_path = connect_with_key(
            tenant, "workload", name, f"{WORKLOAD_PREFIX}{name}", home, is_session=True
        )
        return cls(connection, heads_path=heads_path)

    @classmethod
    def login(
        cls,
        tenant: str | None,
        token: str,
        *,
        home: Home | None = None,
        session_ttl_ms: int | None = None,
        provider: str | None = None,
        seconds: float = LOGIN_SECONDS,
        keeps_calls: bool = True,
    ) -> Self:
        """Open a session with a token of the person's or workload's own identity provider, and speak for its subject.

        The token is sealed to a bridge of the tenant, and is kept nowhere. The session ends with the client, with the
        token, or after `session_ttl_ms`; `renew` prolongs it. `provider` names the mapping of claims where several fit.
        Without `keeps_calls` no call, and so no key of the session, is written to a file.

        Raises:
            NotATokenError: the text is not a token that names its issuer.
            SessionRefusedError: the token was refused; its `reason` is the stable code.
            NoBridgeError: no bridge speaks for the issuer, or none answered within `seconds`.
            HomeError, ConnectError, RegistryError: the installation or tenant is not here, or no broker answers.
        """
        found = home or Home.find()
        folder = found.tenant(tenant)
        with logins_of(found, folder) as logins:
            opened = logins.open(token, ttl_ms=session_ttl_ms, provider=provider, seconds=seconds)
            connection = Connection(found, folder, opened.key, opened.principal_id, is_session=True)
        return cls(connection, ends_session=True, session_ends_at=opened.expires_at, keeps_calls=keeps_calls)

    def renew(self, token: str, *, provider: str | None = None, seconds: float = LOGIN_SECONDS) -> int:
        """Let this session live on with a newer token of the same subject; return its new end (ms since the epoch).

        Raises as `login`; SessionRefusedError RENEWAL_CHANGED where the provider says something else than at the login.
        """
        with logins_of(self._connection.home, self._connection.tenant) as logins:
            renewed = logins.renew(token, self._connection.key, provider=provider, seconds=seconds)
        self._session_ends_at = renewed.expires_at
        return renewed.expires_at

    def stay_logged_in(
        self, provider: RemoteIdentityProvider, login: Login, *, on_lost: Callable[[Exception], object] | None = None
    ) -> KeptLogin:
        """Renew this session in the background for as long as the provider renews the login; `stop()` ends that.

        `on_lost` is called once if it cannot go on: the provider wants the person, or the log refuses the renewal. The
        session then ends at its time. It runs on the thread of `TokenKeeper.shared()`.

        Raises:
            MisuseError: the provider gave no refresh token.
        """
        from producers.client.renewing import keep_renewing  # with HTTP and TLS, which few clients need

        return keep_renewing(self.renew, provider, login, on_lost)

    def list_agents(self, agent_type: str | None = None) -> list[dict[str, Any]]:
        """Return the registered agents, services and tools with a live key, the newest first. Raises RegistryError."""
        self._connection.registry.refresh()
        return agents_in(self._connection.registry.tables, clock_ms(), agent_type)

    def get_agent_info(self, agent_id: str) -> dict[str, Any] | None:
        """Return one of `list_agents`, None if there is no such program. Raises RegistryError."""
        self._connection.registry.refresh()
        return agent_in(self._connection.registry.tables, clock_ms(), agent_id)

    def callable(self, resources: Iterable[str]) -> set[str]:
        """Return those of the resources of which the log could allow this session some call: by name and role alone.

        A call may still be denied for its parameters, or wait for people. Raises as `Connection.query`.
        """
        found: set[str] = set()
        asked = list(dict.fromkeys(resources))
        for at in range(0, len(asked), QUERY_NAMES_MAX):
            names = asked[at : at + QUERY_NAMES_MAX]
            told = self._connection.query("callable", [*names]).get("callable")
            found.update(one for one in told or () if one in names)
        return found

    @property
    def expires_at(self) -> int | None:
        """The end of the session in ms since the epoch, None where it is not known here."""
        return self._session_ends_at

    @classmethod
    def for_approver(cls, tenant: str | None, name: str, *, home: Home | None = None) -> Self:
        """Speak with the key of a registered approver: it answers requests, and can do nothing else.

        Raises:
            HomeError, KeyAccessError: the installation, tenant or key is not here.
            ConnectError: the brokers do not answer.
        """
        connection, heads_path = connect_with_key(tenant, "approver", name, name, home)
        return cls(connection, heads_path=heads_path)

    @classmethod
    def resume(cls, tenant: str | None, event_id: str, *, home: Home | None = None, **how: Unpack[Waiting]) -> Any:
        """Come back for the result of a call that was left, after a restart too, until the result was given out.

        Raises:
            WaitingCallError: no such call is kept here.
            HomeError, KeyAccessError; and as `invoke`.
        """
        patience = CallPatience(**how)
        client, call = cls.come_back(tenant, event_id, home=home)
        with client:
            return call.finish(patience)

    @classmethod
    def come_back(cls, tenant: str | None, event_id: str, *, home: Home | None = None) -> tuple[Self, OpenCall]:
        """Return a client with the session of a call that was left, and the call, for `finish`. Raises as `resume`."""
        found = home or Home.find()
        folder = found.tenant(tenant)
        kept, key = kept_calls.load(folder, event_id)
        ends = kept.ends_session and kept_calls.is_last(folder, kept)
        connection = Connection(found, folder, key, kept.principal_id, is_session=True, answers_from=kept.start)
        client = cls(connection, ends_session=ends)
        call = OpenCall(Sent(connection.answers, kept.resource), client._book, connection.clock)
        call.take_up(kept)
        return client, call

    @property
    def session_id(self) -> bytes:
        """The id of the open session: the kid of its key."""
        return self._connection.key.kid

    @property
    def connection(self) -> Connection:
        """The connection of the session, as the parts of this package use it."""
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether it speaks with a session, and has neither ended it nor was closed."""
        return self._connection.is_session and not self._is_over

    def bind_to_user(self, user: Client, **scope: Unpack[Binding]) -> BoundClient:
        """Let this service or agent act for a person, by a delegation that `user` grants now; one round trip.

        The service stays as it is: it may be bound to many persons at once, each binding for itself. A binding ends
        with `BoundClient.unbind`, with the client of the person, and when its time is over.

        Raises:
            NotBindableError: this is a person's client, `user` is not, a session is not open, or the tenants differ.
            PolicyError, MalformedTimeError: the scope or time is malformed; nothing was sent.
            RefusedError, NoAnswerError, PublishError: the delegation was not granted, as far as is known.
        """
        check_bindable(self, user)
        ours, theirs = self._connection, user._session_ends_at
        bound = BoundClient(self, user, granted(user, ours.principal_id, theirs, scope), on_unbound=user._bound.discard)
        user._bound.add(bound)
        return bound

    def close_session(self, *, reason: str = "closed") -> None:
        """End the session on the log, now; its waiting calls are over, and events that it signs later are refused."""
        self._unbind_services()
        super().close_session(reason=reason)
        self._ends_session, self._is_over = False, True

    def close(self) -> None:
        """End the connections, and the session that `connect` opened; calls under way are left, and written down.

        A session with a call that has no final answer yet lives on: `resume` ends it, or its time to live.
        """
        if self._connection.is_elsewhere:
            return  # another process: its connections are not ours to close, and its session is not ours to end
        self.leave()
        self._is_over = True
        self._unbind_services()
        if self._ends_session:
            self._end_session()
        self._connection.close()
        self._vault.save_heads(self._connection.answers.newest)

    def _unbind_services(self) -> None:
        """Revoke the delegations of all services that are bound to this person, together."""
        ending: dict[BoundClient, Appending] = {}
        with suppress(PublishError):  # closed before
            for bound in list(self._bound):
                body = DelegationRevoked(delegation=bytes.fromhex(bound.delegation), reason=UNBOUND)
                ending[bound] = self._connection.publisher.publish(body)
        wait(ending.values(), END_SECONDS)
        for bound, ended in ending.items():
            ended.give_up()
            bound.note_end()
            if ended.fate is not Fate.APPENDED:
                log.warning("no broker answered, so the delegation %s may last until it expires", bound.delegation)

    def _end_session(self) -> None:
        if self._book.left and not self._book.in_memory:
            self._book.entrust()
            return
        try:
            ended = self._connection.publisher.publish(SessionClosed(reason="closed"))
            wait({ended}, END_SECONDS)
            ended.give_up()  # or the end of the connections would wait for it once more
            fate = ended.fate
        except PublishError:  # closed before
            return
        if fate is not Fate.APPENDED:
            log.warning("no broker answered, so the session %s may last until its time is over", self.session_id.hex())

    def __exit__(self, *_: object) -> None:
        self.close()


def connect_with_key(
    tenant: str | None, kind: str, name: str, principal_id: str, home: Home | None, *, is_session: bool = False
) -> tuple[Connection, Path]:
    """Return the connection of a key that is kept here, and the file of its heads. Raises HomeError, KeyAccessError."""
    found = home or Home.find()
    folder = found.tenant(tenant)
    _ = folder.genesis  # an unknown tenant is named before its key is looked for
    path = folder.key_file(kind, name)
    connection = Connection(found, folder, folder.keys.load(path), principal_id, is_session=is_session)
    return connection, path.with_suffix(".heads")
