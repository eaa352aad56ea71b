"""Commands about identities: providers, bridges, and people at a terminal."""
