"""Logging in at the person's own identity provider: a token in hand, kept fresh. Nothing is verified here.

`RemoteIdentityProvider` asks the provider, `TokenKeeper` renews in the background, and `stored` keeps a login.
"""

from producers.identity.device import DevicePrompt
from producers.identity.errors import LoginCode, LoginError, LoginSettingsError, ProviderUnavailableError
from producers.identity.keeper import KeptLogin, TokenKeeper
from producers.identity.login import Login
from producers.identity.principal import UnverifiedPrincipal
from producers.identity.provider import LoggedOut, RemoteIdentityProvider

__all__ = [
    "DevicePrompt",
    "KeptLogin",
    "LoggedOut",
    "Login",
    "LoginCode",
    "LoginError",
    "LoginSettingsError",
    "ProviderUnavailableError",
    "RemoteIdentityProvider",
    "TokenKeeper",
    "UnverifiedPrincipal",
]
