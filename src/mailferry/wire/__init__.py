"""Protocols and formats, sans-IO: bytes in, events out. Opens no socket and no file, and knows no clock."""
