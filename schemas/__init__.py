"""The contract: Avro schemas and their records, the codec, reason codes, limits, and the table of topics."""
