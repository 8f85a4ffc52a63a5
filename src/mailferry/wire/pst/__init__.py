"""Outlook's PST and OST files ([MS-PST]), read through a `read(offset, size)` callable. Opens and writes nothing."""
