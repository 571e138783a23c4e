"""Errors of the export."""

INSTALL = "pip install faster-rcnn[export]"
"""The packages that only exporting needs."""


class ExportError(ValueError):
    """A detector cannot be exported this way, or the file differs from the detector."""
