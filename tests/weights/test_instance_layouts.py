"""Heads of masks and keypoints in the files of Detectron and Detectron2, by name."""

import pytest
import torch
from faster_rcnn.weights.recognition import recognise_weights
from weight_files import check_whole, detectron2_state, detectron_blobs, ramp


def convs(count, into, out, name):
    return {name.format(k + 1): (out, out if k else into, 3, 3) for k in range(count)}


def mask_layers(into, names, *, count=4, classes=81):
    """Shapes of a mask head's weights; names of convolutions, deconvolution, masks."""
    width = 256 if count else into
    return {
        **convs(count, into, 256, names[0]),
        names[1]: (width, 256, 2, 2),
        names[2]: (classes, 256, 1, 1),
    }


def keypoint_layers(names):
    return {**convs(8, 256, 512, names[0]), names[1]: (512, 17, 4, 4)}


DETECTRON = ("_[mask]_fcn{}", "conv5_mask", "mask_fcn_logits")
HEAD = "roi_heads.mask_head"
DETECTRON2 = (f"{HEAD}.mask_fcn{{}}", f"{HEAD}.deconv", f"{HEAD}.predictor")
KEYPOINT = "roi_heads.keypoint_head"
FILES = {
    "Detectron R50-MASK C4": ("c4", mask_layers(2048, DETECTRON, count=0)),
    "Detectron R50-MASK FPN": ("fpn", mask_layers(256, DETECTRON)),
    "Detectron R50-KEYPOINT FPN": (
        *("fpn", keypoint_layers(("conv_fcn{}", "kps_score_lowres"))),
    ),
    "Detectron2 R50-MASK DC5": ("dc5", mask_layers(2048, DETECTRON2, classes=80)),
    "Detectron2 R50-KEYPOINT FPN": (
        "fpn",
        keypoint_layers((f"{KEYPOINT}.conv_fcn{{}}", f"{KEYPOINT}.score_lowres")),
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_recognised_by_its_names(kind):
    features, layers = FILES[kind]
    ending, beside = (".weight", ".bias"), {}
    if kind.startswith("Detectron2"):
        state = detectron2_state("res50", 81, features)
    else:
        ending, beside = ("_w", "_b"), {"kps_score_w": torch.zeros(17, 17, 4, 4)}
        named = detectron_blobs("res50", 81, features).values()
        state = {name: ramp(shape, i) for i, (name, shape) in enumerate(named)}
    for number, (name, shape) in enumerate(layers.items()):
        out = shape[1] if shape[-1] in (2, 4) else shape[0]  # deconvolutions: in, out
        state[name + ending[0]] = ramp(shape, number)
        state[name + ending[1]] = ramp((out,), number)
    weights = recognise_weights(state | beside, "FILE")
    assert weights.kind == f"{kind} detector" and weights.num_classes == 81
    assert set(beside) <= weights.unused.keys() and weights.used == len(state)
    check_whole(weights)
    # Each layer has its own values, in their order.
    head = "keypoint_head" if "KEYPOINT" in kind else "mask_head"
    keys = [k for k in weights.state if k.startswith(head) and k.endswith("weight")]
    assert len(keys) == len(layers)
    for key, name in zip(keys, layers, strict=True):
        theirs = state[name + ending[0]]
        assert torch.equal(weights.state[key][-len(theirs) :], theirs), key
