"""Write the tables of the documentation from the code: `python docs/tables.py`; with `--check` only compare."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from processors.authority import MAY_REGISTER, MAY_SIGN
from schemas import limits
from schemas.reasons import EXPLAINED
from schemas.topics import OPS_TOPICS, TENANT_TOPICS, insync_replicas_min
from streams.access import Kind, rules

HERE = Path(__file__).parent


def reasons() -> str:
    """Return the page of reason codes."""
    rows = "\n".join(f"| `{reason}` | {meaning} |" for reason, meaning in EXPLAINED.items())
    return (
        "# Reason codes\n\nMade from `schemas/reasons.py`. Codes are stable. Publishing a policy adds the `E_…` codes of the policy\n"
        f"language (`processors/policy/errors.py`).\n\n| code | meaning |\n|---|---|\n{rows}\n"
    )


def topics() -> str:
    """Return the page of topics, with who may write and read each, and of what else on Kafka has an owner."""
    rows = "\n".join(
        f"| `{t.of('<tenant>')}` | {t.holds} | {t.partitions} | {t.cleanup} | "
        f"{'for ever' if t.retention_ms < 0 else f'{t.retention_ms // 86_400_000} days'} | "
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
        "No topic is bounded by size, and no replica that lags becomes leader, whatever the cluster's defaults are.\n"
        "Intake is `compression.type=uncompressed`: Kafka then measures what a record really holds before it takes it, and inflates\n"
        "it in its own memory. So bound what one sender can ask of a broker: `socket.request.max.bytes=8388608` (no record of ours needs\n"
        "more), a heap of 1 GB or more, and a quota for each user that may write to an intake: `kafka-configs.sh --alter\n"
        "--entity-type users --entity-name shopper --add-config producer_byte_rate=1048576,request_percentage=50`.\n\n"
        "To write is Kafka's `WRITE`, to read its `READ`, each on that very name. Beside topics ([0010](adr/0010-access-rules.md)):\n\n"
        f"| group, transactional id, cluster; `*`: all that begin so | operation | roles |\n|---|---|---|\n{others}\n"
    )


def _by_pattern() -> dict[tuple[str, str], list[str]]:
    """Return the roles by rule, of rules that are not of one topic."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in rules("<tenant>", ["<id>"]):
        if rule.pattern.kind is not Kind.TOPIC or rule.pattern.prefixed:
            found.setdefault((str(rule.pattern), rule.operation), []).append(rule.role.partition(":")[0])
    return found


def authority() -> str:
    """Return the page of who may sign what."""
    signs = "\n".join(f"| {body.__name__} | {', '.join(sorted(roles))} |" for body, roles in MAY_SIGN.items())
    registers = "\n".join(f"| {role} | {', '.join(sorted(by))} |" for role, by in MAY_REGISTER.items())
    return (
        "# Who may sign what\n\nMade from `processors/authority.py`; the comments there narrow each row further.\n\n"
        f"| event | signed by keys of role |\n|---|---|\n{signs}\n\n"
        f"| registered role | by keys of role |\n|---|---|\n{registers}\n"
    )


def bounds() -> str:
    """Return the page of limits, with the reasons that stand beside them."""
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
    )


PAGES = {"reasons.md": reasons, "topics.md": topics, "authority.md": authority, "limits.md": bounds}


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
