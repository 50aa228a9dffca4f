"""The judge: a pretrained language model that ranks, verifies and continues what is drafted."""
