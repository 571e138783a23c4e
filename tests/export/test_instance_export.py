"""Detectors of masks and keypoints as files, beside themselves."""

import json
from functools import cache
from importlib.util import find_spec

import pytest
import torch
from exported_detectors import PYRAMID, facts, pictures, small_config
from faster_rcnn.datasets.records import KeypointNames
from faster_rcnn.detector import Detector
from faster_rcnn.detector.about import About, Shape
from faster_rcnn.detector.running import Exported
from faster_rcnn.export import ExportError
from faster_rcnn.export.formats import (
    convert_to_openvino,
    trace,
    write_onnx,
    write_program,
)
from faster_rcnn.export.parity import Differences, compare, pair_image, require_equal
from faster_rcnn.export.photos import batches
from faster_rcnn.export.program import DetectionProgram
from faster_rcnn.inference.image_results import to_image_detections
from faster_rcnn.layer_utils.structures import Detections
from tiny_runs import CLASSES, randomise, tiny_detector

CPU = torch.device("cpu")
NAMES = KeypointNames(("a", "b", "c", "d"), ((0, 1),), ((0, 2), (2, 3)))
SIZES = (96, 140), (100, 100)


def detector():
    """A small one with both heads on a pyramid, whose masks are no grey."""
    config = small_config(
        *(*PYRAMID, "anchors.scales", "[1]"),
        *("head.fcs", 2, "head.fc_channels", 64, "data.size_multiple", 32),
        *("mask.enabled", "true", "mask.channels", 16, "mask.convs", 1),
        *("keypoint.enabled", "true", "keypoint.channels", 16, "keypoint.convs", 1),
        *("keypoint.count", 4, "test.detections_per_image", 5),
    )
    model = tiny_detector(config)
    randomise(model)
    with torch.no_grad():
        for part in (model.rpn.head, model.box_head.predictor):
            part.deltas.weight *= 0.2  # boxes with an area
        model.mask_head.predictor.weight *= 20
    return Detector(
        model, config, CLASSES, device=CPU, dtype=torch.float32, keypoints=NAMES
    )


@pytest.fixture(scope="module")
def traced():
    """The detector, and its program and trace with pasted masks or with small ones."""
    own, shape = detector(), Shape(batch=2, size=(128, 192))

    @cache
    def traced(paste):
        config = own.config
        program = DetectionProgram(
            own.model, boxes=config.boxes, test=config.test, paste=paste
        )
        return own, program, trace(program, shape), shape

    return traced


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "paste"), [("program", False), ("program", True), ("onnx", True)]
)
def test_a_file_is_the_detector(traced, kind, paste, tmp_path):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    own, program, graph, shape = traced(paste)
    about = About.of(kind, own.config, CLASSES, shape, pasted=paste, keypoints=NAMES)
    path = tmp_path / ("a.onnx" if kind == "onnx" else "a.pt2")
    (write_onnx if kind == "onnx" else write_program)(graph, path, about)
    expect_the_detector(path, own, program)
    if kind == "onnx" and find_spec("openvino"):
        convert_to_openvino(path, path.with_suffix(".xml"))
        expect_the_detector(path.with_suffix(".xml"), own, program)


def expect_the_detector(path, own, program):
    detector = Detector.from_checkpoint(path)
    loaded = detector.model
    paste = loaded.about.pasted
    photos = pictures(*SIZES)
    made = batches(photos, loaded.about)
    found = compare(program, loaded, made, threshold=0.05, device=CPU)
    require_equal(found)
    assert found.detections > 5 and found.points > (500 if paste else 20)
    # The loaded file gives the detector's own results, a lone picture filled up.
    assert detector(photos[0]).names == own(photos[0]).names
    for result, photo in zip(detector(photos), photos, strict=True):
        wanted = own(photo)
        assert result.size == wanted.size and result.class_names == CLASSES
        assert result.names == wanted.names and len(result) > 2
        torch.testing.assert_close(result.boxes, wanted.boxes, atol=0.01, rtol=0)
        assert 0 < wanted.masks.float().mean() < 1
        assert (result.masks != wanted.masks).float().mean() < 1e-3
        moved = (result.keypoints - wanted.keypoints).abs() > 0.02
        assert moved.float().mean() < 0.05 and result.keypoint_names == NAMES


def test_pasting_in_the_graph_is_pasting_after_it():
    own = detector()
    config, shape = own.config, Shape(multiple=32)
    about = facts("program", config, shape)
    (inputs,) = batches(pictures(*SIZES), about, batch=2)
    small, pasted = (
        Detections(
            *DetectionProgram(
                own.model, boxes=config.boxes, test=config.test, paste=paste
            )(*inputs)
        )
        for paste in (False, True)
    )
    assert small.masks.shape[2:] == (28, 28) and pasted.masks.shape[2:] == (100, 140)
    options = {"image_ids": ("a", "b"), "original_sizes": inputs.original_sizes}
    one = to_image_detections(small, **options, offset=0)
    other = to_image_detections(pasted, **options, offset=0, pasted=True)
    for a, b in zip(one, other, strict=True):
        assert len(a.masks) > 2 and a.masks == b.masks
    assert not pasted.masks[1, :, :, 100:].any()  # outside the smaller image


def found(**changes):
    fields = {
        "boxes": torch.tensor([[1.0, 2, 30, 40]]),
        "scores": torch.tensor([0.9]),
        "classes": torch.tensor([1]),
        "valid": torch.tensor([True]),
        "masks": torch.full((1, 28, 28), 0.25),
        "keypoints": torch.tensor([[[5.0, 6.0, 0.5]] * 4]),
    }
    return Detections(**fields | changes)


def test_other_masks_and_keypoints_are_found():
    same = pair_image(found(), found(), threshold=0.1)
    require_equal(same)
    assert same == Differences(images=1, detections=1, points=4)
    moved = found().keypoints.clone()
    moved[0, 1, 0] += 0.2
    bits = torch.zeros(1, 60, 60, dtype=torch.bool)
    bits[:, 2:40, 1:30] = True
    other = bits.clone()
    other[:, 2:40, 1:3] = False
    for one, two in (
        (found(), found(masks=torch.full((1, 28, 28), 0.28))),
        (found(), found(keypoints=moved)),
        (found(masks=bits), found(masks=other)),
    ):
        with pytest.raises(ExportError, match="differs from the detector"):
            require_equal(pair_image(one, two, threshold=0.1))


def test_what_a_file_fixes():
    (photo,) = pictures((96, 140))
    about = About.of("onnx", small_config(), CLASSES, Shape(batch=2))
    config = about.config()
    assert config.test.batch_size == 2 and config.data.test_short_side == 96
    file = Exported(about, lambda inputs: [])
    found = Detector(file, config, CLASSES, device=CPU, dtype=about.dtype)
    for call in (
        lambda: found(photo, tiles=64),
        lambda: found.embed(photo, [[0, 0, 9, 9]]),
    ):
        with pytest.raises(ValueError, match="load the checkpoint"):
            call()
    about.expect_options(device="cpu", precision="float32", compile=False)
    for option in ({"compile": True}, {"device": "cuda"}, {"overrides": ["a.b", "1"]}):
        with pytest.raises(ExportError, match=f"found {next(iter(option))}"):
            about.expect_options(**option)


def test_facts_survive():
    about = About.of(
        "onnx", detector().config, CLASSES, Shape(), pasted=True, keypoints=NAMES
    )
    again = About.from_json(about.to_json(), source="a.onnx")
    assert again == about and again.outputs[-2:] == ("masks", "keypoints")
    # Files of earlier versions say nothing of them.
    facts = json.loads(about.to_json())
    for key in ("outputs", "pasted", "whole_pixel_masks", "keypoints"):
        del facts[key]
    old = About.from_json(json.dumps(facts), source="a.onnx")
    assert old.outputs == ("boxes", "scores", "classes", "valid")
    assert old.keypoints is None and not old.pasted
