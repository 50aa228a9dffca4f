"""How many people some servers are enough for: `python -m benchmarks.scaleout`."""
