"""What a person gets who types: `python -m benchmarks.typing`."""
