"""Files that people write about identities: subjects with their attributes, and the mapping of a provider's claims.

All are YAML with unique names; a fault is told with its file, and with its line where the file may be long.
"""
