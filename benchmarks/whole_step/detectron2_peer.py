"""detectron2's detector, where it can be imported."""

from typing import Any

import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from torch import Tensor

from .call import Step
from .models import Work
from .packages import calm, images, package_step, recipe

_DETECTRON2 = {
    "res50": "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
    "res101": "COCO-Detection/faster_rcnn_R_101_C4_3x.yaml",
    "res50_fpn": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "res101_fpn": "COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml",
}


def detectron2_step(
    work: Work, config: Config, device: torch.device, dtype: torch.dtype
) -> Step:
    """detectron2's step.

    Raises:
        ImportError: detectron2 is not installed.
        ValueError: a network without a recipe.
    """
    name = recipe(_DETECTRON2, work.model, "detectron2")
    from detectron2 import model_zoo  # type: ignore[import-not-found]
    from detectron2.modeling import build_model  # type: ignore[import-not-found]
    from detectron2.structures import (  # type: ignore[import-not-found]
        Boxes,
        Instances,
    )
    from detectron2.utils.events import (  # type: ignore[import-not-found]
        EventStorage,
    )

    cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE = device.type
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = work.classes
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = config.head.rois_per_image
    cfg.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = config.pooling.sampling_ratio
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = config.rpn.train_pre_nms
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = config.rpn.test_pre_nms
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = config.rpn.train_post_nms
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = config.rpn.test_post_nms
    model = build_model(cfg)
    calm(model)

    def batch_of(batch: Batch) -> list[dict[str, Any]]:
        height, width = work.size
        entries = []
        for pixels, boxes, classes, valid in images(batch):
            truth = Instances((height, width))
            truth.gt_boxes = Boxes(boxes[valid])
            truth.gt_classes = classes[valid] - 1
            image = pixels[:, :height, :width]
            entries.append(
                {"image": image, "instances": truth, "height": height, "width": width}
            )
        return entries

    def losses(batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        with EventStorage():  # its heads log into one
            found: dict[str, Tensor] = model(batch)
        return found

    def to_host(found: Any) -> Any:
        return [entry["instances"].to("cpu") for entry in found]

    step = package_step(
        model, losses, model, batch_of, to_host, work, config, device, dtype
    )
    step.watch(model.proposal_generator, "forward", "RPN")
    step.watch(model.roi_heads, "forward", "head")
    return step
