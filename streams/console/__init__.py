"""The console: pages that show a tenant's stream, from a store that is rebuilt from the log. It decides nothing."""
