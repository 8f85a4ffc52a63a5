"""The use cases, called by the command line and the console alike. Prints nothing and reads no arguments."""
