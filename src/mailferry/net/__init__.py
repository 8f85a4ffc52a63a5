"""The only sockets of Mailferry: streams, TLS, spooled bodies, and the clients built on them. Knows no mailbox plan."""
