"""The terminal as every command has it: arguments, output, errors, exit codes, homes and keys."""
