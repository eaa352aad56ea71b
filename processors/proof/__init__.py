"""Bytes that prove something: canonical JSON, Merkle trees, signatures, sealed boxes. No state, no policy."""
