"""The delivery: takes results from the ledger's outbox, sends them to the media API, acts on the answers."""
