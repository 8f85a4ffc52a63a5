"""IMAP4rev1 and IMAP4rev2 as a client sees them, sans-IO: bytes in, events out; commands to bytes. No socket, no
clock."""
