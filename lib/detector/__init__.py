"""The Python API: a trained detector for any image."""

from ..evaluation.score_thresholds import read_thresholds
from .detector import Detector
from .result import Result

__all__ = ["Detector", "Result", "read_thresholds"]
