"""Packages that only exporting needs."""

INSTALL = "pip install faster-rcnn[export]"
