"""The state of one tenant: tables with a journal to undo with, deadlines, and shares of who pays for a row."""
