"""The Python API: a trained detector for any image."""

from .detector import Detector
from .result import Result

__all__ = ["Detector", "Result"]
