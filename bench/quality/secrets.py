"""How often `processors.content.secret_tokens` takes innocent texts for secrets, and the tests of detect-secrets.

Recall on tokens is measured on lists that are not a part of the project: everybody's list is everybody's own.
"""

from __future__ import annotations

from pathlib import Path

from bench.quality.rows import Row, count, read
from processors.content import secret_tokens

SHELL = ("sh_benign_tldr", "sh_benign_nl2bash")
TEXTS = (
    "pi_notinject", "benign_bfcl", "benign_taubench", "pi_agentdojo", "pi_bastioncorpus", "pi_bipia", "pi_cyberseceval",
    "pi_injecagent", "pi_ipi_coding", "pi_spikee",
)  # fmt: skip


def score(corpora: Path) -> list[Row]:
    """Return the rows: false finds on commands, on NotInject alone, and on all texts without an attack."""
    shell = [row["text"] for name in SHELL for row in read(corpora, name)]
    rows = [count("shell", "benign commands, secrets", shell, _found)]
    rows.append(count("innocent", "NotInject, secrets", [row["text"] for row in read(corpora, "pi_notinject")], _found))
    benign = [row["text"] for name in TEXTS for row in read(corpora, name) if row["label"] == "benign"]
    rows.append(count("innocent", "benign texts, secrets", benign, _found))
    rows.append(count("innocent", "benign texts, secrets that a provider issued", benign, _issued))
    return rows


def _found(text: str) -> bool:
    return bool(secret_tokens.find(text))


def _issued(text: str) -> bool:
    return any(hit.kind != secret_tokens.GENERIC_KIND for hit in secret_tokens.find(text))
