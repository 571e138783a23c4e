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
    """A backbone of five convolutions, masked, and the RPN's two layers."""
    nodes = [
        node("Sub", ["pixels", "mean"], "x0"),
        *(node("Conv", [f"x{i}", "w"], f"x{i + 1}") for i in range(4)),
        node("Relu", ["x4"], "x5"),
        node("Mul", ["x5", "mask"], "x6"),
        node("Conv", ["x6", "w"], "x7"),
        node("Add", ["x7", "x6"], "x8"),
        node("Add", ["x8", "anything"], "x9"),
        node("Conv", ["x8", "model.rpn.head.scores.weight"], "scores"),
        node("Conv", ["x8", "w2", "model.rpn.head.deltas.bias"], "deltas"),
        node("Mul", ["deltas", "widths"], "boxes"),
        node("MatMul", ["x8", "computed"], "product"),
    ]
    names = ["w", "w2", "model.rpn.head.scores.weight", "model.rpn.head.deltas.bias"]
    weights = [onnx.helper.make_tensor(name, 1, [1], [1.0]) for name in names]
    graph = onnx.helper.make_graph(nodes, "g", [], [], initializer=weights)
    chosen, kept = choose_nodes(graph)
    assert chosen == ["x4", "x5", "x6", "x7", "x8"]
    assert kept == ["x1", "x2", "x3", "model.rpn.head.scores", "model.rpn.head.deltas"]


def test_quantized_file(tmp_path):
    config, shape = small_config(), Shape(batch=1, size=(96, 128))
    about = facts("onnx", config, shape)
    source, path = tmp_path / "a.onnx", tmp_path / "b.onnx"
    write_onnx(trace(small_program(config), shape), source, about)
    made = list(batches(pictures((96, 128), (100, 100)), about))
    done = quantize(source, path, made, about)
    assert done.nodes["Conv"] > 10 and len(done.kept) == 7  # 3 first, 4 last
    assert path.stat().st_size < 0.5 * source.stat().st_size
    before, after = load_exported(source)(made[0]), load_exported(path)(made[0])
    assert load_exported(path).about == about
    assert after.valid.any()
    # Random weights tell little; but the best box is still about there.
    assert (before.boxes[0, :1] - after.boxes[0]).abs().amax(dim=1).min() < 8
