"""The archive of a tenant's log: where segments are kept, how they are read back, and the process that writes them."""
