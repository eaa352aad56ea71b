"""Reading a log back: export, replay, topics and folders. Its consumers join no group and commit nothing."""
