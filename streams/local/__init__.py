"""An installation on one machine: a broker, which is found or started, and the processes beside it."""
