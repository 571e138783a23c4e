"""Detectron2's detectors, if they can be imported."""

from typing import Any

import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.utils.device import seed_everything
from torch import Tensor, nn

from .call import Step
from .models import Work, draw_batch
from .packages import calm, images, package_step, recipe, scale

_DETECTRON2 = {
    "res50_fpn": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "retina_res50_fpn": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "cascade_res50_fpn": "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
}


def detectron2_step(
    work: Work, config: Config, device: torch.device, dtype: torch.dtype
) -> Step:
    """Build Detectron2's step.

    Raises:
        ImportError: detectron2 is not installed.
        ValueError: Detectron2 has no recipe for the network.
    """
    name = recipe(_DETECTRON2, work.model, "detectron2")
    from detectron2 import model_zoo  # type: ignore[import-not-found]
    from detectron2.modeling import build_model  # type: ignore[import-not-found]
    from detectron2.structures import (  # type: ignore[import-not-found]
        Boxes,
        Instances,
    )
    from detectron2.utils.events import EventStorage  # type: ignore[import-not-found]

    cfg = model_zoo.get_config(name)
    _set_counts(cfg, work, config)
    cfg.MODEL.DEVICE = str(device)
    seed_everything(config.train.seed)
    model = build_model(cfg)
    calm(model)

    def batch_of(batch: Batch) -> list[dict[str, Any]]:
        height, width = work.size
        found = []
        for pixels, boxes, classes, valid in images(batch):
            objects = Instances(
                work.size, gt_boxes=Boxes(boxes[valid]), gt_classes=classes[valid] - 1
            )
            inside = pixels[:, :height, :width]
            found.append({"image": inside, "instances": objects})
        return found

    def losses(batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        with EventStorage():
            found: dict[str, Tensor] = model(batch)
        return found

    def to_host(found: list[dict[str, Any]]) -> Any:
        return [image["instances"].to("cpu") for image in found]

    model.eval()
    small = Work(work.model, size=(128, 160), classes=work.classes)
    _spread(model, model.preprocess_image(batch_of(draw_batch(small, config))))
    step = package_step(
        model, losses, model, batch_of, to_host, work, config, device, dtype
    )
    step.watch(model, "preprocess_image", "data")
    if hasattr(model, "roi_heads"):
        step.watch(model.proposal_generator, "forward", "RPN")
        step.watch(model.roi_heads, "forward", "head")
    else:
        step.watch(model.head, "forward", "head")
        step.watch(model, "label_anchors", "targets")
        step.watch(model, "losses", "losses")
        step.watch(model, "forward_inference", "detections")
    return step


def _set_counts(cfg: Any, work: Work, config: Config) -> None:
    """Give Detectron2's configuration the counts of ours."""
    model, rpn = cfg.MODEL, config.rpn
    model.WEIGHTS, model.MASK_ON = "", False
    model.RESNETS.STRIDE_IN_1X1 = False  # ours and torchvision's stride in the 3x3
    model.RETINANET.NUM_CLASSES = model.ROI_HEADS.NUM_CLASSES = work.classes
    model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = config.head.rois_per_image
    # Its default 0 takes up to 16 samples, ours 4.
    model.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = config.pooling.sampling_ratio
    model.RPN.PRE_NMS_TOPK_TRAIN = rpn.train_pre_nms
    model.RPN.PRE_NMS_TOPK_TEST = rpn.test_pre_nms
    model.RPN.POST_NMS_TOPK_TRAIN = rpn.train_post_nms
    model.RPN.POST_NMS_TOPK_TEST = rpn.test_post_nms


@torch.no_grad()
def _spread(model: Any, inputs: Any) -> None:
    """Scale output layers as `build_ours` does."""
    maps = model.backbone(inputs.tensor)
    if not hasattr(model, "roi_heads"):
        logits, deltas = model.head([maps[name] for name in model.head_in_features])
        bias = model.head.cls_score.bias  # -4.6
        scale(model.head.cls_score, [x - bias.view(1, -1, 1, 1) for x in logits], 1)
        scale(model.head.bbox_pred, deltas, 0.3)
        return
    rpn, heads = model.proposal_generator, model.roi_heads
    logits, deltas = rpn.rpn_head([maps[name] for name in rpn.in_features])
    scale(rpn.rpn_head.objectness_logits, logits, 2)
    scale(rpn.rpn_head.anchor_deltas, deltas, 0.3)
    proposals, _ = rpn(inputs, maps, None)
    pooled = heads.box_pooler(
        [maps[name] for name in heads.box_in_features],
        [image.proposal_boxes for image in proposals],
    )
    single = not isinstance(heads.box_head, nn.ModuleList)
    stages = (
        [(heads.box_head, heads.box_predictor)]
        if single
        else zip(heads.box_head, heads.box_predictor, strict=True)
    )
    for head, predictor in stages:
        scores, deltas = predictor(head(pooled))
        scale(predictor.cls_score, [scores], 2)
        scale(predictor.bbox_pred, [deltas], 1)
