"""The case that `python -m bench.policy` measures, and what it says of engines that are not installed."""

import pytest

from bench import policy as bench
from bench import policy_peers
from bench.policy_peers import Request
from processors.identity.attributes import subject_of
from processors.policy.call import Circumstances
from processors.policy.decide import decide
from processors.policy.index import index_stored

HOUR_MS = 3_600_000
(VALUES,) = bench.parameters(1)
BASE = Request(bench.RESOURCE, VALUES)


def reason(request: Request) -> str:
    """Decide a request of the bench as our documents do."""
    call = Circumstances(now=bench.NOW + (request.hour - BASE.hour) * HOUR_MS)
    index = index_stored(bench.stored(bench.POLICIES))
    ann = subject_of(bench.ATTRIBUTES, "user", "user:ann")
    verdict = decide(index, ann, request.resource, request.parameters, call)
    return verdict.reason or "ALLOWED"


def test_the_call_that_is_measured_is_allowed() -> None:
    assert reason(BASE) == "ALLOWED"


@pytest.mark.parametrize("deviation", list(policy_peers.deviations(BASE)), ids=lambda one: one[0])
def test_the_comparison_shows_only_calls_that_our_documents_refuse(deviation: tuple[str, Request]) -> None:
    """Or the column of a peer that "lets pass" would say nothing."""
    what, request = deviation

    assert reason(request) != "ALLOWED", what
    assert reason(request) not in {"MALFORMED_PARAMETERS", "RESOURCE_INVALID", "INTERNAL_ERROR"}


def test_a_peer_that_is_not_installed_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_peers, "installed", lambda _distribution: None)
    said: list[str] = []

    assert list(policy_peers.peers(said.append)) == []
    assert ["cedarpy" in said[0], "AGT" in said[1], len(said)] == [True, True, 2]
