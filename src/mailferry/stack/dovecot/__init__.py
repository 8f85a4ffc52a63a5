"""Dovecot by us: what it asks the directory, and its configuration. Renders; stores nothing and logs nobody in."""
