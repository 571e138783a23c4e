"""torchvision's RetinaNets, read from their state dicts: detections and losses."""

import copy
import functools

import pytest
import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.layer_utils.structures import replace
from faster_rcnn.weights import torchvision as names
from faster_rcnn.weights.layouts import layouts
from faster_rcnn.weights.recognition import recognise_weights
from faster_rcnn.weights.writing import detector_config
from tiny_runs import detect_images, ground_truth, random_images, without_padding
from torch import nn
from torchvision.models import detection
from weight_files import loaded_detector

pytestmark = pytest.mark.slow

V1, V2 = ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2")
CLASSES = 4
# Multiples of 128, on which the anchors of a padded image are those of the bare one.
SIZES = (128, 256), (256, 128)
# torchvision keeps these sizes too, and pads the batch to 160 x 256.
OTHER_SIZES = (128, 232), (150, 128)
SMALL_SIZES = (64, 68), (75, 64)  # with a shorter side of 64, of 96 x 96
OBJECTS = (
    [(1, 5, 6, 35, 45), (3, 30, 20, 65, 60), (2, 30.5, 35.25, 46, 55.5)],
    [(2, 15, 10, 60, 70)],
)


@functools.cache
def peer(name):
    """torchvision's, with random weights whose scores vary and do not saturate."""
    torch.manual_seed(0)
    model = getattr(detection, name)(
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES,
        min_size=128,
        max_size=256,
        topk_candidates=50,
        detections_per_img=60,
    ).eval()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.6, 1.2)
                part.running_var.uniform_(0.6, 1.4)
                part.running_mean.normal_(0, 0.3)
            elif isinstance(part, nn.Conv2d):
                part.weight.normal_(0, (2 / part.weight[0].numel()) ** 0.5)
        inputs, _ = model.transform([random_images(SIZES[0]).pixels[0] / 255])
        found = model.head(list(model.backbone(inputs.tensors).values()))
        head = model.head
        for layer, output, deviation in (
            (head.classification_head.cls_logits, found["cls_logits"], 1.5),
            (head.regression_head.bbox_reg, found["bbox_regression"], 0.3),
        ):
            layer.weight *= deviation / output.std()
            layer.bias.zero_()
        head.classification_head.cls_logits.bias -= 2
    return model


def ours(theirs, **changes):
    """The detector that imported weights make, and its configuration."""
    weights = recognise_weights(theirs.state_dict(), "state dict")
    settings = detector_config(weights, []).model_dump(mode="json")
    settings["dense"] |= {"pre_nms": 50} | changes
    settings["test"]["detections_per_image"] = 60
    config = Config.model_validate(settings)
    return loaded_detector(config, weights), config


@pytest.mark.parametrize(("name", "masked"), [(V1, True), (V2, True), (V2, False)])
def test_detections_equal(name, masked):
    """Of a batch of two sizes, beside each image alone, or beside torchvision's batch.

    torchvision does not mask the padding, so there an image depends on its batch.
    """
    model, config = ours(peer(name))
    sizes = SIZES if masked else OTHER_SIZES
    model.masks_padding = masked
    images = random_images(*sizes, multiple=128 if masked else 32, seed=3)
    found = detect_images(model, config, images)
    with torch.no_grad():
        wanted = [peer(name)([image])[0] for image in without_padding(images)]
        if not masked:
            alone, wanted = wanted, peer(name)(without_padding(images))
            assert not torch.equal(alone[1]["scores"], wanted[1]["scores"])
    for i, want in enumerate(wanted):
        # torchvision may find objects of class 0, and then fewer of others.
        kept = want["labels"] > 0
        count = int(kept.sum())
        assert count > 15 and len(want["labels"][kept].unique()) == CLASSES - 1
        assert torch.equal(found.classes[i][:count], want["labels"][kept])
        for got, key, atol in (
            (found.scores, "scores", 1e-4),
            (found.boxes, "boxes", 0.02),
        ):
            torch.testing.assert_close(
                got[i][:count], want[key][kept], rtol=0, atol=atol
            )


def test_losses_and_gradients_equal():
    """Of a batch of two sizes, whose padding torchvision does not mask.

    In float64 and from the same input, since rounding moves ReLUs over their edge.
    """
    theirs = copy.deepcopy(peer(V2)).double()
    theirs.transform.min_size = (64,)
    model = ours(peer(V2))[0].double().requires_grad_(True)
    model.masks_padding = False
    for buffer, values in (
        (model.pixel_mean, theirs.transform.image_mean),
        (model.pixel_std, theirs.transform.image_std),
    ):
        buffer.copy_(255 * torch.tensor(values, dtype=torch.float64)[:, None, None])
    images = random_images(*SMALL_SIZES, multiple=32, seed=2)
    truth = ground_truth(*OBJECTS)
    truth = replace(truth, boxes=truth.boxes.double())
    targets = [
        {"boxes": boxes[valid], "labels": classes[valid]}
        for boxes, classes, valid in zip(*truth[:3], strict=True)
    ]
    for part in (theirs, theirs.transform):
        part.training = True  # and not its norms
    want = theirs(
        without_padding(images._replace(pixels=images.pixels.double())), targets
    )
    sum(want.values()).backward()
    output = model(images, truth)
    output.total().backward()
    got = list(output.losses.values())
    for loss, key in zip(got, ("classification", "bbox_regression"), strict=True):
        assert loss.item() == pytest.approx(want[key].item(), rel=1e-5) and loss > 0.01
    parameters = dict(model.named_parameters())
    checked = 0
    for key, there in names_of(V2)[0].names.items():
        if key not in parameters:
            continue
        ours_, theirs_ = parameters[key].grad, theirs.get_parameter(there).grad
        assert (ours_ - theirs_).norm() <= 1e-6 * theirs_.norm(), key
        checked += 1
    assert checked > 60


def test_old_names():
    """Files of versions before 0.13 number the ReLUs between convolutions too."""
    state = peer(V1).state_dict()
    (old,) = (layout for layout in names_of(V1) if "conv.6.weight" in str(layout.names))
    (new,) = (
        layout for layout in names_of(V1) if "conv.3.0.weight" in str(layout.names)
    )
    renamed = {old.names[key]: state[name] for key, name in new.names.items()}
    one, other = (recognise_weights(each, "state") for each in (state, renamed))
    assert one.state.keys() == other.state.keys() and one.settings == other.settings
    assert all(torch.equal(one.state[key], other.state[key]) for key in one.state)


def names_of(name):
    return [each for each in layouts() if each.kind == f"torchvision {name} detector"]


def test_p6_names_its_source():
    assert names.DETECTORS[V1][1]["net.fpn_coarser_by"] == "p5"
    assert ours(peer(V1))[1].net.fpn_coarser_by == "p5"
    assert ours(peer(V2))[1].net.fpn_coarser_by == "c5"
