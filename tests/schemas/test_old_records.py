"""What was written under a published schema is read for ever, and an old log folds alike under new schemas.

One change was made that old records do not survive: attributes, and what an approval asks, were JSON texts up to id 67.
Such a record is refused, never read as one without attributes; all others under these ids are read.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from schemas import codec, records
from schemas.records import Event
from tests.rows import every
from tests.script import script_of
from tests.vectors import generate

ROOT = Path(__file__).parents[2]
SAMPLES: list[dict[str, Any]] = json.loads(generate.SAMPLES.read_text("utf-8"))


def test_every_published_id_has_samples_and_every_body_of_the_event():
    """Whoever publishes a schema makes its samples: `make vectors`."""
    assert {sample["id"] for sample in SAMPLES} == set(codec.published())
    bodies = {cls.__name__ for cls in get_args(records.Body)}
    told = {next(iter(s["record"]["body"])).rsplit(".", 1)[1] for s in SAMPLES if s["schema"] == "macaw.v1.Event"}
    assert told == bodies


def shown(value: Any) -> Any:
    """Return a record as the samples show it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [shown(item) for item in value]
    if isinstance(value, Event):
        body = {f"{codec.NAMESPACE}.{type(value.body).__name__}": shown(value.body)}
        return {"header": shown(value.header), "body": body}
    if dataclasses.is_dataclass(value):
        return {field.name: shown(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def agrees(stored: Any, read: Any) -> bool:
    """Whether what is read holds everything that was stored; fields that came later may stand beside."""
    if isinstance(stored, dict):
        return all(name in read and agrees(value, read[name]) for name, value in stored.items())
    if isinstance(stored, list):
        return len(stored) == len(read) and all(map(agrees, stored, read))
    return type(stored) is type(read) and stored == read


READ = [sample for sample in SAMPLES if not generate.holds_texts(sample["record"])]
NOT_READ = [sample for sample in SAMPLES if generate.holds_texts(sample["record"])]


def test_every_published_id_reads_its_stored_samples() -> None:
    """A record that was ever written says today what it said then."""

    def holds(sample: dict[str, Any]) -> None:
        schema, body = codec.unframe(bytes.fromhex(sample["value"]))

        assert (schema.id, schema.name, schema.sha256.hex()) == (sample["id"], sample["schema"], sample["sha256"])
        assert agrees(sample["record"], shown(codec.decode(schema, body)))

    every(READ, lambda s: f"{s['id']}: {s['desc']}", holds)


@pytest.mark.parametrize("sample", NOT_READ, ids=lambda s: f"{s['id']}: {s['desc']}")
def test_attributes_that_were_a_text_are_refused(sample):
    """An old grant would otherwise become one without bounds, an old principal one without a company's limits."""
    schema, body = codec.unframe(bytes.fromhex(sample["value"]))

    assert schema.id <= generate.LAST_WITH_TEXTS
    with pytest.raises(codec.MalformedRecordError):
        codec.decode(schema, body)


NEW_BODY = {
    "type": "record",
    "name": "SomethingAppended",
    "namespace": "macaw.v1",
    "doc": "A body that comes later.",
    "fields": [{"name": "what", "type": "string", "doc": "anything"}],
}
NEW_RECORD = '''

@record
class SomethingAppended:
    """A body that comes later."""

    what: str


Body = Body | SomethingAppended
'''
PROGRAM = """
import json, sys
from schemas import codec, records
from processors.intake.identify import Received
from processors.proof.signing import VerifiedHeads
from processors.step import step
from processors.state.tables import Tables

given = json.load(sys.stdin)
now = codec.current("Event")
header = records.Header(event_id=b"", principal_id="", seq=0, issued_at=0, salt=b"")
event = records.Event(header=header, body=records.SomethingAppended(what="new"))
assert codec.decode_as(records.Event, codec.frame(event)) == event
for value in given["samples"]:
    schema, body = codec.unframe(bytes.fromhex(value))
    codec.decode(schema, body)
tables, heads, told = Tables(**given["tenant"], genesis=bytes.fromhex(given["genesis"])), VerifiedHeads(), []
for offset, at, value, headers in given["records"]:
    pairs = [(name, bytes.fromhex(header)) for name, header in headers]
    outputs = step(tables, Received(0, offset, at, bytes.fromhex(value), pairs), heads)
    told.append([[o.topic.name, *((x or b"").hex() for x in (o.value, o.leaf, o.payload))] for o in outputs])
print(json.dumps({"id": now.id, "told": told}))
"""


def test_an_old_log_reads_and_replays_alike_after_a_body_was_appended(tmp_path):
    """With a further body in the union under a new id, old records are read, and an old log folds to the same bytes."""
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    avro = tmp_path / "schemas" / "avro"
    (avro / "macaw.v1.SomethingAppended.avsc").write_text(json.dumps(NEW_BODY), "utf-8")
    event = json.loads((avro / "macaw.v1.Event.avsc").read_text("utf-8"))
    event["fields"][1]["type"].append("macaw.v1.SomethingAppended")
    (avro / "macaw.v1.Event.avsc").write_text(json.dumps(event), "utf-8")
    source = tmp_path / "schemas" / "records.py"
    marker = "\n\n@record\nclass Event:"
    before, after = source.read_text("utf-8").split(marker)
    source.write_text(before + NEW_RECORD + marker + after, "utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*arguments: str, given: str = "") -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, input=given, stdout=subprocess.PIPE, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout

    script = script_of(0)
    run("-m", "schemas.publish")
    given = {
        "tenant": {"tenant": script.world.tenant, "deployment": script.world.deployment},
        "genesis": script.world.genesis.hex(),
        "samples": [sample["value"] for sample in READ],
        "records": [
            [r.offset, r.appended_at, (r.value or b"").hex(), [[n, (v or b"").hex()] for n, v in r.headers]]
            for r in script.records
        ],
    }
    answer = json.loads(run("-c", PROGRAM, given=json.dumps(given)))

    assert answer["id"] == len(codec.published()) + 1
    assert answer["told"] == [
        [[o.topic.name, *((x or b"").hex() for x in (o.value, o.leaf, o.payload))] for o in outputs]
        for outputs in script.outputs
    ]
