"""The errors of keys at rest. A message says which key cannot be had, why, and the next step; it holds no secret."""

from __future__ import annotations

from schemas.errors import InstallationError


class KeyAccessError(InstallationError):
    """A key cannot be had, or its store does not take it. The family of all errors of this room."""


class KeySettingsError(KeyAccessError):
    """The section `keys` of config.json is wrong; the message names the member."""


class KeyFileError(KeyAccessError):
    """A key file is missing, readable by others, a link, or not a pair of private keys."""


class PassphraseError(KeyAccessError):
    """A passphrase or PIN is wrong, cannot be read, or cannot be asked for."""


class KeyringError(KeyAccessError):
    """The system's keyring is absent or locked, or does not have the key."""


class TokenError(KeyAccessError):
    """A PKCS#11 token is absent, refuses its PIN, does not have the key, or lacks an operation that the key needs."""
