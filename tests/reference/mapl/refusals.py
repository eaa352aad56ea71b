"""Why a document is refused: a stable code and a JSON pointer (docs/mapl.md 1)."""


class RefusedError(Exception):
    """A document, or its publication, is refused."""

    def __init__(self, code: str, pointer: str = "") -> None:
        super().__init__(f"{code} at {pointer!r}")
        self.code = code
        self.pointer = pointer


def below(pointer: str, name: str | int) -> str:
    """RFC 6901: the pointer of a member or item."""
    return f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
