"""Tokens of identity providers: strict parsing, key sets, and the verdict on one token; the clock is an argument."""
