"""Find the faults of a data set before training, and write a corrected copy."""
