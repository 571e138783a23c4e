"""Heads on RoIs, each with what it needs: pooling, layers, targets, losses."""
