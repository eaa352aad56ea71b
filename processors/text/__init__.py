"""Texts as rules see them: characters, normal forms and the fold of Unicode 14.0, on every Python.

An interpreter brings the Unicode of its own time: 14.0 with Python 3.11, 15.0 with 3.12, 15.1 with 3.13. Decisions must
not change with it, so rules ask this room, and `tests/test_house.py` finds the places that ask the interpreter.
"""
