"""Detectors as files that run without this package, or without Python code of it.

``program`` is exported, ``formats`` writes it, ``quantize`` makes it int8, ``parity``
compares the file with the detector; ``detector.running`` loads it again. Importing this
package registers the operators that PyTorch's own two formats call.
"""

from ..detector.export_error import ExportError
from ..detector.running import Exported, load_exported
from ..kernels import pasting as _pasting  # noqa: F401  (registers its operators)
from ..kernels import pooling as _pooling  # noqa: F401
from ..nms import nms as _nms  # noqa: F401

__all__ = ["ExportError", "Exported", "load_exported"]
