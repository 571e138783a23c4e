"""Errors that several folders raise or catch."""


class MissingDataError(ValueError):
    """A known data set is not on disk; the message says how to get it."""
