"""Importers of rule files, one for each form: pure, bounded, and strict about files that are broken."""
