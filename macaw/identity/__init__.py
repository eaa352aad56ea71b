"""Claims of a token as a context for policies, under the names of the original's pages."""
