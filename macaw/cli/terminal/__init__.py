"""The terminal of all commands: arguments, output, errors, exit statuses, installations and keys."""
