"""What hangs on a session beside its calls: the vault, notes, questions, and how all of it ends."""
