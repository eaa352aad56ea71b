"""Who is who: principals and their keys, sessions, attributes, delegations, and how others follow the registry."""
