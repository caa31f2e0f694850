"""The stages of a run, source to ledger, and the ticket that goes with each medium."""
