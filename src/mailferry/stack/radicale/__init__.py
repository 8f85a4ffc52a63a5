"""The CalDAV and CardDAV server of the open platform: Radicale, with the directory's people. Text only."""
