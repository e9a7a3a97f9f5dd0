"""What runs in the container: one run, one processor, one outcome."""
