"""Write the tables of the documentation from the code: `python docs/tables.py`; with `--check` only compare."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from processors.identity.tokens.reasons import KeyReason, TokenReason
from processors.intake.authority import MAY_REGISTER, MAY_SIGN
from processors.state.bounds import ROOMS, SETTABLE, TIERS, TenantLimits, span_of
from processors.state.settings import SETTINGS
from processors.state.table import Room
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason, ReasonCode
from schemas.topics import OPS_TOPICS, TENANT_TOPICS, Topic, insync_replicas_min
from streams.bridge.reasons import FetchReason
from streams.cluster.access import ResourceKind, rules
from streams.metrics.families import FAMILIES

HERE = Path(__file__).parent


def reasons() -> str:
    """Return the page of reason codes."""
    return (
        "# Reason codes\n\nMade from `schemas/reasons.py`. Codes are stable. Publishing a policy adds the `E_…` codes of the policy\n"
        f"language (`processors/policy/errors.py`).\n\n| code | what is wrong | what to do next |\n|---|---|---|\n{_rows(Reason)}\n"
    )


def identity() -> str:
    """Return the page of identity providers: its own text, and the tables of codes at its end."""
    text, _, _ = (HERE / "identity.md").read_text("utf-8").partition("| code of a token |")
    tables = (
        f"| code of {subject} | what is wrong | what to do next |\n|---|---|---|\n{_rows(codes)}\n"
        for subject, codes in (("a token", TokenReason), ("a key or key set", KeyReason), ("a fetch", FetchReason))
    )
    return text + "\n".join(tables)


def _rows(codes: Iterable[ReasonCode]) -> str:
    return "\n".join(f"| `{one}` | {one.meaning} | {one.step} |" for one in codes)


def topics() -> str:
    """Return the page of topics, their writers and readers, and the other things on Kafka that have an owner."""
    rows = "\n".join(
        f"| `{t.of('<tenant>')}` | {t.holds} | {t.partitions} | {t.cleanup} | "
        f"{_kept(t)} | "
        f"{'LogAppendTime' if t.append_time else 'CreateTime'} | {t.message_bytes_max} | "
        f"{'never' if t.uncompressed else 'as sent'} | "
        f"{', '.join(t.writers)} | {', '.join(t.readers)} |"
        for t in (*TENANT_TOPICS, *OPS_TOPICS)
    )
    head = (
        "| topic | holds | partitions | cleanup | kept | time | message bytes | compressed | written by | read by |\n"
        "|---|---|---:|---|---|---|---:|---|---|---|"
    )
    insync = ", ".join(f"{insync_replicas_min(n)} of {n}" for n in (1, 2, 3, 5))
    others = "\n".join(
        f"| `{pattern}` | {operation} | {', '.join(roles)} |" for (pattern, operation), roles in _by_pattern().items()
    )
    return (
        "# Topics\n\nMade from `schemas/topics.py`; `macaw topic plan` prints the same for a cluster, `apply` makes it so, `check` shows\n"
        f"where it differs.\n\n{head}\n{rows}\n\n"
        f"Replicas are the deployment's choice (`macaw tenant create --replication 3`). A write is acknowledged by a majority of them ({insync}).\n"
        "Once a tenant has [an archive](archive.md), its intake is kept until `macaw archive trim` deletes from it, and `macaw topic plan` fails\n"
        "(`RETENTION_BELOW_ARCHIVE`) where the brokers delete by themselves.\n"
        "No topic is bounded by size, and no replica that lags becomes leader, whatever the cluster's defaults are.\n"
        "Intake, bodies and the topics of logins are `compression.type=uncompressed`: Kafka then measures what a record really holds before it takes it, and inflates\n"
        "it in its own memory. So bound what one sender can ask of a broker: `socket.request.max.bytes=8388608` (no record of ours needs\n"
        "more), a heap of 1 GB or more, and a quota for each user that may write to an intake: `kafka-configs.sh --alter\n"
        "--entity-type users --entity-name shopper --add-config producer_byte_rate=1048576,request_percentage=50`.\n\n"
        "To write is Kafka's `WRITE`, to read its `READ`, each on that very name. Beside topics ([0010](adr/0010-access-rules.md)):\n\n"
        f"| group, transactional id, cluster; `*`: all that begin so | operation | roles |\n|---|---|---|\n{others}\n"
    )


def _kept(topic: Topic) -> str:
    days = "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms // 86_400_000} days"
    return f"{days}; beside an archive for ever" if topic.kept_with_archive else days


def _by_pattern() -> dict[tuple[str, str], list[str]]:
    """Return the roles of each access rule that is not about a single topic."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in rules("<tenant>", ["<id>"]):
        if rule.pattern.kind is not ResourceKind.TOPIC or rule.pattern.prefixed:
            found.setdefault((str(rule.pattern), rule.operation), []).append(rule.role.partition(":")[0])
    return found


def authority() -> str:
    """Return the page of the roles that may sign each event and register each role."""
    signs = "\n".join(f"| {body.__name__} | {', '.join(sorted(roles))} |" for body, roles in MAY_SIGN.items())
    registers = "\n".join(f"| {role} | {', '.join(sorted(by))} |" for role, by in MAY_REGISTER.items())
    return (
        "# Who may sign what\n\nMade from `processors/intake/authority.py`; section 3 of [wire.md](wire.md) narrows each row further.\n\n"
        f"| event | signed by keys of role |\n|---|---|\n{signs}\n\n"
        f"| registered role | by keys of role |\n|---|---|\n{registers}\n"
    )


# For each table: the payer of a row, and the time until which the row counts. A table that is missing is an error.
PAYS = {
    "keys": ("the principal, for its key", "until it is revoked or expires; then it is kept, and counts for no share"),
    "resources": ("the tool that offers it", "for ever: no other tool inherits a name"),
    "idempotency": ("the caller", "a day after the call"),
    "offers": ("the principal of the session that offers", "the session's end"),
    "sessions": (
        "the principal of the session",
        "its end, then 370 s in which its last events may come, then until no row names it",
    ),
    "persons": (
        "the provider of the person's newest session; of a person of a file the bridge",
        "400 days after the login, or the bridge's end",
    ),
    "calls": ("the caller; the tool is a guest", "the report, or the time-out"),
    "buckets": ("the caller", "the next whole minute in which the rate is at rest"),
    "cells": ("the caller", "the end of the window, or of the session if it counts for one; else for ever"),
    "prompts": ("the caller", "the session's end"),
    "heard": (
        "the caller whose call brought the text, or who said it",
        "the end that the session could have had; of a program's session at least a day after the text came",
    ),
    "judged": (
        "the caller",
        "ten minutes after the result; passed, until its verdict ends, and no longer than `heard`",
    ),
    "attestations": (
        "a tool's: its caller, the tool as a guest; a bridge's: the principal of the session; else the attester",
        "its own life, at most the session's end",
    ),
    "requests": ("the requester; closed ones have shares of their own", "the answer or the deadline, then an hour"),
    "pending": ("the requester", "the final decision"),
    "grants": ("the requester", "its life, or a day after it was used up or revoked"),
    "delegations": ("the delegator", "its end, or an hour after it was revoked"),
    "scopes": ("its first writer", "a session's own scope: the session's end; a shared one: for ever"),
    "vault": (
        "its last writer",
        "its own life, or until it is deleted; in a session's own scope at most the session's end",
    ),
}
# Without an administrator's rights, a row of these tables comes only together with a row above.
PAYS_NOT = frozenset(
    {
        "tenant",
        "engine_data",
        "providers",
        "policies",
        "catalogues",
        "enforcement",
        "principals",
        "sequences",
        "work",
        "rulings",
        "presence",
        "verifiers",
    }
)  # an admin's, or one a principal, key or offer


def settable() -> str:
    """Return the table of the limits that a tenant's administrators set, with their spans."""
    system = TenantLimits()
    if unused := set(SETTABLE) - {name for names in ROOMS.values() for name in names} - {"policies"}:
        raise ValueError(f"docs/tables.py: these limits bound no table: {sorted(unused)}")
    rows = "\n".join(
        f"| `{name}` | {span.floor:,} | {span.standard:,} | {span.cap:,} | "
        f"{', '.join(table for table, names in ROOMS.items() if name in names) or 'policies, without those of the organisation'} |"
        for name, span in ((name, span_of(system, name)) for name in SETTABLE)
    )
    tiers = ", ".join(
        f"`{tier}` {times}/{part}" if part > 1 else f"`{tier}` {times}" for tier, (times, part) in TIERS.items()
    )
    return (
        "\n## Limits that a tenant sets\n\n"
        "An administrator sets them with `macaw tenant limits` ([tenants.md](tenants.md)), between a floor and a cap. The cap bounds the memory of the operator's workers: an\n"
        "engine has it, and no tenant goes above it. A tier is all of them together, as parts of the standard: "
        f"{tiers}.\n"
        "Nothing is dropped where a limit is lowered below its contents: no row is added and none grows until it fits.\n\n"
        f"| limit, in rows or bytes | floor | standard | cap | table |\n|---|---:|---:|---:|---|\n{rows}\n"
    )


def settings() -> str:
    """Return the table of the settings that a tenant's administrators set."""
    rows = "\n".join(
        f"| `{name}` | {', '.join(f'`{value}`' for value in values)} | `{values[0]}` |"
        for name, values in SETTINGS.items()
    )
    return (
        "\n## Settings that a tenant sets\n\n"
        "From engine 2 on an administrator sets them as the limits, with the same event. One that has its default is not kept.\n\n"
        f"| setting | values | default |\n|---|---|---|\n{rows}\n"
    )


def payers() -> str:
    """Return the table of payers."""
    tables = Tables(tenant="", deployment="", genesis=b"").by_name
    if set(tables) - PAYS_NOT != set(PAYS):
        raise ValueError(
            f"docs/tables.py: add to PAYS or PAYS_NOT, or remove: {sorted(set(tables) - PAYS_NOT ^ set(PAYS))}"
        )
    rows = "\n".join(
        f"| {name} | {who} | {until} | {_most(tables[name].room, 1)} | {_most(tables[name].room, limits.SHARE_PART)} | "
        f"{_most(tables[name].room, limits.SHARE_PART * limits.WITHIN_PART)} |"
        for name, (who, until) in PAYS.items()
    )
    return (
        "\n## Who pays for which row\n\n"
        "A row names its *holder*, the principal that acts. For a call on behalf of a person the holder is the person at the root of the\n"
        "delegation, and the delegate that the person chose is a *guest*, also for those to which it delegates further. The holder's *sponsor*\n"
        "is the key that vouches for it: the enrolment key that registered it, the identity\n"
        "provider of a login, or the bridge that opened a session for a person of a file. A holder that an\n"
        "administrator registered has no sponsor. A sponsor, or a holder without one, has a quarter of a table; a holder with a sponsor has a\n"
        "quarter of that; a guest has a quarter of the shares in which it acts, and of the table. Above its share a row is `LIMIT_EXCEEDED`.\n\n"
        "| table | payer | until | whole | a quarter | a quarter of that |\n|---|---|---|---:|---:|---:|\n"
        f"{rows}\n\n"
        "A session that is closed or revoked frees its rows, 64 with each record. Revoking a principal ends its sessions and delegations, and frees\n"
        "its keys. Its values in shared scopes of the vault stay until another session deletes them. The counts of sequence rules without a\n"
        "window stay too: a name that is registered again begins with its old counts. An enrolment key registers at most `count_max` keys, and\n"
        "`ENROLLED_BYTES_MAX` bytes, in all its life. After that (`ENROLMENT_EXCEEDED`) an administrator registers a further enrolment key\n"
        "under the same name (`macaw tenant renew-enrolment`); it may add keys to the principals that the first has registered.\n"
    )


def _most(room: Room, part: int) -> str:
    said = [f"{room.rows // part:,}"] if room.rows < limits.FOR_EVER_MS else []
    said += [f"{room.size // part // 1024:,} KiB"] if room.size < limits.FOR_EVER_MS else []
    return ", ".join(said)


def bounds() -> str:
    """Return the page of limits, with the comment beside each as its reason."""
    source = Path(limits.__file__).read_text("utf-8")
    rows = []
    for line in source.splitlines():
        found = re.fullmatch(r"([A-Z_]+) = [^#]*(?:# (.*))?", line)
        if found:
            rows.append(f"| `{found[1]}` | {getattr(limits, found[1])} | {found[2] or ''} |")
    return (
        "# Limits\n\nMade from `schemas/limits.py`.\n\n| name, with its unit | value | why |\n|---|---:|---|\n"
        + "\n".join(rows)
        + "\n"
        + settable()
        + settings()
        + payers()
    )


def metrics() -> str:
    """Return the page of metrics: its own text, and the table of families at its end."""
    text, _, _ = (HERE / "metrics.md").read_text("utf-8").partition("| metric |")
    rows = "\n".join(
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels) or 'none'} | {one.help} |"
        for one in FAMILIES
    )
    return text + f"| metric | kind | labels | meaning |\n|---|---|---|---|\n{rows}\n"


PAGES = {
    "metrics.md": metrics,
    "reasons.md": reasons,
    "identity.md": identity,
    "topics.md": topics,
    "authority.md": authority,
    "limits.md": bounds,
}


def main() -> int:
    """Write every page, or with `--check` say which is stale and return 1."""
    stale = [name for name, make in PAGES.items() if not _same(HERE / name, make())]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/{name} is stale: run `make docs`")
        return 1 if stale else 0
    for name in stale:
        (HERE / name).write_text(PAGES[name](), "utf-8")
    return 0


def _same(path: Path, content: str) -> bool:
    return path.exists() and path.read_text("utf-8") == content


if __name__ == "__main__":
    sys.exit(main())
