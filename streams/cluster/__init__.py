"""What a tenant needs of a cluster: topics, access rules, its founding event."""
