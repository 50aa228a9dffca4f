"""A denoising step of DiffusionGemma: transformers' reference and ours. `__main__` runs it."""
