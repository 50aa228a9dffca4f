"""A model that a server runs, behind the same face as a local one."""
