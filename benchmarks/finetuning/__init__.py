"""What fine-tuning is worth: a small model that knows one toy repository learns another."""
