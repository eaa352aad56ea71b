"""A seeded round of each fault on Apache Kafka with real processes; `make soak` plays hundreds."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from streams.local.kafka import KafkaBroker
from tests.streams.fault_tally import Tally
from tests.streams.faults import AROUND_COMMIT, ROUNDS, play
from tests.streams.faults_broker import SETTINGS
from tests.streams.soak import JOBS, plan

pytestmark = [
    pytest.mark.broker,
    pytest.mark.real_broker("groups, generations, fencing and transaction timeouts are Apache Kafka's"),
]

CASES = [(kind, 1) for kind in ROUNDS]
Played = Callable[[str, int], Tally]


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker from jars: it lets sessions be short, and may be restarted."""
    with KafkaBroker(tmp_path_factory.mktemp("faults-broker"), extra=SETTINGS) as broker:
        yield broker


@pytest.fixture(scope="module")
def played(
    own_broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Played]:
    """The rounds of this run, a few at a time: a round waits more than it works."""
    base = tmp_path_factory.mktemp("faults")
    wanted = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    cases = [case for case in CASES if {"kind": case[0], "seed": case[1]} in wanted]
    with ThreadPoolExecutor(JOBS) as pool:
        rounds: dict[tuple[str, int], Future[Tally]] = {
            case: pool.submit(play, *case, own_broker.info, base) for case in cases
        }
        yield lambda kind, seed: rounds[kind, seed].result()
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_no_fault_loses_doubles_forks_or_blocks_anything(played: Played, kind: str, seed: int) -> None:
    """Each record one entry and each call one decision, in a log and a state that an undisturbed worker would leave."""
    tally = played(kind, seed)

    assert tally.is_whole, (tally.plan, tally.said)
    assert tally.records > 0


def test_a_soak_plays_each_kind_and_every_seed_again() -> None:
    """The same seed gives the same rounds; each kind with a broker of its own is played, and rarely."""
    kinds = [*AROUND_COMMIT, "node-restart"]
    cases = plan(kinds, 200, 7)

    assert cases == plan(kinds, 200, 7)
    assert len(cases) == len(set(cases)) == 200
    assert sum(kind == "node-restart" for kind, _ in cases) == 2
    assert {kind for kind, _ in plan(["node-restart"], 3, 7)} == {"node-restart"}
    assert plan(["after-commit"], 1, 17) == [("after-commit", 17)]
