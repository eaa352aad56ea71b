"""The loop at scale.

More workers: records per CPU-second and per second with one and with two workers over forty tenants. More noise: the
latency of a quiet tenant beside tenants that flood, and of the same tenant alone. More state: the restart of a worker
with 100,000 rows. More log: the cost of an event after many others.

Figures that are compared are measured in one run and by turns. The broker shares the machine's cores with the workers,
so its CPU-seconds are given too. Figures per second of the clock depend more on the machine than on the loop.
"""
