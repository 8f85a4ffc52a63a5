"""What the administrator wrote down: addresses of mailboxes, account lists, defaults. Connects to nothing."""
