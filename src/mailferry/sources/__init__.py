"""Where messages come from: one module per kind of source, all behind the contract in `base.py`. Never writes to a
source."""
