"""What is to be edited next, after what was edited last."""
