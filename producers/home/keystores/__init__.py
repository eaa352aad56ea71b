"""Keys at rest behind one interface: files, files under a passphrase, the system's keyring, tokens (docs/keys.md)."""
