"""Exchange Web Services, sans-IO: requests as bytes, answers taken apart. Knows no HTTP, no session, no clock."""
