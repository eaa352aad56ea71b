"""The programs' side of the log: clients of agents and persons, tools and their hosts, and an installation's keys."""
