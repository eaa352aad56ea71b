"""Every metric that a process of this project tells, in one table: dashboards, alerts and pages name no other.

Labels have closed or bounded values: tenants, tools and processes of one installation, and words and reason codes of
`schemas`. No label names a person, a session, a resource of a call or anything that an agent chose.
"""

from __future__ import annotations

from typing import NamedTuple

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


class Family(NamedTuple):
    """One metric: its name as Prometheus has it, its kind, its labels, and its sentence."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


class Reading(NamedTuple):
    """The values of one metric for one set of labels. `value` is a number, or (bounds with counts, sum in seconds)."""

    family: Family
    labels: tuple[str, ...]
    value: float | tuple[list[tuple[str, int]], float]


# fmt: off
# The worker of the trust path
RECORDS = Family("macaw_records_total", COUNTER, ("tenant", "kind", "outcome", "reason"),
    "Records of intake whose entry in the audit log is committed.")
DECISIONS = Family("macaw_decisions_total", COUNTER, ("tenant", "outcome", "reason"),
    "Committed decisions on calls; a call that waits for people has one when it begins to wait and one at its end.")
OBSERVED = Family("macaw_observed_total", COUNTER, ("tenant", "reason"),
    "Calls that were allowed in observe mode, by the reason for which enforcement would have denied them.")
ABORTS = Family("macaw_transaction_aborts_total", COUNTER, ("tenant",),
    "Transactions that were aborted; their records were folded again.")
FOLD_SECONDS = Family("macaw_fold_seconds", HISTOGRAM, ("tenant",), "The time to decide the records of a transaction.")
COMMIT_SECONDS = Family("macaw_commit_seconds", HISTOGRAM, ("tenant",),
    "The time from the beginning of a transaction to its commit.")
DELAY_SECONDS = Family("macaw_decision_delay_seconds", HISTOGRAM, ("tenant",),
    "The time from the broker's time of a transaction's oldest record to its commit; by two clocks.")
LAG = Family("macaw_lag_records", GAUGE, ("tenant",), "Records of intake that are not folded yet.")
PAUSED = Family("macaw_partition_paused", GAUGE, ("tenant", "code"), "1 for a tenant that this worker has paused.")
FAULTS = Family("macaw_rule_faults", GAUGE, ("tenant",),
    "Rules that broke since the partition was taken over: each is a defect to report.")
ROWS = Family("macaw_state_rows", GAUGE, ("tenant", "table"), "Rows of a table of state.")
ROW_BYTES = Family("macaw_state_bytes", GAUGE, ("tenant", "table"),
    "About how many bytes the rows of a table take, where its bound is in bytes.")
LIMIT_USED = Family("macaw_limit_used_ratio", GAUGE, ("tenant", "limit"), "Used share of a tenant's limit, 0 to 1.")
FROZEN = Family("macaw_enforcement_exceptions", GAUGE, ("tenant", "kind"),
    "Exceptions from enforcement in force: observe, freeze, break-glass.")
AUDIT_INDEX = Family("macaw_audit_next_index", GAUGE, ("tenant",), "The index of the next entry of the audit log.")
# The host of tools
EXECUTED = Family("macaw_host_executed_total", COUNTER, ("tenant", "app"), "Calls that this tool host executed.")
REDELIVERED = Family("macaw_host_redelivered_total", COUNTER, ("tenant", "app"),
    "Decisions that this tool host had seen before and did not execute again.")
HOST_REFUSED = Family("macaw_host_refused_total", COUNTER, ("tenant", "app", "why"),
    "Decisions that this tool host refused to execute.")
# The bridge of identity providers
LOGINS = Family("macaw_bridge_logins_total", COUNTER, ("tenant", "outcome", "reason"),
    "Logins that the bridge answered.")
LOGINS_WAITING = Family("macaw_bridge_logins_waiting", GAUGE, ("tenant",), "Logins without an answer yet.")
BRIDGE_UP = Family("macaw_bridge_serving", GAUGE, ("tenant",), "1 while the logins of the tenant are served.")
# The archive
ARCHIVED = Family("macaw_archive_next_index", GAUGE, ("tenant",), "The index behind the last archived audit entry.")
ARCHIVE_AGE = Family("macaw_archive_age_seconds", GAUGE, ("tenant",),
    "The time since the archive was last known to hold the whole log.")
ARCHIVE_FAILURES = Family("macaw_archive_failures", GAUGE, ("tenant",),
    "Attempts in a row that failed; 0 for an archive that goes on.")
# The views
VIEWS_AGE = Family("macaw_views_age_seconds", GAUGE, (), "The age of the time up to which the views are complete.")
VIEWS_READY = Family("macaw_views_ready", GAUGE, (), "1 while the views may be shown.")
VIEWS_POISON = Family("macaw_views_poison_total", COUNTER, (), "Records of the views' feed that could not be read.")
# fmt: on

FAMILIES: tuple[Family, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Family))
