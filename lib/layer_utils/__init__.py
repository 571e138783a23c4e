"""Layers of the papers that have no weights, one file each."""
