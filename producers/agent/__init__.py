"""An agent that is caller and tool at once: a session that calls, and offers tools of its own."""
