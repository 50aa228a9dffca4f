"""Qwen2 with a mask token and attention both ways: DreamOn, Open-dCoder and their like."""
