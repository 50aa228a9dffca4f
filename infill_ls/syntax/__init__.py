"""Languages, their trees, and whether a text fits into a file."""
