"""Sudoku by denoising: a small canvas model of our own training, solved by the engine's loop."""
