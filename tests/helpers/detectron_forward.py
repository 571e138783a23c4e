"""Detectron2's detectors as plain functions of its state dict, to compare with."""

import torch
import torch.nn.functional as F
from weight_files import BLOCKS, PREFIXES


def backbone(x, state, net, features):
    """The maps res2 to res5 of ``(N, 3, H, W)`` BGR, to res4 with C4."""
    prefix = PREFIXES[features]
    x = F.relu(_conv(x, state, f"{prefix}.stem.conv1", stride=2, padding=3))
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for stage, count in enumerate(BLOCKS[net], start=2):
        if stage == 5 and features == "c4":
            break
        dilated = stage == 5 and features == "dc5"
        stride = 1 if stage == 2 or dilated else 2
        name = f"{prefix}.res{stage}"
        x = _stage(x, state, name, net, count, stride, 2 if dilated else 1)
        maps.append(x)
    return maps


def pyramid(maps, state):
    """P2 to P6."""
    above, outputs = None, []
    for stage, x in zip((5, 4, 3, 2), reversed(maps), strict=True):
        inner = _plain(x, state, f"backbone.fpn_lateral{stage}")
        if above is not None:
            inner = inner + F.interpolate(above, scale_factor=2.0)
        above = inner
        outputs.insert(0, _plain(inner, state, f"backbone.fpn_output{stage}"))
    return [*outputs, F.max_pool2d(outputs[-1], 1, 2)]


def rpn(x, state):
    """One score and four deltas per anchor: ``(N, K, H, W)``, ``(N, 4K, H, W)``."""
    head = "proposal_generator.rpn_head"
    x = F.relu(_plain(x, state, f"{head}.conv"))
    logits = _plain(x, state, f"{head}.objectness_logits")
    return logits, _plain(x, state, f"{head}.anchor_deltas")


def region(pooled, state, net, features):
    """Logits, background last, and deltas ``(M, 4(C-1))`` of pooled regions."""
    if features == "c4":
        x = _stage(pooled, state, "roi_heads.res5", net, BLOCKS[net][3], 2, 1)
        x = x.mean((2, 3))
    else:
        x = pooled.flatten(1)
        for layer in ("fc1", "fc2"):
            x = F.relu(_linear(x, state, f"roi_heads.box_head.{layer}"))
    predictor = "roi_heads.box_predictor"
    logits = _linear(x, state, f"{predictor}.cls_score")
    return logits, _linear(x, state, f"{predictor}.bbox_pred")


def _stage(x, state, name, net, count, stride, dilation):
    for block in range(count):
        x = _block(x, state, f"{name}.{block}", net, stride, dilation)
        stride = 1
    return x


def _block(x, state, name, net, stride, dilation):
    """Stride in the first 1x1 for ResNets, in the 3x3 for ResNeXts."""
    first, second = (1, stride) if net == "resx101" else (stride, 1)
    groups = 32 if net == "resx101" else 1
    out = F.relu(_conv(x, state, f"{name}.conv1", stride=first))
    options = {"padding": dilation, "dilation": dilation, "groups": groups}
    out = F.relu(_conv(out, state, f"{name}.conv2", stride=second, **options))
    out = _conv(out, state, f"{name}.conv3")
    if f"{name}.shortcut.weight" in state:
        x = _conv(x, state, f"{name}.shortcut", stride=stride)
    return F.relu(out + x)


def _conv(x, state, name, **options):
    x = F.conv2d(x, state[f"{name}.weight"], **options)
    parts = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{name}.norm.{part}"] for part in parts))


def _plain(x, state, name):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def _linear(x, state, name):
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def compare(model, state, net, features, *, std=1.0):
    """Assert that our detector computes what Detectron2's layers do, at each step.

    Args:
        model: ours, with the imported weights.
        state: under Detectron2's names.
        net, features: of both.
        std: deviation in BGR, by which the input is divided.
    """
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (1, 3, 64, 128), generator=generator).float()
    mean = model.pixel_mean.flip(0)
    x = (pixels.flip(1) - mean) / torch.as_tensor(std).view(-1, 1, 1)
    want = backbone(x, state, net, features)
    want = pyramid(want, state) if features == "fpn" else want[-1:]
    ours = (pixels - model.pixel_mean) / model.pixel_std
    got = model.backbone.feature_maps(ours, None)
    got = got if model.pyramid is None else model.pyramid(got)
    for ours_map, theirs in zip(got.maps, want, strict=True):
        _close(ours_map, theirs)
        logits, deltas = model.rpn.head(ours_map, None)
        their_logits, their_deltas = rpn(theirs, state)
        count = their_logits.shape[1]
        # Ours by ratio, then size; theirs by size, then ratio.
        order = torch.arange(count).view(-1, 3).T.flatten()
        their_logits = their_logits[:, order].permute(0, 2, 3, 1).flatten(1)
        _close(logits, their_logits)
        their_deltas = their_deltas.unflatten(1, (count, 4))[:, order]
        _close(deltas, their_deltas.permute(0, 3, 4, 1, 2).flatten(1, 3))
    size, channels = (14, 1024) if features == "c4" else (7, want[0].shape[1])
    pooled = torch.randn(3, channels, size, size, generator=generator)
    head = model.region_head or model.backbone.head
    logits, deltas = model.box_head.predictor(head(pooled))
    their_logits, their_deltas = region(pooled, state, net, features)
    _close(logits, their_logits.roll(1, 1))
    _close(deltas[:, 1:].flatten(1), their_deltas)


def _close(got, want):
    scale = want.abs().max().item()
    assert want.std() > 0.02 * scale > 0
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4 * scale)
