"""Reading a log back: export, replay, and topics and folders as they stand. No group, no commit."""
