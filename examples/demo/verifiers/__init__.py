"""`make demo-verifiers`: one attack for each verifier is stopped, and the innocent call beside it passes."""
