"""Metrics of every process, for Prometheus: meters, the families they are told in, and the endpoint `/metrics`."""
