"""An installation on one machine: a broker, found or started, and the processes beside it."""
