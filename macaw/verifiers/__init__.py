"""Verifiers that come with the project and run outside the log, and rule files of others, read as catalogues."""
