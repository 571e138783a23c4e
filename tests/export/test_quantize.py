import pytest
from exported_detectors import facts, pictures, small_config, small_program
from faster_rcnn.export import load_exported
from faster_rcnn.export.formats import trace, write_onnx
from faster_rcnn.export.photos import batches
from faster_rcnn.export.program import Shape
from faster_rcnn.export.quantize import choose_nodes, quantize

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def node(kind, inputs, output, name=None):
    return onnx.helper.make_node(kind, inputs, [output], name=name or output)


def test_which_nodes():
    """A backbone of nine convolutions, masked, and the RPN's two layers."""
    nodes = [
        node("Sub", ["pixels", "mean"], "x0"),
        *(node("Conv", [f"x{i}", "w"], f"x{i + 1}") for i in range(8)),
        node("Relu", ["x8"], "x9"),
        node("Mul", ["x9", "mask"], "x10"),
        node("Conv", ["x10", "w"], "x11"),
        node("Add", ["x11", "x10"], "x12"),
        node("Add", ["x12", "anything"], "x13"),
        node("Conv", ["x12", "model.rpn.head.scores.weight"], "scores"),
        node("Conv", ["x12", "w2", "model.rpn.head.deltas.bias"], "deltas"),
        node("Mul", ["deltas", "widths"], "boxes"),
        node("MatMul", ["x12", "computed"], "product"),
    ]
    names = ["w", "w2", "model.rpn.head.scores.weight", "model.rpn.head.deltas.bias"]
    weights = [onnx.helper.make_tensor(name, 1, [1], [1.0]) for name in names]
    graph = onnx.helper.make_graph(nodes, "g", [], [], initializer=weights)
    chosen, kept = choose_nodes(graph)
    assert chosen == ["x8", "x9", "x10", "x11", "x12"]
    first = [f"x{i}" for i in range(1, 8)]
    assert kept == [*first, "model.rpn.head.scores", "model.rpn.head.deltas"]


def test_quantized_file(tmp_path):
    config, shape = small_config(), Shape(batch=1, size=(96, 128))
    about = facts("onnx", config, shape)
    source, path = tmp_path / "a.onnx", tmp_path / "b.onnx"
    write_onnx(trace(small_program(config), shape), source, about)
    made = list(batches(pictures((96, 128), (100, 100)), about))
    done = quantize(source, path, made, about)
    assert done.nodes["Conv"] == 6 and len(done.kept) == 11  # 7 first, 4 last
    assert path.stat().st_size < 0.5 * source.stat().st_size
    before, after = load_exported(source)(made[0]), load_exported(path)(made[0])
    assert load_exported(path).about == about
    assert after.valid.any()
    assert quantized_outputs(path)
    # Random weights tell little; but the best box is still about there.
    assert (before.boxes[0, :1] - after.boxes[0]).abs().amax(dim=1).min() < 8
    done = quantize(source, path, made, facts("openvino", config, shape))
    assert done.nodes["Conv"] == 6 and "Relu" not in done.nodes
    assert not quantized_outputs(path)


def quantized_outputs(path):
    """Return the convolutions whose outputs are rounded at once."""
    nodes = onnx.load(path).graph.node
    rounded = {n.input[0] for n in nodes if n.op_type == "QuantizeLinear"}
    return [n.name for n in nodes if n.op_type == "Conv" and n.output[0] in rounded]
