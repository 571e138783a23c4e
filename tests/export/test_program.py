"""Whole detectors, traced, written, loaded and compared."""

import pytest
import torch
from exported_detectors import (
    FREE,
    PYRAMID,
    CallsOperators,
    facts,
    pictures,
    small_config,
    small_program,
)
from faster_rcnn.detector.about import About
from faster_rcnn.export import ExportError, load_exported
from faster_rcnn.export.formats import (
    check_expressible,
    trace,
    write_onnx,
    write_package,
    write_program,
)
from faster_rcnn.export.parity import compare, require_equal
from faster_rcnn.export.photos import batches, make_inputs
from faster_rcnn.export.program import Inputs, Shape, example_inputs
from faster_rcnn.inference.image_results import to_image_detections
from faster_rcnn.inference.postprocess import detect_batch
from faster_rcnn.layer_utils.structures import Detections, tensors_of
from loader_words import evaluation_batches_of as loaded_batches
from tiny_runs import CASCADE, RETINANET, draw_dataset

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def assert_same(program, exported, sizes):
    """The file finds what the detector finds, in batches of 1 and of several."""
    for count in (1, len(sizes)):
        made = batches(pictures(*sizes), exported.about, batch=count)
        found = compare(program, exported, made, threshold=0.05, device=CPU)
        require_equal(found)
        assert found.images >= len(sizes) and found.detections > 5


def test_program_is_the_detector(tmp_path):
    """Of a legacy detector: boxes become edges, as the evaluation has them."""
    config = small_config("boxes.offset", 1, "boxes.nms_offset", 1)
    program = small_program(config)
    dataset = draw_dataset(tmp_path, 3)
    (batch,) = loaded_batches(
        dataset.records,
        batch_size=3,
        short_side=96,
        long_side=140,
        offset=1,
        size_multiple=32,
        workers=0,
    )
    detections = detect_batch(
        program.model, batch, boxes=config.boxes, test=config.test, dtype=torch.float32
    )
    expected = to_image_detections(
        detections, batch.image_ids, batch.original_sizes, offset=1
    )
    with torch.no_grad():
        found = Detections(
            *program(*batch.images[:2], batch.scales, batch.original_sizes)
        )
    assert not found.boxes[~found.valid].any()
    for entry, got in zip(
        expected,
        to_image_detections(found, batch.image_ids, batch.original_sizes, offset=0),
        strict=True,
    ):
        assert len(entry.boxes) > 0
        assert (entry.boxes == got.boxes).all() and (entry.scores == got.scores).all()


def test_exported_program(tmp_path):
    """Of a pyramid whose sizes and batch are free."""
    config, shape = small_config(*PYRAMID), Shape(multiple=64)
    program = small_program(config)
    traced = trace(program, shape)
    # Stack traces would put paths of this machine into the file.
    assert not any("stack_trace" in node.meta for node in traced.graph.nodes)
    about = facts("program", config, shape)
    write_program(traced, tmp_path / "a.pt2", about)
    exported = load_exported(tmp_path / "a.pt2")
    assert exported.about == about
    assert_same(program, exported, [(96, 140), (100, 100), (180, 96)])


NETS = {  # Faster R-CNN with a pyramid, masks and keypoints: test_instance_export.py
    "cascade": CASCADE,
    "retinanet": (*RETINANET, "dense.convs", 1),
}


@pytest.mark.parametrize("net", NETS)
def test_onnx(net, tmp_path):
    """Of fixed shape, since a free one takes PyTorch a minute."""
    pytest.importorskip("onnxruntime")
    config = small_config(*NETS[net], "data.size_multiple", 32)
    shape = Shape(batch=2, size=(96, 128))
    program = small_program(config)
    about = facts("onnx", config, shape)
    write_onnx(trace(program, shape), tmp_path / "a.onnx", about)
    exported = load_exported(tmp_path / "a.onnx")
    assert exported.about == about
    assert_same(program, exported, [(96, 128), (100, 100), (180, 96)])


def test_fixed_and_bare():
    config = small_config()
    shape = Shape(batch=2, size=(96, 128), padded=False)
    program = small_program(config, padded=False)
    module = trace(program, shape).module()
    inputs = make_inputs(pictures((96, 128), (50, 200)), facts("", config, shape))
    with torch.no_grad():
        for one, other in zip(program(*inputs), module(*inputs), strict=True):
            torch.testing.assert_close(one, other)
        with pytest.raises((AssertionError, RuntimeError)):
            module(*example_inputs(shape._replace(batch=1), CPU))


# What takes the compiler longest serves none of the operators.
QUICKLY_COMPILED = {
    "cpp.vec_isa_ok": False,
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "aot_inductor.precompile_headers": False,
}


def test_compiled_operators(tmp_path):
    """The package's operators are found from compiled code."""
    module = CallsOperators()
    inputs = Inputs(
        torch.rand(1, 2, 6, 6) * 255,
        torch.zeros(1, 2),
        torch.ones(1),
        torch.tensor([[3, 4, 5]]),
    )
    expected = module(*inputs)
    assert expected[3].sum() == 2  # a half of the largest suppresses none of it
    about = facts("aoti", small_config(), FREE)
    traced = torch.export.export(module, tuple(inputs))
    try:
        with torch._inductor.config.patch(QUICKLY_COMPILED):
            write_package(traced, tmp_path / "a.pt2", about)
    except ExportError as error:
        pytest.skip(str(error))
    exported = load_exported(tmp_path / "a.pt2")
    assert exported.about == about
    for one, other in zip(expected, tensors_of(exported(inputs)), strict=True):
        torch.testing.assert_close(one, other)


def test_parts_that_onnx_cannot_express():
    program = small_program(small_config())
    check_expressible(program)
    nms = program.test
    program.test = small_config("test.suppression", "soft_gaussian").test
    with pytest.raises(ExportError, match="suppression"):
        check_expressible(program)
    program.test = nms
    program.dtype = torch.bfloat16
    with pytest.raises(ExportError, match="bfloat16"):
        check_expressible(program)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ExportError, match="does not exist"):
        load_exported(tmp_path / "none.onnx")
    (tmp_path / "a.pt2").write_bytes(b"something else")
    with pytest.raises(ExportError, match="neither"):
        load_exported(tmp_path / "a.pt2")
    with pytest.raises(ExportError, match="export it again"):
        About.from_json("{}", source="a.pt2")
