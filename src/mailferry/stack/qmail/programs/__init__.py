"""What runs on a qmail host beside qmail: small programs of Python's standard library alone, which end by themselves.

Copied there by the kit. Invariant: none of them needs Mailferry, its settings or the directory.
"""
