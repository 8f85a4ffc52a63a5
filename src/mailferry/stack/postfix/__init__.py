"""Postfix by us: what it reads in the directory, and its configuration. Renders; delivers nothing and reads no mail."""
