"""Bodies of events and their parts, one file for each subject; `schemas/records.py` has calls and registrations."""
