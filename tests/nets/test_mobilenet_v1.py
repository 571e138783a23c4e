import json

import backbone_checks as checks
import pytest
import torch
import torch.nn.functional as F
from faster_rcnn.kernels.convolution import is_depthwise
from faster_rcnn.nets.mobilenet_v1 import MobileNetV1
from torch import Tensor

STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1)


def test_names_and_shapes_are_the_familys(shared):
    with torch.device("meta"):
        backbone = MobileNetV1()
    golden = json.loads((shared / "golden" / "state_dict_mobile.json").read_text())
    want = [
        (entry["key"], tuple(entry["shape"]))
        for entry in golden["state_dict"]
        if entry["key"].startswith("mobilenet.")
    ]
    state = backbone.state_dict(prefix="mobilenet.")
    assert [(k, tuple(v.shape)) for k, v in state.items()] == want
    backbone.freeze(backbone.default_fixed_blocks)
    frozen = {
        entry["key"]
        for entry in golden["state_dict"]
        if entry["kind"] == "parameter" and not entry["trainable"]
    }
    parameters = backbone.named_parameters(prefix="mobilenet")
    assert {k for k, p in parameters if not p.requires_grad} == frozen
    undecayed = {
        f"mobilenet.{name}.weight"
        for name, module in backbone.named_modules()
        if is_depthwise(module) and module.weight.requires_grad
    }
    assert undecayed == {
        entry["key"]
        for entry in golden["state_dict"]
        if "depthwise.0" in entry["key"] and entry.get("weight_decay") == 0.0
    }


def plain(state: dict[str, Tensor], x: Tensor, layers: range, stride_12: int) -> Tensor:
    """Layers as the table of the paper says, with unfolded norms."""

    def step(x: Tensor, key: str, stride: int, groups: int) -> Tensor:
        weight = state[f"{key}.0.weight"]
        x = F.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, groups)
        mean, var = state[f"{key}.1.running_mean"], state[f"{key}.1.running_var"]
        x = F.batch_norm(x, mean, var, state[f"{key}.1.weight"], state[f"{key}.1.bias"])
        return x.clamp(0, 6)

    for i in layers:
        stride = stride_12 if i == 12 else STRIDES[i]
        if i == 0:
            x = step(x, "Conv2d_0", stride, 1)
            continue
        x = step(x, f"Conv2d_{i}.depthwise", stride, x.shape[1])
        x = step(x, f"Conv2d_{i}.pointwise", 1, 1)
    return x


@pytest.mark.parametrize("head_stride", [1, 2])
@torch.no_grad()
def test_equals_the_plain_layers(head_stride):
    torch.manual_seed(0)
    backbone = MobileNetV1(head_stride=head_stride).train()
    checks.randomise(backbone)
    state = backbone.state_dict()
    x = checks.images(2, 3, 77, 64)
    got, sizes = checks.only_map(backbone, x)
    assert sizes is None and got.shape == (2, 512, 5, 4)
    want = plain(state, x, range(12), 1)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    pooled = checks.images(3, 512, 7, 7, seed=2)
    want = plain(state, pooled, range(12, 14), head_stride).mean((2, 3))
    got = backbone.head(pooled)
    assert got.shape == (3, 1024)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_initial_weights_are_cut_normal():
    weight = MobileNetV1().Conv2d_13.pointwise[0].weight
    assert weight.abs().max() <= 0.18
    # A normal cut at two standard deviations keeps 0.88 of its deviation.
    assert weight.std().item() == pytest.approx(0.88 * 0.09, rel=0.01)


def test_classifier_keys_are_ignored():
    with torch.device("meta"):
        backbone = MobileNetV1()
    keys = ["Conv2d_0.0.weight", "classifier.weight", "fc.bias"]
    assert backbone.ignored_keys(keys) == keys[1:]
