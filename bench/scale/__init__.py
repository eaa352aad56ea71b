"""What becomes of the loop when there is more of it.

More workers: records for each CPU-second and each second with one and with two workers over forty tenants. More noise:
the latency of a quiet tenant beside tenants that flood, against the same tenant alone. More state: how long a worker
takes to restart with 100,000 rows. More log: the cost of an event after so many others.

What is compared is measured in one run and by turns. The broker shares the machine's cores with everybody, so its
CPU-seconds are given too, and figures by the clock say more about the machine than about the loop.
"""
