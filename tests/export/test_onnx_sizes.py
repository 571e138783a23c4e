"""Sizes of feature maps come from the input in an ONNX graph, and are the same."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
FLOAT, INT = 1, 7


def graph():
    """Sizes of a map of half the height, of a third map, and of something else."""
    make = onnx.helper.make_node
    value = onnx.helper.make_tensor_value_info
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        make("MaxPool", ["pixels"], ["half"], "pool", **pool),
        make("NonZero", ["half"], ["found"], "found"),
        make("Shape", ["half"], ["rows"], "rows", start=2, end=3),
        make("Shape", ["half"], ["columns"], "columns", start=3, end=4),
        make("Shape", ["half"], ["images"], "images", start=0, end=1),
        make("Shape", ["half"], ["all"], "all"),
        make("Shape", ["found"], ["count"], "count", start=1, end=2),
    ]
    outputs = ["rows", "columns", "images", "all", "count"]
    made = onnx.helper.make_graph(
        nodes,
        "sizes",
        [value("pixels", FLOAT, ["s1", 1, "4*s7", "4*s9"])],
        [value(name, INT, None) for name in outputs],
        value_info=[
            value("half", FLOAT, ["s1", 1, "2*s7", "2*s9"]),
            value("found", INT, [4, "u0"]),
        ],
    )
    return onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )


def test_sizes_of_maps_come_from_the_input():
    runtime = pytest.importorskip("onnxruntime")
    from faster_rcnn.export.onnx_sizes import sizes_from_pixels

    file = graph()
    before = file.SerializeToString()
    sizes_from_pixels(file)
    read = [node.input[0] for node in file.graph.node if node.op_type == "Shape"]
    assert read == ["pixels", "pixels", "pixels", "half", "found"]
    pixels = {"pixels": np.ones((3, 1, 8, 12), np.float32)}
    results = [
        runtime.InferenceSession(data).run(None, pixels)
        for data in (before, file.SerializeToString())
    ]
    assert [x.tolist() for x in results[1]] == [[4], [6], [3], [3, 1, 4, 6], [72]]
    assert [x.tolist() for x in results[0]] == [x.tolist() for x in results[1]]
