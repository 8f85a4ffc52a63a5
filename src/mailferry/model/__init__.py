"""Frozen data that every part of Mailferry speaks: folders, messages, flags, dates. No I/O, stdlib only."""
