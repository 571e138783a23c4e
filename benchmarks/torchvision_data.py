"""Images and objects for torchvision's detectors, and what these detect.

Letters: G objects of an image, D detections, h, w height and width of an image without
padding.
"""

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.datasets.mask_encoding import encode_masks
from faster_rcnn.datasets.records import RunLengths
from faster_rcnn.evaluation.image_detections import ImageDetections
from faster_rcnn.layer_utils.structures import Bitmaps
from faster_rcnn.nets.normalisation import NORMALISATIONS
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image


def inputs(batch: Batch, device: torch.device) -> list[Tensor]:
    """Return normalised images ``(3, h, w)`` without padding."""
    mean, std = (
        torch.tensor(values, device=device)[:, None, None]
        for values in NORMALISATIONS["torchvision"]
    )
    pixels = (batch.images.pixels.to(device).float() - mean) / std
    sizes = batch.images.sizes.tolist()
    return [image[:, :h, :w] for image, (h, w) in zip(pixels, sizes, strict=True)]


def targets(batch: Batch, device: torch.device) -> list[dict[str, Tensor]]:
    """Return the valid objects of each image, as pixel edges of the network input.

    Masks are ``(G, h, w)``.
    """
    truth = batch.ground_truth
    found = []
    for i, valid in enumerate(truth.valid):
        objects = {"boxes": truth.boxes[i][valid], "labels": truth.classes[i][valid]}
        if truth.masks is not None:
            height, width = batch.images.sizes[i].tolist()
            if isinstance(truth.masks, Bitmaps):
                fields = (field[i][valid] for field in truth.masks)
                objects["masks"] = whole_masks(*fields, height, width)
            else:
                outlines = truth.masks.vertices[i][valid], truth.masks.parts[i][valid]
                objects["masks"] = filled_outlines(*outlines, height, width)
        if truth.keypoints is not None:
            objects["keypoints"] = truth.keypoints[i][valid]
        found.append({name: value.to(device) for name, value in objects.items()})
    return found


def whole_masks(
    values: Tensor, frames: Tensor, sizes: Tensor, height: int, width: int
) -> Tensor:
    """Place the bitmaps of objects, see `Bitmaps`, in images ``(G, h, w)``."""
    masks = np.zeros((len(values), height, width), np.uint8)
    side = values.shape[-1]
    for mask, bitmap, frame, (rows, columns) in zip(
        masks, values.numpy(), frames.numpy(), sizes.tolist(), strict=True
    ):
        x, y = frame[:2].round().astype(int).tolist()
        cell = (frame[2:] - frame[:2]) / side
        shape = (cell * (columns, rows)).round().astype(int).tolist()
        if all(shape):  # an empty mask has no frame
            own = cv2.resize(bitmap[:rows, :columns], shape)
            mask[y : y + shape[1], x : x + shape[0]] = own > 127
    return torch.from_numpy(masks)


def filled_outlines(vertices: Tensor, parts: Tensor, height: int, width: int) -> Tensor:
    """Draw the outlines of objects, see `Polygons`, to the nearest pixel."""
    masks = np.zeros((len(vertices), height, width), np.uint8)
    for mask, points, of in zip(masks, vertices, parts, strict=True):
        for part in of[of >= 0].unique():
            cv2.fillPoly(mask, [points[of == part].round().int().numpy()], 1)
    return torch.from_numpy(masks)


def detections_of(found: Mapping[str, Tensor], batch: Batch, i: int) -> ImageDetections:
    """Return what torchvision detects in an image, in pixels of the original image.

    Its RetinaNet may find objects of class 0, the background; these are left out. Masks
    are pasted by its own function.
    """
    kept = found["labels"] > 0
    found = {name: values[kept].cpu() for name, values in found.items()}
    height, width = batch.original_sizes[i].tolist()
    limits = torch.tensor([width, height, width, height], dtype=torch.float32)
    boxes = torch.minimum(found["boxes"].float() / batch.scales[i], limits)
    masks: tuple[RunLengths, ...] | None = None
    if "masks" in found:
        pasted = paste_masks_in_image(found["masks"], boxes, (height, width))
        masks = encode_masks((pasted[:, 0] > 0.5).numpy())
    keypoints = None
    if "keypoints" in found:
        points = found["keypoints"][..., :2] / batch.scales[i]
        scores = found["keypoints_scores"][..., None]
        keypoints = torch.cat((points, scores), 2).float().numpy()
    return ImageDetections(
        image_id=batch.image_ids[i],
        boxes=boxes.numpy(),
        scores=found["scores"].float().numpy(),
        classes=found["labels"].numpy(),
        masks=masks,
        keypoints=keypoints,
    )
