"""A tenant's resources on a Kafka cluster: its topics, its access rules, its founding event."""
