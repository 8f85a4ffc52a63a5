"""Reads both sides of a mailbox again, compares them with the ledger, scores, and writes the report.

Copies nothing and repairs nothing. `compare` and `score` are pure; `mailbox` reads; `report` writes files.
"""
