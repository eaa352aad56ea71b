"""The state of one tenant: tables with a journal to undo with, deadlines, and the shares of payers."""
