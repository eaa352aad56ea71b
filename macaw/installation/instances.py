"""Several instances of one tool: each process signs with a key of its own, so each needs a file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from producers.home.home import TenantHome


@dataclass(frozen=True, slots=True)
class InstanceHome(TenantHome):
    """A tenant's folder as one instance of a tool sees it."""

    instance: int = 0

    def key_file(self, kind: str, name: str) -> Path:
        """Return the file of a key of this instance; the first instance uses the same file as a single one."""
        path = TenantHome.key_file(self, kind, name)
        return path.with_name(f"{path.stem}#{self.instance}.key") if kind == "tool" and self.instance else path


def instance_home(folder: TenantHome, instance: int) -> InstanceHome:
    """Return the folder for one instance."""
    return InstanceHome(folder.tenant, folder.path, instance)
