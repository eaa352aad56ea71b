"""Command injection in arguments, and the risk of shell commands, on corpora of other people.

`python -m bench.quality.commands FOLDER` prints the rows. The attacks of `ci_crs932` are a rule set's own tests, so
those of `ci_payloads` stand apart; so do values that are a command in whole (`command.bare`).
"""

import sys
from collections import Counter
from pathlib import Path

from bench.quality.rows import Row, count, leaves, read
from processors.content import commands, shell
from processors.content.risk_class import RiskClass

ATTACKS = ("ci_payloads", "ci_crs932")
BENIGN = ("benign_bfcl", "benign_taubench")
SHELLS = ("sh_attack_atomic", "sh_benign_nl2bash", "sh_benign_tldr")


def is_found(text: str) -> bool:
    """True for a text with any hit."""
    return bool(commands.find(text))


def breaks_out(text: str) -> bool:
    """True for a text with a hit that is more than a bare command."""
    return any(hit.kind != "command.bare" for hit in commands.find(text))


def score(corpora: Path) -> list[Row]:
    """Return the rows for the corpora in a folder."""
    texts = {name: read(corpora, name) for name in ATTACKS}
    attacks = {name: [row["text"] for row in rows if row["label"] == "attack"] for name, rows in texts.items()}
    union = [text for name in ATTACKS for text in attacks[name]]
    rows = [count("argument", f"{name} attacks", attacks[name], is_found) for name in ATTACKS]
    rows.append(count("argument", "both, attacks", union, is_found))
    rows.append(count("argument", "both, attacks, without bare commands", union, breaks_out))
    negative = [row["text"] for row in texts["ci_crs932"] if row["label"] == "benign"]
    rows.append(count("argument", "ci_crs932 benign", negative, is_found))
    benign = [row for name in BENIGN for row in read(corpora, name)]
    values = [text for row in benign for call in row.get("calls", ()) for text in leaves(call["args"])]
    rows.append(count("argument", "benign calls", values, is_found))
    rows.append(count("argument", "benign requests", [row["text"] for row in benign], is_found))
    return rows + [row for name in SHELLS for row in shell_rows(corpora, name)]


def shell_rows(corpora: Path, name: str) -> list[Row]:
    """Return the rows of a corpus of shell commands: each class, and the opaque ones."""
    risks = [shell.risk(row["text"]) for row in read(corpora, name)]
    classes = Counter(one.risk for one in risks)
    rows = [Row("shell", f"{name} {risk.value}", classes[risk], len(risks)) for risk in RiskClass]
    return [*rows, Row("shell", f"{name} opaque", sum(one.opaque for one in risks), len(risks))]


if __name__ == "__main__":
    for line in score(Path(sys.argv[1])):
        print(line)
