"""Readers of files that anyone may have made: nothing in them is ever run."""
