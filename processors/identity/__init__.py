"""Identity: principals and their keys, sessions, attributes, delegations, and the registry as others follow it."""
