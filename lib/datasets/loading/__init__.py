"""Records become batches, in worker processes."""
