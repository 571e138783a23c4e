"""The layouts in which annotations are read."""
