"""An engine host: this version's rules, driven by a replay of another version over pipes.

`python -m streams.history.engine_host` reads messages (`streams.history.engine_wire`) from its standard input and
answers on its standard output. It folds the records of one engine, and hands the state back. It opens no file and no
connection.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import BinaryIO

from processors.proof.signing import VerifiedHeads
from processors.refusal import Refusal
from processors.state.engines import EngineMissingError, Engines
from processors.state.tables import Tables
from processors.step import step
from schemas.errors import MacawError
from schemas.events.engines import EngineData
from streams.history.engine_wire import (
    FORMAT,
    Kind,
    MessageError,
    Packet,
    Written,
    json_in,
    pack,
    pack_json,
    pack_output,
    pack_row,
    read_message,
    record_in,
    row_in,
)
from streams.history.state_rows import framed_rows, restore_rows

REASON_BYTES_MAX = 2000


def main() -> int:
    """Serve one replay and return the exit status."""
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # whatever is printed must not come between messages
    return serve(sys.stdin.buffer, answers)


def serve(questions: BinaryIO, answers: BinaryIO, engines: Engines | None = None) -> int:
    """Answer messages until the pipe ends; return 0, or 1 after a FAILED. Without `engines`, this version's decide."""
    try:
        for piece in _answers(_messages(questions), engines):
            answers.write(piece)
            if piece[4] != Kind.OUTPUT:
                answers.flush()
    except (MacawError, ValueError, KeyError, TypeError) as exc:
        answers.write(pack(Kind.FAILED, f"{type(exc).__name__}: {exc}".encode()[:REASON_BYTES_MAX]))
        answers.flush()
        return 1
    return 0


def _messages(questions: BinaryIO) -> Iterator[Packet]:
    while (message := read_message(questions.read)) is not None:
        yield message


def _answers(messages: Iterator[Packet], engines: Engines | None) -> Iterator[bytes]:
    tables, wanted = _begun(messages, engines)
    yield pack_json(Kind.READY, format=FORMAT)
    heads = VerifiedHeads()
    for message in messages:
        if message.kind is Kind.STATE:
            yield from state_of(tables)
        elif message.kind is Kind.RECORD:
            yield from _folded(tables, wanted, message, heads)
        else:
            raise MessageError(f"got a message {message.kind.name}, want RECORD or STATE")


def _begun(messages: Iterator[Packet], engines: Engines | None) -> tuple[Tables, int]:
    """Return the tables as they were handed over, and the number of the engine that this host was started for."""
    hello = next(messages, None)
    if hello is None or hello.kind is not Kind.HELLO:
        raise MessageError("the first message is not HELLO")
    asked = json_in(hello)
    if asked["format"] != FORMAT:
        raise MessageError(f"this host speaks {FORMAT}, and was asked for {asked['format']}")
    genesis, number = bytes.fromhex(asked["genesis"]), int(asked["engine"])
    tables = Tables(tenant=asked["tenant"], deployment=asked["deployment"], genesis=genesis, engines=engines)
    data = tuple(EngineData(name=one["name"], sha256=bytes.fromhex(one["sha256"])) for one in asked["data"])
    tables.decide_by(number, data)  # raises EngineMissingError: the wrong interpreter was named
    rows: list[tuple[bytes, bytes]] = []
    for message in messages:
        if message.kind is Kind.TAIL:
            restore_rows(tables, rows)
            resume_at(tables, message)
            return tables, number
        if message.kind is not Kind.ROW:
            raise MessageError(f"got a message {message.kind.name}, want ROW or TAIL")
        rows.append(row_in(message.body))
    raise MessageError("the pipe ended before the state was whole")


def _folded(tables: Tables, wanted: int, message: Packet, heads: VerifiedHeads) -> Iterator[bytes]:
    received = record_in(message.body)
    try:
        if tables.tenant.rows and tables.engine.number != wanted:
            yield pack(Kind.ELSEWHERE)
            return
        outputs = step(tables, received, heads)
    except EngineMissingError:
        yield pack(Kind.ELSEWHERE)
        return
    except Refusal as refusal:
        yield pack(Kind.REFUSED, refusal.reason.encode())
        return
    tables.commit()
    for output in outputs:
        yield pack_output(Written(output.topic.name, output.partition, output.value))
    yield pack(Kind.DONE)


def state_of(tables: Tables) -> Iterator[bytes]:
    """Yield the state as messages: every row, then the tail."""
    for key, value in framed_rows(tables):
        yield pack_row(key, value)
    yield pack_json(Kind.TAIL, next_index=tables.next_index, prev=tables.prev.hex(), now=tables.now)


def resume_at(tables: Tables, tail: Packet) -> None:
    """Set the tail of the audit log. Raises MessageError."""
    told = json_in(tail)
    try:
        index, prev, now = int(told["next_index"]), bytes.fromhex(told["prev"]), int(told["now"])
    except (KeyError, TypeError, ValueError) as exc:
        raise MessageError("the tail of the state lacks a member") from exc
    tables.resume_at(next_index=index, prev=prev, now=now)


if __name__ == "__main__":
    sys.exit(main())
