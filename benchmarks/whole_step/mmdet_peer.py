"""mmdetection's detector, if it can be imported."""

from typing import Any

import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.utils.device import seed_everything
from torch import Tensor, nn

from .call import Step
from .models import Work, draw_batch
from .packages import calm, images, package_step, recipe, scale

_MMDET = {
    "res50": "faster-rcnn_r50-caffe_c4-1x_coco.py",
    "res50_fpn": "faster-rcnn_r50_fpn_1x_coco.py",
    "res101_fpn": "faster-rcnn_r101_fpn_1x_coco.py",
}


def mmdet_step(
    work: Work, config: Config, device: torch.device, dtype: torch.dtype
) -> Step:
    """Build mmdetection's step.

    Raises:
        ImportError: mmdet is not installed.
        ValueError: mmdetection has no recipe for the network.
    """
    name = recipe(_MMDET, work.model, "mmdet")
    from mmdet.registry import MODELS  # type: ignore[import-not-found]
    from mmdet.structures import DetDataSample  # type: ignore[import-not-found]
    from mmdet.structures.bbox import bbox2roi  # type: ignore[import-not-found]
    from mmdet.utils import register_all_modules  # type: ignore[import-not-found]
    from mmengine.config import Config as MMConfig  # type: ignore[import-not-found]
    from mmengine.hub import get_config  # type: ignore[import-not-found]
    from mmengine.logging import MMLogger  # type: ignore[import-not-found]
    from mmengine.structures import InstanceData  # type: ignore[import-not-found]

    register_all_modules()
    cfg: MMConfig = get_config(f"mmdet::faster_rcnn/{name}")
    model_cfg, head_cfg = cfg.model, cfg.model.roi_head
    for part in (model_cfg.backbone, head_cfg.get("shared_head")):
        if part:
            part.init_cfg = None  # random instead of downloaded weights
    head_cfg.bbox_head.num_classes = work.classes
    # Its default 0 takes up to 16 samples, ours 4.
    head_cfg.bbox_roi_extractor.roi_layer.sampling_ratio = config.pooling.sampling_ratio
    model_cfg.train_cfg.rcnn.sampler.num = config.head.rois_per_image
    for which, counts in (
        (model_cfg.train_cfg.rpn_proposal, ("train_pre_nms", "train_post_nms")),
        (model_cfg.test_cfg.rpn, ("test_pre_nms", "test_post_nms")),
    ):
        which.nms_pre, which.max_per_img = (getattr(config.rpn, key) for key in counts)
    seed_everything(config.train.seed)
    model = MODELS.build(model_cfg).to(device)
    MMLogger.get_current_instance().setLevel("WARNING")  # otherwise it logs each weight
    model.init_weights()
    calm(model)

    def batch_of(batch: Batch) -> dict[str, Any]:
        height, width = work.size
        samples = []
        for _, boxes, classes, valid in images(batch):
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

    @torch.no_grad()
    def spread() -> None:
        """Scale output layers as ours: logits to a deviation of 2, deltas to 0.3, 1."""
        data = prepared(batch_of(draw_batch(work, config)))
        maps = model.extract_feat(data["inputs"])
        rpn, head = model.rpn_head, model.roi_head.bbox_head
        scores, deltas = rpn(maps)
        scale(rpn.rpn_cls, scores, 2)
        scale(rpn.rpn_reg, deltas, 0.3)
        found = rpn.predict(maps, data["data_samples"])
        rois = bbox2roi([image.bboxes for image in found])
        outputs = model.roi_head._bbox_forward(maps, rois)
        scale(head.fc_cls, [outputs["cls_score"]], 2)
        scale(head.fc_reg, [outputs["bbox_pred"]], 1)

    model.eval()
    spread()
    if dtype != torch.float32:
        _compute_boxes_in_float32(model)
    step = package_step(
        model, losses, predict, batch_of, to_host, work, config, device, dtype
    )
    rpn_stage = "loss_and_predict" if work.phase == "train" else "predict"
    roi_stage = "loss" if work.phase == "train" else "predict"
    step.watch(model.data_preprocessor, "forward", "data")
    if model.with_neck:
        step.watch(model.neck, "forward", "backbone")
    step.watch(model.rpn_head, rpn_stage, "RPN")
    step.watch(model.roi_head, roi_stage, "head")
    return step


def _compute_boxes_in_float32(model: Any) -> None:
    """Run RoIAlign and boxes in float32 under autocast.

    mmcv's RoIAlign supports neither bfloat16 nor channels_last, and bfloat16 has only 8
    bits for a coordinate.
    """

    def pooled(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        maps, *others = given
        return [x.float().contiguous() for x in maps], *others

    def floats(found: Any) -> Any:
        if isinstance(found, Tensor):
            return found.float()
        return type(found)(map(floats, found))

    model.roi_head.bbox_roi_extractor.register_forward_pre_hook(pooled)
    for head in (model.rpn_head, model.roi_head.bbox_head):
        head.register_forward_hook(lambda _, __, found: floats(found))
