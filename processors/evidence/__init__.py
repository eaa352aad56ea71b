"""The audit log and what a stranger checks: entries, the folder they travel in, verdicts, and rulings."""
