"""Mailferry moves an organisation's mail off Microsoft Exchange to open mail servers."""

__version__ = "0.1.0"
