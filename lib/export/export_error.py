"""Errors of the export."""


class ExportError(ValueError):
    """A detector cannot be exported so, or the file differs from the detector."""
