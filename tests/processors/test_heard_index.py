"""The index of heard texts says the same as the rows, after any writes, deletions and undoing."""

from hypothesis import given
from hypothesis import strategies as st

from processors.state.heard import HeardIndex, fingerprints_in
from processors.state.tables import Tables
from schemas.rows import HeardRow

OWNERS = ("program:bot", "session:aa")
PRINTS = [bytes([at]) * 8 for at in range(4)]
rows = st.builds(
    HeardRow,
    owner=st.sampled_from(OWNERS),
    session_id=st.just(bytes(32)),
    resource=st.sampled_from(["tool:web/a", "tool:web/b"]),
    source=st.just(bytes(32)),
    reported=st.booleans(),
    complete=st.booleans(),
    fingerprints=st.sets(st.sampled_from(PRINTS)).map(sorted).map(b"".join),
    at=st.integers(0, 9),
    until=st.just(2**40),
)
keys = st.sampled_from([b"a", b"b", b"c"])
acts = st.lists(
    st.tuples(st.just("put"), keys, rows)
    | st.tuples(st.sampled_from(["delete", "mark", "undo", "commit"]), keys, rows),
    max_size=25,
)


def said(index: HeardIndex) -> object:
    """Return everything that an index answers, in an order of its own."""
    return [
        (
            sorted(index.resources(owner)),
            {resource: sorted(found) for resource, found in index.unseen(owner).items()},
            [sorted(index.rows_with(owner, one)) for one in PRINTS],
        )
        for owner in OWNERS
    ]


@given(acts)
def test_the_index_follows_every_write_and_undo(some):
    tables = Tables(tenant="acme", deployment="test", genesis=bytes(32))
    marks = [0]
    for act, key, row in some:
        match act:
            case "put":
                tables.heard.put(key, row)
            case "delete" if key in tables.heard.rows:
                tables.heard.delete(key)
            case "mark":
                marks.append(tables.savepoint())
            case "undo" if marks[-1] <= tables.savepoint():
                tables.undo_to(marks.pop() if len(marks) > 1 else 0)
            case "commit":
                tables.commit()
                marks = [0]
            case _:
                pass
        marks = [one for one in marks if one <= tables.savepoint()] or [0]
        rebuilt = HeardIndex()
        for at, one in tables.heard.rows.items():
            rebuilt.follow(at, None, one)
        assert said(tables.heard_index) == said(rebuilt)
    for at, one in tables.heard.rows.items():
        assert all(at in tables.heard_index.rows_with(one.owner, mark) for mark in fingerprints_in(one))
