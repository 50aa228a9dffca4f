"""A real server under editors that type, and under faults: see __main__.py."""
