"""Average precision and the files that hold it."""
