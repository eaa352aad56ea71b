"""Texts of calls and results as content: injected instructions, commands, secrets and personal data are found here."""
