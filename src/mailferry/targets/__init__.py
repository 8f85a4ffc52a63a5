"""Where messages go: one module per kind of target, all behind the contract in `base.py`. Never decides what to
copy."""
