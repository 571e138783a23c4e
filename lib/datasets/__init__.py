"""Data sets: files on disk become records, and records become batches."""
