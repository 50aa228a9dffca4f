"""DiffusionGemma: transformers' weights, driven by our loop."""
