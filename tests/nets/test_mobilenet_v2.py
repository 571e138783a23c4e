import pytest
import torch
from faster_rcnn.nets.mobilenet_v2 import MobileNetV2


def test_imagenet_weights_load(shared):
    path = shared / "weights" / "mobilenet_v2_imagenet.pth"
    if not path.is_file():
        pytest.skip("the ImageNet weights are not on this machine")
    state = torch.load(path, weights_only=True)
    backbone = MobileNetV2()
    for key in backbone.ignored_keys(state):
        del state[key]
    backbone.load_state_dict(state)
    assert backbone.features[0][1].running_var.min() > 0
