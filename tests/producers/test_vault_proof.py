"""A monitor that lies about the vault: what a client refuses to believe of a value, and what it believes for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.client.vault import ContextVault, VaultEntry, VaultForgedError, VaultRollbackError
from producers.home.keys import KeyPair
from producers.kafka.outcomes import MalformedReplyError
from schemas import codec, limits
from schemas.events.attributes import NONE
from schemas.events.keys import KeyOffer
from schemas.events.workflow import AttestationSet, ContextDeleted, ContextWritten
from schemas.records import Body, Event, SessionOpened
from tests.builders import Actor, keys_of
from tests.processors.test_logins import CI
from tests.processors.test_providers import trust
from tests.producers.asking import Asking
from tests.producers.forging import TwinRegistry
from tests.workflow_world import Workflow, reply
from tests.world import HOUR_MS

Told = dict[str, Any]
Lie = Callable[[Told], Told]
REFUSALS = (VaultForgedError, VaultRollbackError, MalformedReplyError)


class Unknown:
    """A registry that knows no key, as of a client that has read nothing of it."""

    def key(self, _kid: bytes) -> None:
        return None


@dataclass
class Scene:
    """A world in which `bot` reads what others have written, and is lied to."""

    world: Workflow
    carol: Actor

    def vault(self, lie: Lie = lambda told: told, *, by: Actor | None = None, registry: bool = True) -> ContextVault:
        reader = by or self.world.bot
        keys: Any = TwinRegistry(self) if registry else Unknown()
        return ContextVault(Asking(self.world, reader, answer=lambda _, told: lie(told), registry=keys))

    def read(self, lie: Lie = lambda told: told, key: str = "limit", scope: str = "team", **how: Any) -> VaultEntry:
        return self.vault(lie, **how).entry(key, scope=scope)

    def signed(self, body: Body, by: Actor, **tampering: Any) -> dict[str, str]:
        """Return an event as a reply would show it, which the log has never seen."""
        value, headers = self.world.signed(body, by, **tampering)
        found = dict(headers)
        return {
            "event": value.hex(),
            "proof": (found[PROOF_HEADER] or b"").hex(),
            "kid": (found[KID_HEADER] or b"").hex(),
        }

    def told(self, key: str = "limit", scope: str = "team", by: Actor | None = None) -> Told:
        """Return what the log says of a value."""
        found: Told = reply(self.world.get(by or self.world.bot, key, scope=scope))
        return found


@pytest.fixture(scope="module")
def staged() -> Scene:
    world = Workflow.opened("proof")
    world.publish_policy({"policy_id": "role:staff", "resources": ["vault:**"]})
    carol = world.person("carol", "staff")
    world.put(carol, "limit", 100, scope="team")
    world.put(carol, "other", 1_000_000, scope="team")
    world.put(carol, "limit", 999, scope="else")
    world.put(carol, "limit", 7)
    world.put(world.bot, "limit", {"mine": [1, 2.5, None]})
    world.put(world.bot, "note", "by a program", scope="team")
    world.advance(HOUR_MS // 3)
    return Scene(world, carol)


# ---- what is believed


def test_a_value_of_a_person_and_of_a_program_is_believed(staged: Scene) -> None:
    """Whoever wrote it, and whoever opened the writer's session."""
    assert staged.read() == VaultEntry(key="limit", value=100, version=1, author="user:carol")
    assert staged.read(key="note").author == "bot"
    assert staged.read(scope="session").value == {"mine": [1, 2.5, None]}
    assert staged.read(key="absent") == VaultEntry(key="absent", value=None, version=0)


def of_a_login(scene: Scene, told: Told, name: str = "workload:ci/build", **login: Any) -> Told:
    """A bridge that is registered for all opens a session of a provider, and that session's key writes."""
    keys = keys_of("login", name, *login)
    fields = {"issuer": CI.issuer, "attributes": NONE, "login": login}
    opening = scene.world.provided_session(name, scene.world.bridge, keys=keys, **fields)
    written = scene.signed(ContextWritten(scope="team", key="limit", value="5"), Actor("session", name, keys))
    return {**told, "value": 5, "author": name, "opened": scene.signed(opening, scene.world.bridge), "written": written}


def test_a_value_of_a_login_is_believed() -> None:
    """A workload's too; its opening proves the login instead of the possession."""
    world = Workflow.opened("login")
    world.publish_policy({"policy_id": "service:workload:ci/build", "resources": ["vault:**"]})
    gate, keys = trust(world, CI), keys_of("build")
    opening = world.provided_session("workload:ci/build", gate, keys=keys, issuer=CI.issuer, attributes=NONE)
    assert world.send(opening, gate).says == ("accepted", "")
    build = Actor("session", "workload:ci/build", keys)
    assert world.put(build, "limit", 5, scope="team").says == ("accepted", "")

    assert Scene(world, build).read() == VaultEntry(key="limit", value=5, version=1, author="workload:ci/build")


def test_where_no_key_is_known_only_ones_own_is_believed(staged: Scene) -> None:
    """Nobody can say whose the other session's key is."""
    assert staged.read(scope="session", registry=False).version == 1
    assert staged.read(key="note", registry=False).author == "bot"
    with pytest.raises(VaultForgedError, match="registry"):
        staged.read(registry=False)


def test_a_value_is_believed_when_its_writer_has_left_the_registry() -> None:
    """Its session is gone, and the key that opened it was revoked since."""
    world = Workflow.opened("left")
    other = world.register("agent", "other")
    world.publish_policy({"policy_id": "agent:other", "resources": ["**"]})
    writer = world.open_session(other)
    world.put(writer, "limit", "kept", scope="team")
    world.close(writer)
    world.revoke("other")
    world.passes(25 * HOUR_MS)
    assert world.tables.sessions.get(writer.kid) is None
    reader = world.open_session(world.agent)

    assert Scene(world, writer).read(by=reader) == VaultEntry(key="limit", value="kept", version=1, author="other")


# ---- what is not


def of_another_key(scene: Scene, told: Told) -> Told:
    return {**told, "written": scene.told("other")["written"], "value": 1_000_000}


def of_another_scope(scene: Scene, told: Told) -> Told:
    return {**told, "written": scene.told(scope="else")["written"], "value": 999}


def of_anothers_memory(scene: Scene, told: Told) -> Told:
    return {**told, **{n: scene.told(scope="session", by=scene.carol)[n] for n in ("written", "value", "opened")}}


def opened_by_a_thief(scene: Scene, told: Told, role: str = "agent") -> Told:
    """The monitor makes up a session of carol: it has every key but a registered one that may open it."""
    thief = Actor("session", "user:carol", keys_of("thief"))
    opener = scene.world.agent if role == "agent" else Actor(role, role, keys_of("no", role))
    opening = scene.world.person_session("user:carol", keys=thief.keys)
    written = scene.signed(ContextWritten(scope="team", key="limit", value="5"), thief)
    return {**told, "value": 5, "opened": scene.signed(opening, opener), "written": written}


def of_ones_own_name(scene: Scene, told: Told) -> Told:
    """An agent that helps the monitor opens a session with its own key, and writes in carol's name."""
    mine = Actor("session", "user:carol", keys_of("helper"))
    offer = scene.world.offer(mine.keys, "session", "bot")
    opening = SessionOpened(principal_id="bot", key=offer, ttl_ms=HOUR_MS)
    written = scene.signed(ContextWritten(scope="team", key="limit", value="5"), mine)
    return {**told, "value": 5, "opened": scene.signed(opening, scene.world.agent), "written": written}


def with_a_foreign_key(scene: Scene, told: Told) -> Told:
    """The opening is genuine, and of another session."""
    return {**told, "opened": scene.told("note")["opened"]}


def after_its_session(scene: Scene, told: Told) -> Told:
    """Carol's key is stolen long after her session: it signs, but at a time when nobody let it speak."""
    issued = scene.world.now + 2 * HOUR_MS
    written = scene.signed(ContextWritten(scope="team", key="limit", value="5"), scene.carol, issued_at=issued)
    return {**told, "value": 5, "written": written}


def over(scene: Scene, told: Told) -> Told:
    """A value that was to live for a second, a quarter of an hour ago."""
    issued = scene.world.now - HOUR_MS // 4
    body = ContextWritten(scope="team", key="limit", value="5", ttl_ms=1000)
    return {**told, "value": 5, "written": scene.signed(body, scene.carol, issued_at=issued)}


def opened_by(scene: Scene, told: Told, offer: KeyOffer, keys: KeyPair, *, name: str = "bot", **header: Any) -> Told:
    """The agent's registered key helps: it opens a session as it likes, and that session's key writes."""
    opening = SessionOpened(principal_id=name, key=offer, ttl_ms=HOUR_MS)
    session = Actor("session", name, keys)
    written = scene.signed(ContextWritten(scope="team", key="limit", value="5"), session, **header)
    return {**told, "value": 5, "author": name, "opened": scene.signed(opening, scene.world.agent), "written": written}


def without_possession(scene: Scene, told: Told) -> Told:
    keys = keys_of("no possession")
    return opened_by(scene, told, scene.world.offer(keys, "session", "bot", possession=bytes(64)), keys)


def offered_for_another(scene: Scene, told: Told) -> Told:
    keys = keys_of("for another")
    return opened_by(scene, told, scene.world.offer(keys, "session", "other"), keys)


def in_anothers_header(scene: Scene, told: Told, **header: Any) -> Told:
    keys = keys_of("another header")
    return opened_by(scene, told, scene.world.offer(keys, "session", "bot"), keys, **header)


def no_opening_at_all(scene: Scene, told: Told) -> Told:
    """Signed by a bridge, whose key may open sessions, and about something else."""
    said = AttestationSet(session=scene.carol.kid, key="macaw.k", value="1", one_time=False)
    return {**told, "opened": scene.signed(said, scene.world.bridge)}


def no_json(scene: Scene, told: Told) -> Told:
    return {**told, "written": scene.signed(ContextWritten(scope="team", key="limit", value="{"), scene.carol)}


def without(*names: str) -> Callable[[Scene, Told], Told]:
    return lambda _, told: {name: one for name, one in told.items() if name not in names}


LIES: dict[str, tuple[str, Callable[[Scene, Told], Told]]] = {
    "another value": ("another value", lambda _, told: {**told, "value": 1_000_000}),
    "no value": ("another value", without("value")),
    "another author": ("author", lambda _, told: {**told, "author": "admin"}),
    "another key": ("another key", lambda _, told: {**told, "key": "other"}),
    "another key's event": ("another key or scope", of_another_key),
    "another scope's event": ("another key or scope", of_another_scope),
    "another session's memory": ("another key or scope", of_anothers_memory),
    "a delete": (
        "another key or scope",
        lambda s, told: {**told, "written": s.signed(ContextDeleted(scope="team", key="limit"), s.carol)},
    ),
    "an unsigned event": (
        "event: Sig",
        lambda _, told: {**told, "written": {**told["written"], "proof": "00" * 71 + "01"}},
    ),
    "no JSON": ("not strict JSON", no_json),
    "no proof": ("no 'written'", without("written", "opened", "before")),
    "no opening": ("no 'opened'", without("opened")),
    "no link": ("no hexadecimal text 'before'", without("before")),
    "another opening": ("not the registry's", with_a_foreign_key),
    "an event that opens nothing": ("does not open a session", no_opening_at_all),
    "a session that an agent opened for carol": ("does not speak for", opened_by_a_thief),
    "a session that nobody registered opened": (
        "no key of the registry",
        lambda s, t: opened_by_a_thief(s, t, "bridge"),
    ),
    "a session of its own in another's name": ("another principal", of_ones_own_name),
    "a key that its owner did not offer": ("BAD_POSSESSION", without_possession),
    "a key that was offered for another": ("does not open a session", offered_for_another),
    "another principal in the header": (
        "another principal",
        lambda s, t: in_anothers_header(s, t, principal_id="admin"),
    ),
    "no session in the header": ("or session", lambda s, t: in_anothers_header(s, t, session_id=None)),
    "a login at another bridge": ("BAD_POSSESSION", lambda s, t: of_a_login(s, t, bridge=bytes(32))),
    "a login with another token": ("BAD_POSSESSION", lambda s, t: of_a_login(s, t, token_sha256=bytes([1] * 32))),
    "a login with half a nonce": ("LOGIN_PROOF", lambda s, t: of_a_login(s, t, nonce=bytes(8))),
    "a login of a program": ("does not speak for", lambda s, t: of_a_login(s, t, "bot")),
    "after its session": ("was not open", after_its_session),
    "past its life": ("time is over", over),
    "a version that was never reached": ("chain", lambda _, told: {**told, "version": told["n"] + 1}),
    "the last version, with another link": ("chain", lambda _, told: {**told, "version": told["n"]}),
}


@pytest.mark.parametrize(("why", "lie"), LIES.values(), ids=LIES.keys())
def test_a_lie_about_a_value_is_refused(staged: Scene, why: str, lie: Callable[[Scene, Told], Told]) -> None:
    """Each by the same error, which says what does not fit."""
    with pytest.raises(VaultForgedError, match=f"VAULT_FORGED: .*{why}"):
        staged.read(lambda told: lie(staged, told))


def test_another_sessions_memory_is_not_ones_own(staged: Scene) -> None:
    """What carol wrote for herself is genuine, and no answer to the agent's question."""
    theirs = staged.told(scope="session", by=staged.carol)
    shown = {name: theirs[name] for name in ("value", "author", "version", "written", "opened", "before")}
    with pytest.raises(VaultForgedError, match="another session has written"):
        staged.read(lambda told: {**told, **shown}, scope="session")
    with pytest.raises(VaultForgedError, match="opening of the writer's session: "):
        staged.read(lambda told: {**told, "opened": {**told["opened"], "event": "00"}}, scope="session")


@pytest.mark.parametrize(
    ("ms", "believed"),
    [(-310_000, True), (-310_001, False), (HOUR_MS + 310_000, True), (HOUR_MS + 310_001, False)],
)
def test_a_session_speaks_in_its_own_time(staged: Scene, ms: int, believed: bool) -> None:
    """As far as clocks and the way to the log may differ: no event of an honest log is refused for it."""
    told = staged.told()
    opened: Event = codec.decode_as(Event, bytes.fromhex(told["opened"]["event"]))
    body = ContextWritten(scope="team", key="limit", value="5")
    written = staged.signed(body, staged.carol, issued_at=opened.header.issued_at + ms)
    lie = {"value": 5, "written": written}
    if believed:
        assert staged.read(lambda told: {**told, **lie}).value == 5
    else:
        with pytest.raises(VaultForgedError, match="was not open"):
            staged.read(lambda told: {**told, **lie})


@pytest.mark.parametrize(("left", "believed"), [(1, True), (0, False)])
def test_a_value_is_believed_as_long_as_it_may_live(staged: Scene, left: int, believed: bool) -> None:
    """From when it can have been on the log at the latest."""
    issued = staged.world.now - 1000
    body = ContextWritten(scope="team", key="limit", value="5", ttl_ms=2000)
    lie = {
        "value": 5,
        "written": staged.signed(body, staged.carol, issued_at=issued - limits.ISSUED_BEHIND_MS_MAX - 1000 + left),
    }
    if believed:
        assert staged.read(lambda told: {**told, **lie}).value == 5
    else:
        with pytest.raises(VaultForgedError, match="time is over"):
            staged.read(lambda told: {**told, **lie})


def mutated(told: Any, path: list[int], value: object) -> Any:
    """Return a reply with one member, somewhere inside, replaced; texts of hex have one digit changed instead."""
    if isinstance(told, dict) and told and path:
        name = sorted(told)[path[0] % len(told)]
        return {**told, name: mutated(told[name], path[1:], value)}
    if isinstance(told, str) and len(told) > 8 and path:
        at = path[0] % len(told)
        return told[:at] + ("0" if told[at] != "0" else "1") + told[at + 1 :]
    return value


@given(
    path=st.lists(st.integers(0, 2000), min_size=1, max_size=4),
    value=st.one_of(st.none(), st.booleans(), st.integers(-1, 2**53), st.text(max_size=9), st.just({}), st.just([])),
    scope=st.sampled_from(["team", "session"]),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_whatever_is_changed_in_a_reply_nothing_untrue_is_believed(
    staged: Scene, path: list[int], value: object, scope: str
) -> None:
    """Either it is refused, or what is believed is what stands there, but for a version that no link contradicts."""
    honest = staged.read(scope=scope)
    try:
        told = staged.read(lambda told: mutated(told, path, value), scope=scope)
    except REFUSALS:
        return
    assert (told.value, told.author) == (honest.value, honest.author) or told.version == 0
