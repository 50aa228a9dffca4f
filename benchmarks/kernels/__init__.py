"""What products and passes on this CPU cost, beside what the CPU could do."""
