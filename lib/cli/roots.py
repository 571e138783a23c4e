"""Where runs and data lie unless the command line tells: in the current folder.

The environment variables ``FRCNN_OUTPUT`` and ``FRCNN_DATA`` name other folders.
"""

import os
from pathlib import Path


def output_root() -> Path:
    """The folder of all runs and of what else is written, as an absolute path."""
    return Path(os.environ.get("FRCNN_OUTPUT") or "output").expanduser().absolute()


def data_root() -> Path:
    """The folder of the data sets, as an absolute path."""
    return Path(os.environ.get("FRCNN_DATA") or "data").expanduser().absolute()
