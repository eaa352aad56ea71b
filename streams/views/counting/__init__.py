"""The calls of sessions, counted from the tenants' decisions: `counts.py` has the rules, `reader.py` the topics."""
