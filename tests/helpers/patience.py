"""How long tests wait for what has to come."""

PATIENCE = 300.0
"""Seconds after which something hangs; nothing comes near them on a busy machine."""
