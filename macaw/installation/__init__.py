"""An installation by its operator: founding tenants, registering principals, enrolment keys, locks."""
