"""Readers and writers generated from the schemas: the fast path of the codec, which fastavro backs."""
