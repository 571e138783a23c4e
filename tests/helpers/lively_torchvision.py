"""Random weights with which torchvision's detectors find many different things."""

import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList


@torch.no_grad()
def randomise(model):
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.uniform_(0.6, 1.2)
            part.bias.normal_(0, 0.3)
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.6, 1.4)
        elif isinstance(part, nn.Conv2d | nn.Linear):
            part.weight.normal_(0, (2 / part.weight[0].numel()) ** 0.5)
            if part.bias is not None:
                part.bias.normal_(0, 0.1)


@torch.no_grad()
def spread(model, images):
    """Scale the output layers so that scores and boxes vary, and none saturates."""
    inputs, _ = model.transform([pixels / 255 for pixels in images.pixels])
    maps = model.backbone(inputs.tensors)
    head, heads = model.rpn.head, model.roi_heads
    logits, deltas = (
        torch.cat([level.flatten() for level in levels])
        for levels in head(list(maps.values()))
    )
    _scale(head.cls_logits, 2 / logits.std())
    _scale(head.bbox_pred, 0.3 / deltas.std())
    proposals, _ = model.rpn(ImageList(inputs.tensors, inputs.image_sizes), maps)
    pooled = heads.box_roi_pool(maps, proposals, inputs.image_sizes)
    logits, deltas = heads.box_predictor(heads.box_head(pooled))
    predictor = heads.box_predictor
    scale = 2 / logits.std(0)  # (C,)
    bias = (predictor.cls_score.bias - logits.mean(0)) * scale
    _scale(predictor.cls_score, scale[:, None])
    predictor.cls_score.bias.copy_(bias)
    _scale(predictor.bbox_pred, 1 / deltas.std())
    for kind, layer in (("mask", "mask_fcn_logits"), ("keypoint", "kps_score_lowres")):
        if getattr(heads, f"has_{kind}")():
            pool, body, predictor = (
                getattr(heads, f"{kind}_{part}")
                for part in ("roi_pool", "head", "predictor")
            )
            few = [boxes[:4] for boxes in proposals]  # which take the most time
            logits = predictor(body(pool(maps, few, inputs.image_sizes)))
            _scale(getattr(predictor, layer), 2 / logits.std())


def _scale(layer, factor):
    layer.weight *= factor
    layer.bias.zero_()
