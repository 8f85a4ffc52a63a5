"""Renders and runs the open platform from one configuration. Decides nothing about people or their mail."""
