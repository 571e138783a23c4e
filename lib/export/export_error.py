"""Errors of the export."""


class ExportError(ValueError):
    """A detector cannot be exported this way, or the file differs from the detector."""
