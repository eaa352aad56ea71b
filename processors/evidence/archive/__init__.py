"""The archive of a tenant's log: closed segments that outlive retention, their form, their bodies and their verdict."""
