"""detectron2's and mmdetection's detectors, where they can be imported.

Each is its own recipe for R50-C4, R101-C4 or R50-FPN, with the counts of the work:
images that are not resized, proposals, RoIs, classes and random weights. Their outputs
are not spread as ours are, so that they have next to nothing to suppress.
"""

from collections.abc import Callable
from typing import Any

import torch
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.model.config import Config
from faster_rcnn.model.device import autocast
from step_call import Step, pinned, training
from step_models import Work, draw_batch
from torch import Tensor, nn

_DETECTRON2 = {
    "res50": "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
    "res101": "COCO-Detection/faster_rcnn_R_101_C4_3x.yaml",
    "res50_fpn": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "res101_fpn": "COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml",
}

_MMDET = {
    "res50": "faster-rcnn_r50-caffe_c4-1x_coco.py",
    "res50_fpn": "faster-rcnn_r50_fpn_1x_coco.py",
    "res101_fpn": "faster-rcnn_r101_fpn_1x_coco.py",
}


def _recipe(recipes: dict[str, str], model: str, who: str) -> str:
    if model not in recipes:
        raise ValueError(f"{who} has {', '.join(recipes)}; found {model!r}")
    return recipes[model]


def detectron2_step(
    work: Work, config: Config, device: torch.device, dtype: torch.dtype
) -> Step:
    """detectron2's step.

    Raises:
        ImportError: detectron2 is not installed.
        ValueError: a network without a recipe.
    """
    from detectron2 import model_zoo  # type: ignore[import-not-found]
    from detectron2.modeling import build_model  # type: ignore[import-not-found]
    from detectron2.structures import (  # type: ignore[import-not-found]
        Boxes,
        Instances,
    )
    from detectron2.utils.events import (  # type: ignore[import-not-found]
        EventStorage,
    )

    cfg = model_zoo.get_config(_recipe(_DETECTRON2, work.model, "detectron2"))
    cfg.MODEL.DEVICE = device.type
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = work.classes
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = config.head.rois_per_image
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = config.rpn.train_pre_nms
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = config.rpn.test_pre_nms
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = config.rpn.train_post_nms
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = config.rpn.test_post_nms
    model = build_model(cfg)

    def batch_of(batch: Batch) -> list[dict[str, Any]]:
        height, width = work.size
        entries = []
        for pixels, boxes, classes, valid in _images(batch):
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

    step = _step(model, losses, model, batch_of, to_host, work, config, device, dtype)
    step.watch(model.proposal_generator, "forward", "RPN")
    step.watch(model.roi_heads, "forward", "head")
    return step


def mmdet_step(
    work: Work, config: Config, device: torch.device, dtype: torch.dtype
) -> Step:
    """mmdetection's step.

    Raises:
        ImportError: mmdet is not installed.
        ValueError: a network without a recipe.
    """
    from mmdet.registry import MODELS  # type: ignore[import-not-found]
    from mmdet.structures import DetDataSample  # type: ignore[import-not-found]
    from mmdet.utils import register_all_modules  # type: ignore[import-not-found]
    from mmengine.config import Config as MMConfig  # type: ignore[import-not-found]
    from mmengine.hub import get_config  # type: ignore[import-not-found]
    from mmengine.structures import InstanceData  # type: ignore[import-not-found]

    register_all_modules()
    name = _recipe(_MMDET, work.model, "mmdet")
    cfg: MMConfig = get_config(f"mmdet::faster_rcnn/{name}")
    model_cfg = cfg.model
    model_cfg.backbone.init_cfg = None
    model_cfg.roi_head.bbox_head.num_classes = work.classes
    model_cfg.train_cfg.rcnn.sampler.num = config.head.rois_per_image
    for which, counts in (
        (model_cfg.train_cfg.rpn_proposal, ("train_pre_nms", "train_post_nms")),
        (model_cfg.test_cfg.rpn, ("test_pre_nms", "test_post_nms")),
    ):
        which.nms_pre, which.max_per_img = (getattr(config.rpn, key) for key in counts)
    model = MODELS.build(model_cfg).to(device)

    def batch_of(batch: Batch) -> dict[str, Any]:
        height, width = work.size
        samples = []
        for _, boxes, classes, valid in _images(batch):
            sample = DetDataSample(
                metainfo={
                    "img_shape": (height, width),
                    "ori_shape": (height, width),
                    "scale_factor": (1.0, 1.0),
                }
            )
            sample.gt_instances = InstanceData(
                bboxes=boxes[valid], labels=classes[valid] - 1
            )
            sample.ignored_instances = InstanceData(
                bboxes=boxes[:0], labels=classes[:0]
            )
            samples.append(sample)
        pixels = batch.images.pixels[:, :, :height, :width]
        return {"inputs": list(pixels), "data_samples": samples}

    def prepared(batch: dict[str, Any]) -> dict[str, Any]:
        data: dict[str, Any] = model.data_preprocessor(batch, model.training)
        return data

    def losses(batch: dict[str, Any]) -> dict[str, Tensor]:
        found = model(**prepared(batch), mode="loss")
        return {
            name: torch.stack(list(value)).sum() if isinstance(value, list) else value
            for name, value in found.items()
            if "loss" in name
        }

    def predict(batch: dict[str, Any]) -> Any:
        return model(**prepared(batch), mode="predict")

    def to_host(found: Any) -> Any:
        return [sample.cpu() for sample in found]

    return _step(model, losses, predict, batch_of, to_host, work, config, device, dtype)


def _images(batch: Batch) -> Any:
    """Pixels, boxes, classes and mask of each image."""
    return zip(batch.images.pixels, *batch.ground_truth[:3], strict=True)


def _step(
    model: nn.Module,
    losses: Callable[[Any], dict[str, Tensor]],
    predict: Callable[[Any], Any],
    batch_of: Callable[[Batch], Any],
    to_host: Callable[[Any], Any],
    work: Work,
    config: Config,
    device: torch.device,
    dtype: torch.dtype,
) -> Step:
    """A step from a package's own functions; only coarse stages are known of it."""
    for name, tensor in model.state_dict().items():
        if name.endswith(("conv3.norm.weight", "bn3.weight")):
            tensor.fill_(0.2)  # as `build_ours` does, and why
    in_favour = dtype == torch.bfloat16
    if in_favour:
        model.to(memory_format=torch.channels_last)
    batch = batch_of(pinned(draw_batch(work, config), device))
    step = Step(model, dtype)
    step.watch(model.backbone, "forward", "backbone")
    if work.phase == "train":
        model.train()

        def train() -> dict[str, Tensor]:
            with autocast(device, dtype):
                return losses(batch)

        step.call = training(step, model, train, config, fused=in_favour)
        return step
    model.eval()

    def infer() -> Any:
        with torch.no_grad(), autocast(device, dtype):
            found = predict(batch)
        with step.stage("detections to the host"):
            return to_host(found)

    step.call = infer
    return step


OTHERS = {"detectron2": detectron2_step, "mmdet": mmdet_step}
