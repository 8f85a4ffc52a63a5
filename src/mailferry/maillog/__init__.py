"""What the mail system did, from its logs: read, understood, put together. Stores nothing, and shows no subjects."""
