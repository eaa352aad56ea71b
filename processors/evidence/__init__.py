"""The audit log and its check by strangers: entries, the folder they travel in, verdicts, and rulings."""
