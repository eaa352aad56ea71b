"""An installation's own things: its configuration, keys, private files, clock, and how it proves itself to Kafka."""
