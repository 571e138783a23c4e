"""What is on disk becomes records; records become batches."""
