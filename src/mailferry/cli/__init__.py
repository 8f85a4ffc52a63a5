"""The command line: arguments in, `ops` calls, text or JSON out. Decides nothing itself."""
