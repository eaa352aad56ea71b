"""The keys that sign for a tenant: those of this worker, the one for each record, and the wait for one."""
