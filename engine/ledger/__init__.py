"""The ledger: a SQLite file that knows how each medium stands, and holds results until they have arrived."""
