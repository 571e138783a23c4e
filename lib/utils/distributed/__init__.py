"""Processes of a distributed run: starting, connecting and communicating."""
