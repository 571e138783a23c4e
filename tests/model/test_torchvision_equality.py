"""Under torchvision's convention our detections and losses are torchvision's."""

import pytest
import torch
from faster_rcnn.layer_utils.structures import Images
from faster_rcnn.model.two_stage import TwoStage
from tiny_runs import (
    detect_images,
    ground_truth,
    random_images,
    randomise,
    tiny_config,
    tiny_detector,
)
from torchvision_peer import (
    CONVENTION,
    RETINANET,
    TRAINING,
    build_peer,
    copy_weights,
)

CLASSES = 5
SETTINGS = (
    *("net.norm", "frozen"),
    *("anchors.scales", "[2,4,8]"),
    *("rpn.test_pre_nms", 300),
    *("rpn.test_post_nms", 50),
    *("pooling.size", 7),
    *("test.score_threshold", 0.05),
    *("test.nms_threshold", 0.5),
    *CONVENTION,
)
PYRAMID = (
    *("net.features", "fpn"),
    *("net.fpn_channels", 32),
    *("anchors.scales", "[4]"),
    *("head.fc_channels", 64),
)
NETS = {
    "mobile_v2": ("net.name", "mobile_v2", "net.head_stride", 2),
    "mobile_v2, stride 1": ("net.name", "mobile_v2", "net.head_stride", 1),
    "res50": ("net.name", "res50", "net.head_stride", 1, "rpn.test_post_nms", 20),
    "mobile_v2_fpn": ("net.name", "mobile_v2", *PYRAMID),
    "res18_fpn": ("net.name", "res18", *PYRAMID),
}
# Multiples of the coarsest stride: torchvision pads to 32, and takes the padded size
# divided by that of the map for its stride.
SIZES = (128, 256), (192, 128)


def pair(*overrides, seed=0):
    """Our detector and torchvision's with the same weights, and our configuration."""
    config = tiny_config(*SETTINGS, *overrides)
    ours = tiny_detector(config, classes=CLASSES, seed=seed).eval()
    randomise(ours, seed=7)  # no two scores that rounding would put in order
    spread(ours, random_images(SIZES[0], multiple=64, seed=9))
    peer = build_peer(config, CLASSES).eval()
    copy_weights(ours, peer)
    return ours, peer, config


@torch.no_grad()
def spread(model: TwoStage, images: Images) -> None:
    """Scale the output layers so that scores and boxes vary, and none saturates."""
    features = model.features(images)
    regions = model.rpn(features)
    head, predictor = model.rpn.head, model.box_head.predictor
    head.scores.weight *= 2 / regions.objectness_logits.std()
    head.deltas.weight *= 0.3 / regions.pred_deltas.std()
    proposals = model.rpn.propose(model.rpn(features), images.sizes)
    logits, deltas = model.box_head(features, proposals.boxes)
    logits = logits.flatten(0, 1)
    scale = 2 / logits.std(0)  # (C,)
    predictor.scores.weight *= scale[:, None]
    predictor.scores.bias -= logits.mean(0) * scale
    predictor.deltas.weight *= 1 / deltas.std()


def bare_inputs(model: TwoStage, images: Images) -> list[torch.Tensor]:
    """Images as torchvision's body expects them."""
    pixels = (images.pixels.float() - model.pixel_mean) / model.pixel_std
    sizes = images.sizes.tolist()
    return [image[:, :h, :w] for image, (h, w) in zip(pixels, sizes, strict=True)]


@torch.no_grad()
def torchvisions(ours, peer, images: Images) -> list[dict[str, torch.Tensor]]:
    """The peer's detections in each image alone: many, of all classes."""
    found = [peer([image])[0] for image in bare_inputs(ours, images)]
    for entry in found:
        assert len(entry["scores"]) > 20 and entry["scores"].std() > 0.05
        assert len(entry["labels"].unique()) == CLASSES - 1
    return found


def assert_same(ours, config, images: Images, wanted) -> None:
    """Our detections of the batch, padded or not, are the wanted ones."""
    found = detect_images(ours, config, images)
    for i, want in enumerate(wanted):
        valid = found.valid[i]
        assert valid.sum() == len(want["scores"])
        assert torch.equal(found.classes[i][valid], want["labels"])
        for got, name, tolerance in (
            (found.scores, "scores", 1e-4),
            (found.boxes, "boxes", 1e-3),
        ):
            torch.testing.assert_close(
                got[i][valid], want[name], rtol=0, atol=tolerance
            )


SLOW = dict.fromkeys(["res50", "mobile_v2, stride 1", "res18_fpn"], pytest.mark.slow)


@pytest.mark.parametrize("net", [pytest.param(n, marks=SLOW.get(n, ())) for n in NETS])
def test_detections_equal(net):
    ours, peer, config = pair(*NETS[net])
    single = random_images(SIZES[0], multiple=64)
    assert_same(ours, config, single, torchvisions(ours, peer, single))
    padded = random_images(*SIZES, multiple=64, seed=1)
    assert padded.padded
    assert_same(ours, config, padded, torchvisions(ours, peer, padded))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("boxes.offset", 1),
        ("anchors.centre", "cell"),
        ("anchors.rounding", "none"),
        ("pooling.aligned", "true"),
        ("pooling.sampling_ratio", 1),
    ],
)
def test_detections_differ_under_another_convention(key, value):
    ours, peer, _ = pair(*NETS["mobile_v2"])
    images = random_images(SIZES[0], multiple=64)
    wanted = torchvisions(ours, peer, images)
    config = tiny_config(*SETTINGS, *NETS["mobile_v2"], key, value)
    other = tiny_detector(config, classes=CLASSES).eval()
    other.load_state_dict(ours.state_dict())
    with pytest.raises(AssertionError):
        assert_same(other, config, images, wanted)


OBJECTS = (
    [(1, 10, 12, 70, 90), (3, 100, 40, 200, 120), (4, 60.5, 70.25, 92, 110.5)],
    [(2, 30, 20, 120, 100), (2, 130, 60, 180, 120)],
)


def training_losses(net, *overrides) -> tuple[dict[str, float], dict[str, float]]:
    """Our losses and torchvision's where the samples are all candidates."""
    everything = (
        *("rpn.batch_size", 100_000),
        *("rpn.train_pre_nms", 300),
        *("rpn.train_post_nms", 60),
        *("head.rois_per_image", 130),
        *("head.fg_fraction", 0.5),
    )
    ours, peer, _ = pair(*NETS[net], *everything, *TRAINING, *overrides)
    images = random_images(SIZES[0], SIZES[0], multiple=64, seed=2)
    targets = [
        {
            "boxes": torch.tensor([box for _, *box in objects]).float(),
            "labels": torch.tensor([label for label, *_ in objects]),
        }
        for objects in OBJECTS
    ]
    with torch.no_grad():
        output = ours.train()(images, ground_truth(*OBJECTS))
        want = peer.train()(bare_inputs(ours, images), targets)
    names = {
        "rpn_cls": "loss_objectness",
        "rpn_box": "loss_rpn_box_reg",
        "head_cls": "loss_classifier",
        "head_box": "loss_box_reg",
    }
    return (
        {name: float(value) for name, value in output.losses.items()},
        {name: float(want[theirs]) for name, theirs in names.items()},
    )


@pytest.mark.parametrize("net", ["mobile_v2", "mobile_v2_fpn"])
def test_losses_equal(net):
    got, want = training_losses(net)
    assert min(want.values()) > 1e-4
    assert got == pytest.approx(want, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("rpn.border", 0, {"rpn_cls", "rpn_box"}),
        ("rpn.sigma", 1, {"rpn_box"}),
        ("head.sigma", 1, {"head_box"}),
        ("head.add_ground_truth", "false", {"head_cls", "head_box"}),
    ],
)
def test_losses_differ_by_what_is_not_torchvisions(key, value, changed):
    got, want = training_losses("mobile_v2", key, value)
    differing = {name for name in got if got[name] != pytest.approx(want[name], 1e-4)}
    assert differing == changed


RETINA_NET = (
    *("net.name", "mobile_v2", "net.features", "fpn", "net.detector", "retinanet"),
    *("net.norm", "frozen", "net.fpn_channels", 32, "net.fpn_finest", 8),
    *("net.fpn_coarser", 2, "anchors.scales", "[4, 6]", "dense.pre_nms", 50),
    *("test.score_threshold", 0.05, "test.detections_per_image", 300),
    *CONVENTION,
    *RETINANET,
)
# Multiples of 128, the coarsest stride; see SIZES.
RETINA_SIZES = (128, 256), (256, 128)


def retina_pair(by: str):
    """Our RetinaNet and torchvision's with the same weights, and our configuration."""
    config = tiny_config(*RETINA_NET, "net.fpn_coarser_by", by)
    ours = tiny_detector(config, classes=CLASSES).eval()
    randomise(ours, seed=7)
    with torch.no_grad():
        head = ours.dense_head
        images = random_images(RETINA_SIZES[0], multiple=128, seed=9)
        output = head(ours.features(images))
        head.predictor.scores.weight *= 1.5 / output.class_logits.std()
        head.predictor.deltas.weight *= 0.3 / output.pred_deltas.std()
        head.predictor.scores.bias.fill_(-2)
    peer = build_peer(config, CLASSES).eval()
    copy_weights(ours, peer)
    return ours, peer, config


@pytest.mark.parametrize("by", ["p5", "c5"])
def test_retinanets_equal(by):
    ours, peer, config = retina_pair(by)
    images = random_images(*RETINA_SIZES, multiple=128, seed=1)
    wanted = []
    for image in bare_inputs(ours, images):
        with torch.no_grad():
            (found,) = peer([image])
        # torchvision may find objects of class 0.
        found = {key: x[found["labels"] > 0] for key, x in found.items()}
        assert len(found["scores"]) > 20 and found["scores"].std() > 0.05
        wanted.append(found)
    assert_same(ours, config, images, wanted)
