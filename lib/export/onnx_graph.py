"""Build the nodes and constants of an ONNX graph.

Each call of ``op``, with symbolic values of the graph or plain numbers, adds a node.
"""

from typing import Any

from onnxscript import opset18

Value = Any
"""A value in the graph."""
op: Any = opset18  # whose annotations are of tensors, not of a graph's values

FLOAT, INT = 1, 7
"""ONNX's numbers of the types float32 and int64."""


def number(value: float) -> Value:
    """A float32."""
    return op.Constant(value_float=float(value))


def floats(*values: float) -> Value:
    """Float32 numbers, one axis."""
    return op.Constant(value_floats=[float(value) for value in values])


def integer(value: int) -> Value:
    """An int64."""
    return op.Constant(value_int=value)


def integers(*values: int) -> Value:
    """Int64 numbers, one axis."""
    return op.Constant(value_ints=list(values))
