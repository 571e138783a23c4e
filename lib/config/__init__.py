"""Typed settings of a run, the recipes that override them, and their loading."""
