"""macaw."""
