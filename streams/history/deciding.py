"""The process that decides each record of a replay: this one, or an engine host of another interpreter.

    log     0 … 99 by engine 1         100 … 199 by engine 2      200 … by engine 3
    replay  --engine 1=/old/python     this process               this process

The state goes to the host at the first record that is its own, and comes back at the first that is not. Engines only
rise along a log, so a host reads rows that an older version wrote, or the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Self

from processors.intake.identify import Received
from processors.proof.signing import VerifiedHeads
from processors.state.engines import EngineMissingError
from processors.state.tables import SINGLETON, Tables
from processors.step import step
from schemas import codec
from schemas.rows import TenantRow
from streams.history.engine_host import resume_at, state_of
from streams.history.engine_process import EngineProcess, HandoverError
from streams.history.engine_wire import Packet, Written, pack, pack_hello, pack_row
from streams.history.state_rows import UnknownTableError, restore_rows, row_key

Commands = Mapping[int, Sequence[str]]
_TENANT = row_key("tenant", SINGLETON)


class Decider:
    """Folds the records of one log in order. Use it as a context manager: hosts end with it."""

    def __init__(self, tables: Tables, elsewhere: Commands | None = None) -> None:
        """`tables` are empty; `elsewhere` gives the command of a host by the number of its engine."""
        self._tables = tables
        self._elsewhere = elsewhere or {}
        self._heads = VerifiedHeads()
        self._host: EngineProcess | None = None
        self.next_index = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None

    def fold(self, received: Received) -> list[Written]:
        """Fold the next record for good and return its outputs.

        Raises:
            Refusal: the record names a ruling that does not hold.
            EngineMissingError: its engine is neither here nor in `elsewhere`.
            HandoverError: a host cannot do its part.
        """
        if self._host is not None:
            outputs = self._host.fold(received)
            if outputs is None:
                self._take_back(self._host)
        else:
            outputs = None
        if outputs is None:
            outputs = self._fold_here(received)
        self.next_index += 1
        return outputs

    def _fold_here(self, received: Received) -> list[Written]:
        if self._host is None:
            try:
                outputs = step(self._tables, received, self._heads)
            except EngineMissingError as exc:
                self._hand_over(exc, state_of(self._tables))
            else:
                self._tables.commit()
                return [Written(output.topic.name, output.partition, output.value) for output in outputs]
        assert self._host is not None
        found = self._host.fold(received)
        if found is None:
            raise HandoverError("the host of --engine does not decide the record that it was started for")
        return found

    def _hand_over(self, missing: EngineMissingError, state: Iterator[bytes]) -> None:
        command = self._elsewhere.get(missing.number)
        if command is None:
            raise missing
        hello = pack_hello(self._tables, missing.number, missing.wanted)
        self._host = EngineProcess(command, chain([hello], state))

    def _take_back(self, host: EngineProcess) -> None:
        """Take the state from a host; it stays as the host wrote it, if the next engine is another host's."""
        rows, tail = host.state()
        host.close()
        self._host = None
        old = self._tables
        self._tables = tables = Tables(
            tenant=old.tenant_id, deployment=old.deployment, genesis=old.genesis, engines=old.engines
        )
        try:
            row: TenantRow = codec.decode_as(TenantRow, dict(rows)[_TENANT])
            tables.decide_by(row.engine, row.data)
            restore_rows(tables, rows)
            resume_at(tables, tail)
        except EngineMissingError as exc:
            self._hand_over(exc, _messages(rows, tail))
        except (KeyError, codec.SchemaError, UnknownTableError) as exc:
            raise HandoverError(
                f"the state that the host of --engine handed back cannot be read here: {exc}; replay with the newest "
                "version of macaw, and name older ones with --engine"
            ) from exc


def _messages(rows: Sequence[tuple[bytes, bytes]], tail: Packet) -> Iterator[bytes]:
    yield from (pack_row(key, value) for key, value in rows)
    yield pack(tail.kind, tail.body)
