"""The command line: everything for people."""
