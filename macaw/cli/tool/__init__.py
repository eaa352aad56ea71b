"""`macaw tool`: host the functions of a Python module as tools, with the checks that their owner asks for."""
