"""The classes of Apache Kafka as Java has read and checked them, kept beside the jars: later starts take less CPU.

Java calls it a dynamic archive (JEP 350). It is made of the classes that formatting a storage needs, because that
program ends by itself before the first start of a broker; most of what a broker needs is among them.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from streams.local.jars import jars_id, java_version


class ClassArchive:
    """The archive of one Java and one folder of jars; its name changes with them.

    Java ends at once (SIGABRT) over an archive that is cut off, so a file beside it holds its digest, and is written
    last.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._mark = path.with_suffix(".sha256")

    @classmethod
    def of(cls, cache: Path, java: str) -> Self:
        """Return the archive's place. Raises OSError or SubprocessError if this Java does not tell its version."""
        made_of = "\n".join((java_version(java), str(cache.absolute()), jars_id()))
        return cls(cache / f"classes-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.jsa")

    @property
    def is_whole(self) -> bool:
        """True if the archive is there and has the digest that was noted."""
        try:
            return self._mark.read_text() == _digest(self.path)
        except OSError:
            return False

    def options(self) -> list[str]:
        """Return the option with which Java uses the archive, if it is whole."""
        return [f"-XX:SharedArchiveFile={self.path}"] if self.is_whole else []

    def making_options(self) -> list[str]:
        """Return the option with which Java makes one when it ends, if there is none; then call `keep` or `drop`."""
        return [] if self.is_whole else [f"-XX:ArchiveClassesAtExit={self._fresh}"]

    def keep(self) -> None:
        """Take what Java has made.

        There is nothing where Java may not write, or was built without an archive of its own classes. Starts are slower
        then, and that is all.
        """
        with suppress(OSError):
            digest = _digest(self._fresh)
            self._mark.unlink(missing_ok=True)
            self._fresh.replace(self.path)
            self._mark_fresh.write_text(digest)
            self._mark_fresh.replace(self._mark)

    def drop(self) -> None:
        """Remove what a Java that failed has made."""
        with suppress(OSError):
            self._fresh.unlink(missing_ok=True)

    @property
    def _fresh(self) -> Path:
        return self.path.with_suffix(f".{os.getpid()}.new")

    @property
    def _mark_fresh(self) -> Path:
        return self._mark.with_suffix(f".{os.getpid()}.mark")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
