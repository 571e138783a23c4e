"""torchvision's own Mask and Keypoint R-CNN, live, beside the detectors read from them.

Weights are random. Images of a batch differ in size; torchvision gets each alone, since
its zero padding changes what it finds at the edges.
"""

import copy
import functools

import pytest
import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.masks import pack_bitmaps
from faster_rcnn.layer_utils.structures import map_tensors, replace
from faster_rcnn.weights.recognition import recognise_weights
from faster_rcnn.weights.writing import detector_config
from lively_torchvision import randomise, spread
from tiny_runs import detect_images, ground_truth, random_images, without_padding
from torch import nn
from torchvision.models import detection
from weight_files import loaded_detector

pytestmark = pytest.mark.slow

MASK, MASK_V2, KEYPOINT = NAMES = (
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "keypointrcnn_resnet50_fpn",
)
# Of multiples of 64 torchvision's strides are whole; it does not resize a side of 64.
SIZES = (64, 128), (128, 64)
EVERYTHING = 100_000  # more than there is to sample


@functools.cache
def peer(name):
    """torchvision's with random weights, on few proposals."""
    torch.manual_seed(0)
    model = getattr(detection, name)(
        **{"weights": None, "weights_backbone": None, "num_classes": 6},
        **{"min_size": 64, "max_size": 1024},
        **{"rpn_post_nms_top_n_test": 30, "box_detections_per_img": 6},
        **{"rpn_post_nms_top_n_train": 16, "rpn_batch_size_per_image": EVERYTHING},
        **{"box_batch_size_per_image": 24, "box_positive_fraction": 0.5},
    ).eval()
    randomise(model)
    spread(model, random_images(SIZES[0], multiple=64, seed=9))
    # Masks in the frames of their boxes, not pasted into the image.
    model.transform.postprocess = lambda found, *_: found
    return model


@functools.cache
def ours(name):
    """The detector that torchvision's weights make, and its configuration."""
    weights = recognise_weights(peer(name).state_dict(), "FILE")
    settings = detector_config(weights, []).model_dump(mode="json")
    settings["rpn"] |= {"test_post_nms": 30, "train_post_nms": 16}
    # How torchvision trains, on all there is.
    settings["rpn"] |= {"batch_size": EVERYTHING, "border": -1, "sigma": 3}
    settings["rpn"] |= {"train_pre_nms": 2000}
    settings["head"] |= {"rois_per_image": 24, "fg_fraction": 0.5, "sigma": 3}
    settings["head"] |= {"add_ground_truth": True, "replacement": False}
    settings["test"]["detections_per_image"] = 6
    config = Config.model_validate(settings)
    return loaded_detector(config, weights), config


def one_image(index):
    return random_images(SIZES[index], multiple=64, seed=index)


def one_truth(truth, index):
    return map_tensors(truth, lambda field: field[index : index + 1])


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_detections_masks_and_keypoints_equal(name):
    model, config = ours(name)
    images = random_images(*SIZES, multiple=64, seed=1)
    assert images.padded
    found = detect_images(model, config, images)
    for i, image in enumerate(without_padding(images)):
        (want,) = peer(name)([image])
        assert len(want["scores"]) == 6 and want["scores"].std() > 0.005
        assert torch.equal(found.classes[i], want["labels"])
        assert (found.scores[i] - want["scores"]).abs().max() < 1e-4
        assert (found.boxes[i] - want["boxes"]).abs().max() < 0.02
        assert_close(found.keypoints if name == KEYPOINT else found.masks, i, want)


def assert_close(found, i, want):
    if "keypoints" in want:
        points, scores = found[i].split((2, 1), dim=2)
        assert want["keypoints_scores"].std() > 0.1
        assert (points - want["keypoints"][..., :2]).abs().max() < 0.02
        assert (scores[..., 0] - want["keypoints_scores"]).abs().max() < 1e-3
    else:
        assert want["masks"].std() > 0.1
        assert (found[i] - want["masks"][:, 0]).abs().max() < 1e-4


def truth():
    """Objects of the two images, as torchvision takes them and as we do."""
    boxes = (
        [(1, 5, 6, 45, 60), (3, 60, 10, 120, 62), (4, 40.5, 20.25, 62, 50.5)],
        [(2, 5, 20, 60, 70), (5, 10, 50, 60, 120)],
    )
    generator = torch.Generator().manual_seed(3)
    masks, keypoints = [], []
    for objects, (height, width) in zip(boxes, SIZES, strict=True):
        rows, columns = torch.meshgrid(
            torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"
        )
        masks.append([])
        for _, x1, y1, x2, y2 in objects:
            x, y = (columns - x1) / (x2 - x1), (rows - y1) / (y2 - y1)
            masks[-1].append((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.25)
        own = torch.tensor(objects)[:, None, 1:]
        points = torch.rand(len(objects), 17, 2, generator=generator)
        points = own[..., :2] + points * (own[..., 2:] - own[..., :2]) * 1.1
        seen = torch.randint(0, 3, (len(objects), 17, 1), generator=generator)
        keypoints.append(torch.cat((points, seen), 2))
    slots = ground_truth(*boxes)
    packed = torch.zeros(2, slots.boxes.shape[1], 17, 3)
    for slot, points in zip(packed, keypoints, strict=True):
        slot[: len(points)] = points
    mine = replace(
        slots,
        masks=pack_bitmaps(
            [[mask.numpy() for mask in image] for image in masks],
            slots=slots.boxes.shape[1],
        ),
        keypoints=packed,
    )
    theirs = [
        {
            "boxes": torch.tensor([box for _, *box in objects]).float(),
            "labels": torch.tensor([label for label, *_ in objects]),
            "masks": torch.stack(masks[i]).to(torch.uint8),
            "keypoints": keypoints[i],
        }
        for i, objects in enumerate(boxes)
    ]
    return mine, theirs


@pytest.mark.parametrize("name", [MASK, KEYPOINT])
@torch.no_grad()
def test_training_losses_equal(name):
    """On each image, where all candidates are samples."""
    model, _ = ours(name)
    theirs = copy.deepcopy(peer(name)).train()
    for part in theirs.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    mine, targets = truth()
    kind = "keypoint" if name == KEYPOINT else "mask"
    names = {
        "rpn_cls": "loss_objectness",
        "rpn_box": "loss_rpn_box_reg",
        "head_cls": "loss_classifier",
        "head_box": "loss_box_reg",
        kind: f"loss_{kind}",
    }
    for index in range(2):
        image = one_image(index)
        output = model.train()(image, one_truth(mine, index))
        model.eval()
        want = theirs(without_padding(image), [targets[index]])
        want = {ours: float(want[key]) for ours, key in names.items()}
        got = {key: float(value) for key, value in output.losses.items()}
        assert min(want.values()) > 1e-4
        assert got == pytest.approx(want, rel=1e-4)
