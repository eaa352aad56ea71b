"""A rule file is tried on a recorded log: the calls that it would have denied, without writing anything."""

from __future__ import annotations

from macaw.policies.history import History, Recorded
from macaw.policies.simulation import TriedRules, simulate
from processors.calls.verifiers.catalogue_rules import digest_of
from schemas.events.catalogues import CataloguePublished, CatalogueRule, CatalogueWithdrawn
from schemas.events.tenancy import LimitsSet, TenantSetting
from schemas.rows import CatalogueRow
from tests.engines import NEWEST
from tests.world import Office

RULES = (CatalogueRule(id="acme", kind="token", pattern="ACME-[0-9]{8}"),)
OTHER = (CatalogueRule(id="xyz", kind="token", pattern="XYZ-[0-9]+"),)
ROW = CatalogueRow(verifier="secrets", rules=RULES, digest=digest_of("own", "secrets", RULES), since=0)
DENY = {"verifiers.secrets": "deny"}


def history_of(office: Office) -> History:
    world = office.world
    tables = world.fresh_tables()
    records = iter([Recorded(one) for one in world.records])
    return History(tables.tenant_id, tables.deployment, tables.genesis, records)


def flips(office: Office, **tried: object) -> list[tuple[str, str]]:
    found = simulate(history_of(office), [], (), TriedRules(**tried))  # type: ignore[arg-type]
    return [(one.before[0], one.after[1]) for one in found.flips]


def busy() -> Office:
    office = Office.opened(**NEWEST)
    for text in ("use ACME-12345678", "nothing here", "and ACME-87654321 too"):
        office.call({"text": text})
    return office


def test_the_calls_that_a_rule_file_would_have_denied_flip() -> None:
    office = busy()
    before = office.world.tables.prev
    assert flips(office, catalogues={"own": ROW}, settings=DENY) == [("allowed", "SECRET_FOUND")] * 2
    assert office.world.tables.prev == before
    assert not office.world.tables.catalogues.rows


def test_without_the_setting_the_logs_own_counts() -> None:
    office = busy()
    assert flips(office, catalogues={"own": ROW}) == []
    deny = LimitsSet(limits=(), settings=(TenantSetting(name="verifiers.secrets", value="deny"),))
    office.world.send(deny, office.world.admin)
    office.call({"text": "use ACME-11111111"})
    assert flips(office, catalogues={"own": ROW}) == [("allowed", "SECRET_FOUND")]


def test_a_setting_that_the_log_changes_keeps_the_tried_value() -> None:
    office = busy()
    off = LimitsSet(limits=(), settings=(TenantSetting(name="verifiers.secrets", value="off"),))
    office.world.send(off, office.world.admin)
    office.call({"text": "use ACME-11111111"})
    assert flips(office, catalogues={"own": ROW}, settings=DENY) == [("allowed", "SECRET_FOUND")] * 3


def test_the_logs_own_publications_under_the_name_are_no_conflict() -> None:
    """The tried rules stand in the place of the recorded ones, which still follow one another."""
    office = busy()
    world = office.world

    def send(body: object) -> None:
        assert world.send(body, world.admin).says == ("accepted", "")  # type: ignore[arg-type]

    send(LimitsSet(limits=(), settings=(TenantSetting(name="verifiers.secrets", value="deny"),)))
    send(CataloguePublished(name="own", verifier="secrets", rules=OTHER, reason="first"))
    office.call({"text": "XYZ-1"})
    office.call({"text": "ACME-12345678"})
    send(CatalogueWithdrawn(name="own", previous=digest_of("own", "secrets", OTHER)))
    office.call({"text": "ACME-12345678"})
    found = simulate(history_of(office), [], (), TriedRules({"own": ROW}, {}))
    assert [(one.before[:2], one.after[:2]) for one in found.flips] == [
        (("denied", "SECRET_FOUND"), ("allowed", "")),
        (("allowed", ""), ("denied", "SECRET_FOUND")),
        (("allowed", ""), ("denied", "SECRET_FOUND")),
    ]


def test_a_log_of_the_first_engine_has_no_verifiers_that_could_deny() -> None:
    office = Office.opened()
    office.call({"text": "use ACME-12345678"})
    assert flips(office, catalogues={"own": ROW}, settings=DENY) == []
