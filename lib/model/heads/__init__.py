"""Heads on RoIs, each with its own pooling, layers, targets and losses."""
