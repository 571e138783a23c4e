"""Load records into batches, in worker processes."""
