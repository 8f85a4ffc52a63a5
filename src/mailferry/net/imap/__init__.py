"""An IMAP client over `wire/imap`: connection, log-in, folders, reading, storing. Shared by sources and targets."""
