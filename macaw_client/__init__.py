"""The package that programs for the original import: the log of this project, under the names that they know.

    from macaw_client import MACAWClient, PermissionDenied, RemoteIdentityProvider

docs/coming-from-macaw.md compares the two, with reasons.
"""

from macaw_client.client import MACAWClient
from macaw_client.errors import CannotConnectError, PermissionDenied, ToolFailedError, ToolNotFoundError
from macaw_client.identity import PairingProvider as RemoteIdentityProvider

__all__ = [
    "CannotConnectError",
    "MACAWClient",
    "PermissionDenied",
    "RemoteIdentityProvider",
    "ToolFailedError",
    "ToolNotFoundError",
]
