"""Microsoft Graph v1.0: its JSON as our data. Sends nothing."""
