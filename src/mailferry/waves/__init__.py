"""The state machine of a move: seed, park, copy, verify, switch, sweep, and back. Copies and routes through others."""
