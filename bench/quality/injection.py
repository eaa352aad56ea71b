"""How good the detector of injected instructions is: `python -m bench.quality.injection CORPORA`.

Rows for each surface, and recall without the rules of others that name the corpus they are tested on. Each text is
judged as a leaf of a call is: by its first 4 KiB.
"""

import json
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import re2

from bench.quality.rows import Row, count, leaves, read
from processors.content import injection, injection_atr

LEAF_BYTES_MAX = 4096

# Corpora of attacks, with the names by which a rule would cite them.
CITED = {
    "pi_agentdojo": "agentdojo",
    "pi_bastioncorpus": "bastion",
    "pi_bipia": "bipia",
    "pi_cyberseceval": "cyber ?-?sec ?-?eval|purple ?-?llama",
    "pi_injecagent": "injec-?agent",
    "pi_ipi_coding": "ipi.coding|inspect.evals",
    "pi_spikee": "spikee",
}
TOOL = frozenset({"tool_output", "tool_result", "metadata", "multi_turn"})
DOCUMENT = frozenset({"document"})

Judge = Callable[[str], bool]


def denied(text: str) -> bool:
    """Return whether a rule denies the text."""
    return bool(injection.find(text))


def marked(text: str) -> bool:
    """Return whether a rule of either tier speaks of the text."""
    return bool(injection.find(text) or injection.marks(text))


def score(corpora: Path) -> list[Row]:
    """Return all rows for the corpora in a folder; `pi_bipia_bare` is told apart, because its texts lack a context."""
    rows = [row for name in CITED for row in read_cut(corpora, name)]
    attacks = [row for row in rows if row["label"] == "attack"]
    benign = [row for row in rows if row["label"] == "benign"]
    found: list[Row] = []
    for surface in ("user", "tool", "document"):
        found.append(count(surface, "attacks denied", _texts(attacks, surface), denied))
        found.append(count(surface, "innocent texts denied", _texts(benign, surface), denied))
        found.append(count(surface, "attacks denied or marked", _texts(attacks, surface), marked))
        found.append(count(surface, "innocent texts denied or marked", _texts(benign, surface), marked))
    found.append(count("all", "attacks denied", _texts(attacks), denied))
    found.append(count("all", "innocent texts denied", _texts(benign), denied))
    found.append(_source_disjoint(attacks))
    found += [_of_corpus(name, attacks) for name in CITED]
    found.append(count("bare", "bare orders denied (BIPIA)", _texts(read_cut(corpora, "pi_bipia_bare")), denied))
    return found + _innocent(corpora)


def _innocent(corpora: Path) -> list[Row]:
    """Return the rows of sets that hold no attack."""
    found = [
        count(
            "user", "NotInject: innocent words of attacks, denied", _texts(read_cut(corpora, "pi_notinject")), denied
        ),
        count("user", "BFCL: requests, denied", _texts(read_cut(corpora, "benign_bfcl")), denied),
    ]
    airline = read_cut(corpora, "benign_taubench")
    found += [
        count(surface, f"tau-bench: {surface} texts, {what}", _texts(airline, surface), judge)
        for surface in ("user", "tool")
        for what, judge in (("hits that deny", denied), ("hits of both tiers", marked))
    ]
    for name in ("benign_bfcl", "benign_taubench"):
        arguments = [text for row in read(corpora, name) for call in row.get("calls", ()) for text in leaves(call)]
        found.append(count("argument", f"{name}: arguments of calls, denied", map(cut, arguments), denied))
    for name in ("sh_benign_nl2bash", "sh_benign_tldr"):
        found.append(count("shell", f"{name}: commands, denied", _texts(read_cut(corpora, name)), denied))
    return found


def _source_disjoint(attacks: list[dict[str, Any]]) -> Row:
    """Return recall without the rules that cite the corpus of each attack."""
    hits = sum(_is_denied_by_others(row) for row in attacks)
    return Row("all", "attacks denied by rules that do not cite the corpus", hits, len(attacks))


def _of_corpus(name: str, attacks: list[dict[str, Any]]) -> Row:
    given = [row for row in attacks if row["corpus"] == name]
    return Row("all", f"{name}: denied, citing rules not counted", sum(map(_is_denied_by_others, given)), len(given))


def _is_denied_by_others(row: dict[str, Any]) -> bool:
    return any(hit.rule not in citing(row["corpus"]) for hit in injection.find(row["text"]))


@cache
def citing(corpus: str) -> frozenset[str]:
    """Return the ids of ATR's rules whose text names a corpus."""
    name = re2.compile(f"(?i){CITED[corpus]}")
    documents = json.loads(injection_atr.data())
    return frozenset(one["id"] for one in documents if name.search(json.dumps(one, ensure_ascii=False)))


def read_cut(corpora: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of a corpus with its name, their texts cut to the size of a leaf."""
    return [{**row, "corpus": name, "text": cut(row["text"])} for row in read(corpora, name)]


def cut(text: str) -> str:
    """Return the first 4 KiB of a text."""
    return text.encode("utf-8", "replace")[:LEAF_BYTES_MAX].decode("utf-8", "ignore")


def _texts(rows: Iterable[dict[str, Any]], surface: str | None = None) -> list[str]:
    return [row["text"] for row in rows if surface is None or _surface(row) == surface]


def _surface(row: dict[str, Any]) -> str:
    given = row["surface"]
    return "tool" if given in TOOL else "document" if given in DOCUMENT else "user"


if __name__ == "__main__":
    for one in score(Path(sys.argv[1])):
        print(one)
