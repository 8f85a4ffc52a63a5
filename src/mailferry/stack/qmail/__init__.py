"""qmail by us: its control files, who gets what, and the small programs beside it. Delivers nothing."""
