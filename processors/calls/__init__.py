"""A call from its event to its end: parameters, prompts, policies, attestations, approvals, decision, outcome."""
