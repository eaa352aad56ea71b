"""Tools for authors of policies: files, cases, differences, simulations, and the policies in force on a log."""
