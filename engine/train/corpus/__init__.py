"""The training corpus; `__main__` says what its stages are."""
