"""Annotations parsed once, kept as columns that are mapped into memory."""
