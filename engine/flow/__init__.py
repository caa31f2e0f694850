"""What connects threads: bounded channels, a semaphore, a shared stop, meters, stages. Nothing here knows pictures."""
