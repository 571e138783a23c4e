"""A trained detector for any picture: what programs use."""

from .detector import Detector
from .result import Result

__all__ = ["Detector", "Result"]
