"""The context of a session beside its calls: the vault, notes of applications, questions, and their end."""
