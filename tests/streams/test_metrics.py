"""Metrics: what a scraper gets, that it agrees with the log, and that dashboards and alerts name what exists."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from producers.tools.host import HostTally
from schemas.words import Outcome
from streams.archive.process import ArchiveState
from streams.meters import LABELS_MAX, OTHER, Durations, Tally
from streams.metrics import families as of
from streams.metrics.archive import readings_of_archives
from streams.metrics.exposition import Exposition
from streams.metrics.families import COUNTER, FAMILIES, HISTOGRAM, Reading
from streams.metrics.host import readings_of_host
from streams.metrics.serving import metrics_served
from streams.metrics.views import readings_of_views
from streams.metrics.worker import readings_of_worker
from streams.views.progress import Progress
from streams.worker.monitor import MonitoredTenant, build_fold
from streams.worker.signing.decision_keys import DecisionKeys
from tests.waiting import wait_until

DOCS = Path(__file__).parents[2] / "docs"
OPERATIONS = DOCS / "operations"
OF_THE_PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def scraped(readings: list[Reading]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, _ = Exposition(lambda: readings).encode("")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_a_tally_is_bounded() -> None:
    tally = Tally()
    for number in range(2 * LABELS_MAX):
        tally.add(1, str(number))
    counts = dict(tally.items())
    assert len(counts) == LABELS_MAX + 1
    assert counts[OTHER,] == LABELS_MAX
    assert sum(counts.values()) == 2 * LABELS_MAX


def test_durations_are_cumulative() -> None:
    durations = Durations((0.1, 1.0))
    for seconds in (0.1, 0.5, 7.0):
        durations.note(seconds)
    assert durations.cumulative() == [("0.1", 1), ("1.0", 2), ("+Inf", 3)]
    assert durations.sum == pytest.approx(7.6)


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_every_kind_of_metric_is_told(accept: str) -> None:
    hours = Durations()
    hours.note(0.2)
    readings = [
        Reading(of.EXECUTED, ("acme", "bank"), 3),
        Reading(of.LAG, ("acme",), 7),
        Reading(of.COMMIT_SECONDS, ("acme",), (hours.cumulative(), hours.sum)),
    ]
    body, media_type = Exposition(lambda: readings).encode(accept)
    text = body.decode()
    assert ("openmetrics" in media_type) == bool(accept)
    assert 'macaw_host_executed_total{app="bank",tenant="acme"} 3.0' in text
    assert 'macaw_lag_records{tenant="acme"} 7.0' in text
    assert 'macaw_commit_seconds_count{tenant="acme"} 1.0' in text
    assert "process_resident_memory_bytes" in text


@pytest.mark.parametrize("version", ["x", "1.x", "", "-1", "9" * 5000, "1.0.0;escaping=none", "1.0.0\u00e9"])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_a_scraper_that_asks_for_no_known_version_gets_an_answer(kind: str, version: str) -> None:
    body, _ = Exposition(lambda: [Reading(of.LAG, ("acme",), 7)]).encode(f"{kind};version={version}")
    assert b'macaw_lag_records{tenant="acme"} 7.0' in body


def test_text_of_others_in_a_label_stays_one_label() -> None:
    hostile = 'x"} 1\nmacaw_lag_records{tenant="acme"} 99 \\'
    samples = scraped([Reading(of.HOST_REFUSED, ("acme", "bank", hostile), 1)])
    assert samples["macaw_host_refused_total", (("app", "bank"), ("tenant", "acme"), ("why", hostile))] == 1
    assert not any(name == "macaw_lag_records" for name, _ in samples)


def test_a_worker_tells_counts_state_and_pauses() -> None:
    fold = build_fold(MonitoredTenant("acme", "test", bytes(32), DecisionKeys(lambda: ()), bytes(32)))
    fold.meters.decisions.add(2, Outcome.DENIED, "NO_POLICY")
    fold.tables.limits = replace(fold.tables.limits, sessions=10)

    class Worker:
        meters: ClassVar = {"acme": fold.meters}
        folds: ClassVar = {"macaw.acme.intake": fold}
        paused: ClassVar = {
            "macaw.held.intake": "CLOCK_AHEAD: the broker's time",
            "macaw.torn.intake": "3 transactions failed in a row: x",
        }

        def lags(self) -> dict[str, int]:
            return {"macaw.acme.intake": 5}

    samples = scraped(list(readings_of_worker(Worker())))
    labels = (("outcome", "denied"), ("reason", "NO_POLICY"), ("tenant", "acme"))
    assert samples["macaw_decisions_total", labels] == 2
    assert samples["macaw_lag_records", (("tenant", "acme"),)] == 5
    assert samples["macaw_partition_paused", (("code", "CLOCK_AHEAD"), ("tenant", "held"))] == 1
    assert samples["macaw_partition_paused", (("code", "TRANSACTIONS_FAILED"), ("tenant", "torn"))] == 1
    assert samples["macaw_limit_used_ratio", (("limit", "sessions"), ("tenant", "acme"))] == 0
    assert samples["macaw_state_rows", (("table", "vault"), ("tenant", "acme"))] == 0


def test_hosts_archives_and_views_tell_their_state() -> None:
    tally = HostTally(executed=2, redelivered=1, refused={"too late": 4})
    states = [ArchiveState("acme", 12, 3.5, 0), ArchiveState("new", None, 1.0, 2)]

    class Archives:
        def states(self) -> list[ArchiveState]:
            return states

    told = [
        *readings_of_host("acme", "bank", tally),
        *readings_of_archives(Archives()),  # type: ignore[arg-type]
        *readings_of_views(Progress()),
    ]
    samples = scraped(told)
    assert samples["macaw_host_refused_total", (("app", "bank"), ("tenant", "acme"), ("why", "too late"))] == 4
    assert samples["macaw_archive_next_index", (("tenant", "acme"),)] == 12
    assert ("macaw_archive_next_index", (("tenant", "new"),)) not in samples
    assert samples["macaw_archive_failures", (("tenant", "new"),)] == 2
    assert samples["macaw_views_ready", ()] == 0


def test_the_tables_of_families_hold() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert (family.kind == COUNTER) == family.name.endswith("_total"), family.name
        assert family.name.startswith("macaw_")
        assert family.help.endswith("."), family.name


def named_in(expression: str) -> set[str]:
    """Return the metrics that a PromQL expression names."""
    return set(re.findall(r"\b(?:macaw|process)_\w+", re.sub(r'"[^"]*"|by \([^)]*\)', "", expression)))


def known() -> set[str]:
    made = {family.name for family in FAMILIES if family.kind != HISTOGRAM} | OF_THE_PROCESS
    return made | {f"{f.name}_{part}" for f in FAMILIES if f.kind == HISTOGRAM for part in ("bucket", "sum", "count")}


def test_each_panel_names_metrics_and_labels_that_exist() -> None:
    board = json.loads((OPERATIONS / "grafana.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(expressions) > 20
    assert all(named_in(one) for one in expressions)
    assert set().union(*map(named_in, expressions)) <= known()
    labels = {label for family in FAMILIES for label in family.labels} | {"le", "process", "job"}
    for one in expressions:
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", one) for label in group.split(", ")}
        assert grouped | set(re.findall(r'(\w+)=~?"', one)) <= labels, one


def test_each_alert_names_metrics_that_exist_and_a_first_step() -> None:
    [group] = yaml.safe_load((OPERATIONS / "alerts.yml").read_text("utf-8"))["groups"]
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in (DOCS / "incidents.md").read_text("utf-8").splitlines()
        if line.startswith("#")
    }
    used = set()
    for rule in group["rules"]:
        assert named_in(rule["expr"]) <= known(), rule["alert"]
        used |= named_in(rule["expr"])
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/incidents.md"
        assert anchor in headings, rule["alert"]
    assert len(used) >= 12


def test_a_process_tells_where_its_metrics_are_and_wants_its_token(tmp_path: Path) -> None:
    token = "t" * 43
    (tmp_path / "metrics.token").write_text(token)
    (tmp_path / "metrics.token").chmod(0o600)
    found = tmp_path / "metrics" / "bridge.json"

    with metrics_served(tmp_path, "bridge", lambda: [Reading(of.LAG, ("acme",), 7)]):
        wait_until(found.exists)
        [group] = json.loads(found.read_text())
        url = f"http://{group['targets'][0]}/metrics"
        told = httpx.get(url, headers={"Authorization": f"Bearer {token}"})
        assert group["labels"] == {"process": "bridge"}
        assert 'macaw_lag_records{tenant="acme"} 7.0' in told.text
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": "Bearer " + "u" * 43}).status_code == 401

    assert not found.exists()
    assert not any(thread.name == "metrics" for thread in threading.enumerate())


def test_no_name_of_a_process_leads_out_of_the_folder(tmp_path: Path) -> None:
    """A tool host's file has the name of its principal."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "metrics.token").write_text("t" * 43)
    (home / "metrics" / "tool-acme-").mkdir(parents=True)
    with metrics_served(home, "tool-acme-/../../../outside", list):
        wait_until(lambda: list((home / "metrics").glob("*.json")) != [])
    assert [one.name for one in tmp_path.iterdir()] == ["home"]


def test_metrics_that_move_while_they_are_read_are_refused_and_the_next_scrape_is_answered(tmp_path: Path) -> None:
    (tmp_path / "metrics.token").write_text("t" * 43)
    (tmp_path / "metrics.token").chmod(0o600)
    moves = iter([True, False])

    def read() -> list[Reading]:
        if next(moves):
            raise RuntimeError("dictionary changed size during iteration")
        return []

    with metrics_served(tmp_path, "views", read):
        wait_until((tmp_path / "metrics" / "views.json").exists)
        [group] = json.loads((tmp_path / "metrics" / "views.json").read_text())
        ask = {"Authorization": "Bearer " + "t" * 43}
        first = httpx.get(f"http://{group['targets'][0]}/metrics", headers=ask)
        assert (first.status_code, first.json()["code"]) == (503, "METRICS_MOVED")
        assert httpx.get(f"http://{group['targets'][0]}/metrics", headers=ask).status_code == 200
