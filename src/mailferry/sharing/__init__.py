"""Permissions of Exchange → rights of the open side: readers of exports and the conversion. Pure."""
