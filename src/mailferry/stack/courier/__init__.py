"""Courier by us: IMAP and POP3 over Maildirs, with people of the directory. Renders; opens no mailbox."""
