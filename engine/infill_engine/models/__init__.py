"""The models behind `Denoiser`, a folder each."""
