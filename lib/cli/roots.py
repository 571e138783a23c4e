"""Default folders of runs and data: in the current folder.

The environment variables ``FRCNN_OUTPUT`` and ``FRCNN_DATA`` name other folders.
"""

import os
from pathlib import Path


def output_root() -> Path:
    """Return the folder of all runs and other output, as an absolute path."""
    return Path(os.environ.get("FRCNN_OUTPUT") or "output").expanduser().absolute()


def data_root() -> Path:
    """Return the folder of the data sets, as an absolute path."""
    return Path(os.environ.get("FRCNN_DATA") or "data").expanduser().absolute()
