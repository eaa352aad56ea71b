"""Bearer tokens of the HTTP fronts: one file for each front in a tenant's folder, for its owner alone."""

from __future__ import annotations

import secrets
from pathlib import Path

from producers.home.files import create_private
from producers.home.home import HomeError, TenantHome

TOKEN_BYTES = 32


def create_token(file: Path) -> None:
    """Write a new random token. Raises FileExistsError, OSError."""
    create_private(file, secrets.token_urlsafe(TOKEN_BYTES).encode() + b"\n")


def ensure_token(folder: TenantHome, front: str) -> bool:
    """Create the token of a front if the tenant has none yet; return whether it was created.

    A tenant that was founded before the front had a token of its own gets it in this way.

    Raises:
        HomeError: the tenant is not known here, or the file cannot be read or written.
    """
    file = folder.token_file(front)
    if not file.exists():
        _ = folder.genesis  # raises HomeError for a tenant that is not known here
        try:
            create_token(file)
        except FileExistsError:
            pass  # another process has created it in the meantime
        except OSError as exc:
            raise HomeError(
                f"cannot write {file}: {exc.strerror}; write one line of random characters into it, readable by its "
                "owner alone"
            ) from exc
        else:
            return True
    folder.token(front)
    return False
