"""torchvision's detectors, read from their state dicts, detect what they did."""

import functools
import hashlib

import cv2
import pytest
import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.layer_utils.structures import Images
from faster_rcnn.utils.shape_only import WithoutDraws
from faster_rcnn.weights import import_weights
from faster_rcnn.weights import torchvision as names
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.class_names import COCO_CLASSES, read_classes
from faster_rcnn.weights.recognition import recognise_weights
from faster_rcnn.weights.writing import detector_config
from lively_torchvision import randomise, spread
from tiny_runs import detect_images, random_images
from torchvision.models import detection
from weight_files import check_all_needed, loaded_detector

# On these sizes, multiples of 64, all strides of torchvision's anchors are whole, and
# its resizing does nothing.
HEIGHT, WIDTH = 256, 320
R50, V2, V3, SMALL = DETECTORS = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
# Fewer proposals than by default, for speed; the small one has few.
COUNTS = {R50: 100, V2: 30, V3: 200, SMALL: 150}


@functools.cache
def peer(name):
    """torchvision's, with random weights."""
    torch.manual_seed(0)
    with WithoutDraws():
        model = getattr(detection, name)(
            weights=None,
            weights_backbone=None,
            min_size=HEIGHT,
            max_size=1024,
            rpn_post_nms_top_n_test=COUNTS[name],
        ).eval()
    randomise(model)
    return model


def ours(weights, *overrides):
    """The detector that imported weights make, and its configuration."""
    config = detector_config(weights, []).model_dump(mode="json")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        section, _, name = key.partition(".")
        config[section][name] = value
    config = Config.model_validate(config)
    return loaded_detector(config, weights), config


def photos(shared):
    """Two photos of the shared data, resized."""
    folders = ("voc2007_mini/VOCdevkit/VOC2007/JPEGImages", "bccd/JPEGImages")
    planes = []
    for folder in folders:
        path = sorted((shared / "data" / folder).glob("*.jpg"))[1]
        pixels = cv2.resize(cv2.imread(str(path)), (WIDTH, HEIGHT))
        planes.append(torch.from_numpy(pixels[:, :, ::-1].copy()).permute(2, 0, 1))
    sizes = torch.tensor([[HEIGHT, WIDTH]] * 2)
    return Images(torch.stack(planes), sizes, padded=False)


@torch.no_grad()
def assert_same(model, config, theirs, images):
    """Our detections in each image are torchvision's."""
    found = detect_images(model, config, images)
    wanted = theirs([pixels / 255 for pixels in images.pixels])
    for i, want in enumerate(wanted):
        assert len(want["scores"]) > 20 and want["scores"].std() > 0.01
        assert len(want["labels"].unique()) > 10
        valid = found.valid[i]
        parts = found.boxes[i], found.scores[i], found.classes[i]
        assert_paired([part[valid] for part in parts], want)


def assert_paired(found, want):
    """To each detection of torchvision belongs one of ours, whatever their order.

    Where two scores are nearly the same, rounding decides which comes first.
    """
    boxes, scores, classes = found
    assert len(scores) == len(want["scores"])
    left = torch.ones(len(scores), dtype=torch.bool)
    for box, score, label in zip(
        want["boxes"], want["scores"], want["labels"], strict=True
    ):
        same = left & (classes == label) & ((scores - score).abs() < 1e-4)
        same &= (boxes - box).abs().amax(1) < 0.02
        assert same.any(), (label, score, box)
        left[same.nonzero()[0]] = False


def counts(name):
    """Overrides under which ours has as many proposals as the peer."""
    small = ("rpn.test_pre_nms", 150) if name == SMALL else ()
    return (*small, "rpn.test_post_nms", COUNTS[name])


def check_equal(name, images):
    theirs = peer(name)
    spread(theirs, images)
    model, config = ours(recognise_weights(theirs.state_dict(), "FILE"), *counts(name))
    assert_same(model, config, theirs, images)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_detections_equal(name):
    check_equal(name, random_images((HEIGHT, WIDTH), multiple=32))


@pytest.mark.slow
def test_detections_in_photos_equal(shared):
    check_equal(V3, photos(shared))


def renamed(state):
    """A state dict as versions before 0.13 named it, with norms that are frozen."""
    names = {
        key: key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for key in state
        if not key.endswith("num_batches_tracked")
    }
    for key in names:
        if "_blocks." in key:
            names[key] = key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
    return {name: state[key] for key, name in names.items()}


@pytest.mark.parametrize("name", [R50, V3])
def test_names_of_old_files(name):
    state = peer(name).state_dict()
    old = renamed(state)
    assert "backbone.fpn.inner_blocks.0.weight" in old
    want, got = (recognise_weights(s, "FILE") for s in (state, old))
    assert got.kind == want.kind == f"torchvision {name} detector"
    assert got.state.keys() == want.state.keys() and got.settings == want.settings
    for key, value in got.state.items():
        assert key.endswith("tracked") or torch.equal(value, want.state[key]), key


def test_facts_about_each():
    known = {
        name: recognise_weights(peer(name).state_dict(), "FILE")
        for name in (R50, V2, V3)
    }
    assert [w.net for w in known.values()] == ["res50", "res50", "mobile_v3"]
    assert [w.style for w in known.values()] == ["pytorch", "pytorch", None]
    assert [w.anchors for w in known.values()] == [3, 3, 15]
    for weights in known.values():
        assert weights.normalisation == "torchvision" and weights.num_classes == 91
        assert weights.unused == {}
        assert weights.reason == "implied by its names"
    assert (
        known[V2].settings["head.convs"] == 4 and known[V2].settings["rpn.convs"] == 2
    )
    assert known[R50].settings["rpn.score_threshold"] == 0
    assert known[V3].settings["rpn.score_threshold"] == 0.05


def digits(path):
    """The digits that begin the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def test_published_small_one(file, monkeypatch):
    path = file(peer(V3).state_dict())
    assert import_weights(path).settings["data.test_short_side"] == 800
    monkeypatch.setattr(names, "SMALL_FILE", digits(path))
    settings = import_weights(path).settings
    assert settings["data.test_short_side"] == 320
    assert settings["rpn.test_post_nms"] == 150


@pytest.mark.slow
def test_published_one_without_epsilon(file, monkeypatch):
    state = {
        key: value * 3e-5 if key.endswith("running_var") else value
        for key, value in peer(R50).state_dict().items()
    }
    path = file(state)
    usual = import_weights(path).state
    monkeypatch.setattr(names, "NO_EPS_FILES", (digits(path),))
    for weights in (import_weights(path), import_weights(path, norm_eps=0)):
        for key, value in weights.state.items():
            if key.endswith("running_var"):
                # Ours adds 1e-5 to the variance, the published one nothing.
                want = usual[key].double()
                torch.testing.assert_close(
                    value.double() + 1e-5, want, rtol=1e-6, atol=0
                )
            else:
                assert torch.equal(value, usual[key]), key


def test_other_anchors():
    state = dict(peer(R50).state_dict())
    for layer, rows in (("cls_logits", 9), ("bbox_pred", 36)):
        for part in ("weight", "bias"):
            key = f"rpn.head.{layer}.{part}"
            state[key] = torch.zeros(rows, *state[key].shape[1:])
    with pytest.raises(CheckpointError, match=r"expected 3 anchors .* found 9"):
        recognise_weights(state, "FILE")


@pytest.mark.parametrize("name", [R50, V2, V3])
def test_whole_or_not_at_all(name):
    state = peer(name).state_dict()
    keys = [key for key in state if "num_batches" not in key][5::60]
    check_all_needed(state, keys, f"torchvision {name} detector, but")


def test_names_of_its_classes():
    """As torchvision's own list, whose gaps have no names."""
    theirs = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    ours = read_classes(None, len(theirs))
    assert len(ours) == len(set(ours)) == 91
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert mine == (f"N/A {number}" if other == "N/A" else other)
    assert tuple(name for name in ours[1:] if "N/A" not in name) == COCO_CLASSES
