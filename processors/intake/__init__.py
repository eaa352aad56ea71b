"""From bytes on intake to an event: its signer is known, it counts once, and its signer may sign it."""
