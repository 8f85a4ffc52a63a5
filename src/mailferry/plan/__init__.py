"""What is to be done: pure functions from (listing, ledger, policy) to actions. No I/O, no clock, no randomness."""
