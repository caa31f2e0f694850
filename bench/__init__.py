"""Measurements of the engine: against the original, against its own targets, and of what its parts cost.

Each is a command of `cli.py`. What a command finds is written to `bench/results`, and `python -m bench table` makes of
these files the tables in README.md.
"""
