"""Compute the sizes of feature maps in an ONNX graph from the size of the input.

PyTorch's graph reads them from the maps themselves. OpenVINO (2026.4) rewrites such a
``Shape`` together with the layers before it, and then loses the bias of a quantized
convolution, or a slice: the same file finds half of the objects, or fails.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

_PART = re.compile(r"(?:(\d+)\*)?(s\d+)")
"""A dimension of the traced graph: a symbol, or a multiple of one, as ``16*s30``."""


def sizes_from_pixels(file: Any) -> None:
    """Let each ``Shape`` of one height or width read ``pixels`` instead of a map.

    Args:
        file: the model, with the symbolic shapes of its values; it is changed.
    """
    from onnx import helper, numpy_helper

    graph = file.graph
    shapes = {
        value.name: [dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input)
    }
    whole = {}  # by symbol: which dimension of the input it is of, and its multiple
    for place, dim in enumerate(shapes["pixels"]):
        if part := _PART.fullmatch(dim):
            whole[part[2]] = (place, int(part[1] or 1))
    nodes, divisors = [], set[int]()
    for node in graph.node:
        of_pixels = _source(node, shapes, whole) if node.op_type == "Shape" else None
        if of_pixels is None:
            nodes.append(node)
            continue
        place, divisor = of_pixels
        divisors.add(divisor)
        side = f"{node.name}_of_pixels"
        shape = helper.make_node(
            "Shape", ["pixels"], [side], side, start=place, end=place + 1
        )
        nodes.append(shape)
        given = [side, f"cell_{divisor}"]
        nodes.append(helper.make_node("Div", given, node.output, node.name))
    graph.initializer.extend(
        numpy_helper.from_array(np.array([divisor], np.int64), f"cell_{divisor}")
        for divisor in sorted(divisors)
    )
    del graph.node[:]
    graph.node.extend(nodes)


def _source(
    node: Any, shapes: Mapping[str, list[str]], whole: Mapping[str, tuple[int, int]]
) -> tuple[int, int] | None:
    """Return which dimension of the input a ``Shape`` is a part of, and which part."""
    given = {each.name: each.i for each in node.attribute}
    start, end = given.get("start", 0), given.get("end")
    if node.input[0] == "pixels" or end != start + 1 or node.input[0] not in shapes:
        return None
    part = _PART.fullmatch(shapes[node.input[0]][start])
    if part is None or part[2] not in whole:
        return None
    place, multiple = whole[part[2]]
    divisor, rest = divmod(multiple, int(part[1] or 1))
    return None if rest else (place, divisor)
