"""Utilities: files, devices, distributed processes, monitoring and drawing."""
