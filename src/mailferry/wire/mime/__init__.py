"""Writes MIME by hand (RFC 5322, 2045, 2047, 2231): header fields and encoded bodies as bytes. Parses nothing."""
