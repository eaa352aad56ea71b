"""The operator's side of an installation: founding tenants, registering principals, enrolment keys, locks."""
