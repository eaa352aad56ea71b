"""A company's own identity provider, its people, and an agent that acts for them (`make demo-identity`)."""
