"""The keeper: tokens are renewed before their end, failures are borne until it, and the end is told once."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from producers.home.process import ForkedError
from producers.identity import KeptLogin, LoginError, ProviderUnavailableError, RemoteIdentityProvider, TokenKeeper
from producers.identity.keeper import PAUSE_SECONDS_MAX, _Shared
from producers.identity.login import Login
from producers.identity.pace import SystemPace
from schemas.errors import MacawError, MisuseError
from tests.identity_login.telling import Answer, FakePace, Told, telling, tokens
from tests.waiting import PATIENCE_SECONDS

AWAY: Answer = (503, b"")
SECRET = "refresh-token-of-alice"


def renewed(life: float = 300) -> Answer:
    return tokens(refresh_token=SECRET, expires_in=life)


@dataclass
class World:
    """A keeper with a clock of its own, and the times of everything that happens."""

    pace: FakePace = field(default_factory=FakePace)
    chance: float = 0.0
    at: list[float] = field(default_factory=list)
    lost: list[MacawError] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.keeper = TokenKeeper(pace=self.pace, chance=lambda: self.chance)

    def keep(self, told: Told, count: int = 10**6) -> KeptLogin:
        """Keep a login until it was renewed so often."""
        provider = told.provider(pace=self.pace)
        kept: list[KeptLogin] = []
        is_kept = threading.Event()

        def on_token(_: Login) -> None:
            self.at.append(self.pace.now())
            if len(self.at) >= count:
                assert is_kept.wait(PATIENCE_SECONDS)
                kept[0].stop()
                self.over.set()

        kept.append(self.keeper.keep(provider, provider.login("alice", "x"), on_token, self.on_lost))
        is_kept.set()
        return kept[0]

    def on_lost(self, error: MacawError) -> None:
        self.lost.append(error)
        self.lost_at = self.pace.now()
        self.over.set()


@contextlib.contextmanager
def world(**options: float) -> Iterator[World]:
    made = World(**options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.keeper.close()
        assert made.keeper._thread is None  # it has ended, and did not hang


def asked_times(told: Told, pace: FakePace, answer: Answer) -> list[float]:
    """Let the token endpoint answer so after the login, and return the times at which it is asked."""
    times: list[float] = []

    def timed(form: object) -> tuple[int, object]:
        times.append(pace.now())
        return answer(form) if callable(answer) else answer  # type: ignore[arg-type]

    told.answers["/token"] = [renewed(), timed]
    return times


@pytest.mark.parametrize(("chance", "first"), [(0.0, 1200), (1.0, 1170)])
def test_a_token_is_renewed_at_two_thirds_of_its_life_or_a_tenth_earlier(chance: float, first: float) -> None:
    with telling({"/token": [renewed()]}) as told, world(chance=chance) as w:
        w.keep(told, 3)
        assert w.over.wait(PATIENCE_SECONDS)

    assert w.at == pytest.approx([first, 2 * first - 1000, 3 * first - 2000])
    assert w.lost == []
    assert [form["grant_type"] for form in told.forms("/token")] == ["password"] + ["refresh_token"] * 3


def test_a_provider_that_is_away_is_asked_until_the_token_ends_and_then_the_program_is_told_once() -> None:
    with telling() as told, world() as w:
        times = asked_times(told, w.pace, AWAY)
        kept = w.keep(told)
        assert w.over.wait(PATIENCE_SECONDS)

    assert times == pytest.approx([1200, 1205, 1215, 1235, 1275])
    assert w.lost_at == pytest.approx(1300)
    assert [type(one) for one in w.lost] == [ProviderUnavailableError]
    assert kept.is_stopped
    assert w.at == []


def test_a_provider_that_comes_back_in_time_is_forgiven() -> None:
    answers: list[Answer] = [renewed(), AWAY, AWAY, renewed(), AWAY, renewed()]
    with telling({"/token": answers}) as told, world() as w:
        w.keep(told, 2)
        assert w.over.wait(PATIENCE_SECONDS)

    assert w.at == pytest.approx([1215, 1420])  # after 5 + 10 seconds, and after 5 again
    assert w.lost == []


def test_a_person_who_has_to_log_in_again_is_told_at_once() -> None:
    with telling({"/token": [renewed(), (400, {"error": "invalid_grant", "error_description": SECRET})]}) as told:
        with world() as w:
            w.keep(told)
            assert w.over.wait(PATIENCE_SECONDS)
        assert len(told.forms("/token")) == 2

    assert isinstance(w.lost[0], LoginError)
    assert SECRET not in str(w.lost)


def test_a_provider_that_is_away_costs_one_request_for_all_its_logins_and_the_others_nothing() -> None:
    """A request may take ten seconds; twenty of them in a row would let tokens of a healthy provider end."""
    with telling() as dead, telling({"/token": [renewed(90)]}) as well, world() as w:
        w.pace.runs.clear()
        times = asked_times(dead, w.pace, AWAY)
        lost = threading.Semaphore(0)
        for _ in range(20):
            dead.answers["/token"].insert(0, renewed())
            provider = dead.provider(pace=w.pace)
            login = provider.login("alice", "x")
            w.keeper.keep(provider, login, lambda _: None, lambda _: lost.release())
        w.keep(well, 5)
        dead.answers["/token"] = dead.answers["/token"][-1:]
        w.pace.runs.set()
        assert w.over.wait(PATIENCE_SECONDS)
        assert all(lost.acquire(timeout=PATIENCE_SECONDS) for _ in range(20))

    assert w.at == pytest.approx([1060, 1120, 1180, 1240, 1300])
    assert times == pytest.approx([1200, 1205, 1215, 1235, 1275], abs=1)


def test_a_machine_that_slept_over_the_end_of_a_token_tries_before_it_gives_up() -> None:
    """The refresh token still counts."""
    with telling({"/token": [renewed()]}) as told, world() as w:
        w.pace.runs.clear()
        w.keep(told, 1)
        w.pace.at += 10_000
        w.pace.runs.set()
        assert w.over.wait(PATIENCE_SECONDS)

    assert w.lost == []


def test_a_token_that_lives_for_no_time_is_renewed_once_a_second_at_most() -> None:
    with telling({"/token": [renewed(0.001)]}) as told, world() as w:
        w.keep(told, 4)
        assert w.over.wait(PATIENCE_SECONDS)

    assert w.at == pytest.approx([1001, 1002, 1003, 1004])


def test_an_error_of_a_callback_is_logged_without_its_text_and_other_logins_are_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(login: Login) -> None:
        raise ValueError(login.access_token)

    with telling({"/token": [renewed()]}) as told, world() as w:
        w.pace.runs.clear()
        provider = told.provider(pace=w.pace)
        failing = w.keeper.keep(provider, provider.login("alice", "x"), fail, w.on_lost)
        w.keep(told, 3)
        w.pace.runs.set()
        assert w.over.wait(PATIENCE_SECONDS)
        assert not failing.is_stopped

    assert "a callback on_token of a kept login raised ValueError" in caplog.text
    assert "an-opaque-token" not in caplog.text


def test_a_login_that_ended_is_lost_and_one_that_was_stopped_is_left_in_peace() -> None:
    with telling({"/token": [renewed()], "/revoke": [(200, b"")]}) as told, world() as w:
        w.pace.runs.clear()
        stopped = w.keep(told)
        stopped.stop()
        ended = w.keep(told)
        told.provider().logout(ended.login)
        w.pace.runs.set()
        assert w.over.wait(PATIENCE_SECONDS)

    assert [getattr(one, "code", None) for one in w.lost] == ["LOGIN_OVER"]
    assert w.at == []
    assert [form["grant_type"] for form in told.forms("/token")] == ["password", "password"]


def test_a_workload_gets_a_new_token_by_its_secret() -> None:
    with telling({"/token": [tokens()]}) as told, world() as w:
        provider = told.provider(client_secret="s", pace=w.pace)
        found = threading.Event()
        kept = w.keeper.keep(provider, provider.client_credentials("read"), lambda _: found.set(), w.on_lost)
        assert found.wait(PATIENCE_SECONDS)
        kept.stop()

    assert {(form["grant_type"], form["scope"]) for form in told.forms("/token")[:1]} == {
        ("client_credentials", "read")
    }


def test_a_login_that_cannot_be_renewed_is_not_taken_and_a_closed_keeper_takes_none() -> None:
    with telling({"/token": [tokens(), renewed()]}) as told, world() as w:
        provider = told.provider()
        with pytest.raises(MisuseError, match="offline_access"):
            w.keeper.keep(provider, provider.login("alice", "x"), print, print)
        w.keeper.close()
        w.keeper.close()
        with pytest.raises(MisuseError, match="closed"):
            w.keeper.keep(provider, provider.login("alice", "x"), print, print)


class Watched(SystemPace):
    """The real clock, which tells when somebody begins to wait."""

    def __init__(self) -> None:
        self.waits = threading.Semaphore(0)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.release()
        return super().wait(event, seconds)


def test_the_real_clock_wakes_the_one_thread_for_a_shorter_life() -> None:
    """The thread sleeps for the long one when the short one comes."""
    seen, pace = threading.Event(), Watched()
    keeper = TokenKeeper(pace=pace)
    with telling({"/token": [renewed(3000), renewed(1.5)]}) as told:
        provider = told.provider()
        keeper.keep(provider, provider.login("alice", "x"), print, print)
        assert pace.waits.acquire(timeout=PATIENCE_SECONDS)
        keeper.keep(provider, provider.login("alice", "x"), lambda _: seen.set(), print)
        names = [one.name for one in threading.enumerate() if one.name == "identity-keeper"]
        assert seen.wait(PATIENCE_SECONDS)
        keeper.close()

    assert names == ["identity-keeper"]


def test_a_process_has_one_shared_keeper_without_a_thread_until_it_keeps() -> None:
    assert TokenKeeper.shared() is TokenKeeper.shared()
    assert TokenKeeper.shared()._thread is None


def in_child(act: Callable[[], object]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, for any process with threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_process_neither_refreshes_nor_keeps_the_logins_of_its_parent() -> None:
    """Two processes with one rotating token would end the login; the child's own keeper works."""
    with telling({"/token": [renewed()]}) as told, world() as w:
        w.pace.runs.clear()
        kept = w.keep(told)
        parents = TokenKeeper.shared()
        other = RemoteIdentityProvider(told.address, client_id="cli")

        def child() -> None:
            for act in (
                lambda: other.refresh(kept.login),
                lambda: other.logout(kept.login),
                lambda: w.keeper.keep(other, kept.login, print, print),
                lambda: TokenKeeper.shared().keep(other, kept.login, print, print),
            ):
                with pytest.raises(ForkedError, match="before a fork"):
                    act()
            w.keeper.close()
            assert TokenKeeper.shared() is not parents
            fresh = threading.Event()
            login = other.resume(SECRET)
            own = TokenKeeper.shared().keep(other, login, lambda _: fresh.set(), print)
            assert not own.is_stopped
            TokenKeeper.shared().close()

        with parents._lock, kept.login.line.lock, _Shared._lock:
            assert in_child(child) == 0
        assert not kept.is_stopped
        kept.stop()
        w.pace.runs.set()


def test_the_longest_pause_is_a_minute() -> None:
    with telling() as told, world() as w:
        told.answers["/token"] = [renewed(3000)]
        kept = w.keep(told)
        times = asked_times(told, w.pace, AWAY)
        told.answers["/token"].pop(0)
        assert w.over.wait(PATIENCE_SECONDS)
        assert kept.is_stopped

    gaps = [later - one for one, later in pairwise(times)]
    assert max(gaps) == pytest.approx(PAUSE_SECONDS_MAX)
