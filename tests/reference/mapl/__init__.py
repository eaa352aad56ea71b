"""The slow, obvious reading of docs/mapl.md, against which the engine is compared.

NOTES.md says how unclear places are read.
"""

from tests.reference.mapl.deciding import applied, evaluate
from tests.reference.mapl.documents import parse_document
from tests.reference.mapl.publication import publish, withdraw
from tests.reference.mapl.refusals import RefusedError
from tests.reference.mapl.world import Call, Finding, Heard, Hop, Past, Record, Verdict, World

__all__ = [
    "Call",
    "Finding",
    "Heard",
    "Hop",
    "Past",
    "Record",
    "RefusedError",
    "Verdict",
    "World",
    "applied",
    "evaluate",
    "parse_document",
    "publish",
    "withdraw",
]
