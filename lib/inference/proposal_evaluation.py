"""Evaluation of the region proposal network alone: average recall of its proposals."""

import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from ..config.settings import Config
from ..datasets.loading.batches import Batch
from ..datasets.loading.loader import Loading
from ..datasets.records import Dataset
from ..evaluation.coco_evaluators import Evaluator
from ..evaluation.proposal_recall import (
    LIMITS,
    ImageProposals,
    ProposalResult,
    evaluate_proposals,
    save_proposals,
)
from ..layer_utils.boxes import clip
from ..layer_utils.structures import Detections, Proposals
from ..model.network import Network
from ..utils.device import autocast
from ..utils.distributed import collectives
from ..utils.files import write_atomic
from .image_results import to_image_detections
from .ordered_batches import gather_results, ordered_batches

logger = logging.getLogger(__name__)

_PRE_NMS = 12000
"""Anchors before suppression, so that 2000 proposals remain (as in Detectron)."""


def with_many_proposals(config: Config) -> Config:
    """Make the RPN propose as many boxes in a test as the largest limit requires."""
    rpn = config.rpn
    more = {
        "test_pre_nms": max(rpn.test_pre_nms, _PRE_NMS),
        "test_post_nms": max(rpn.test_post_nms, LIMITS[-1]),
    }
    return config.model_copy(update={"rpn": rpn.model_copy(update=more)})


@torch.inference_mode()
def propose_images(
    model: Network,
    batches: Iterable[Batch],
    *,
    offset: float,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[list[ImageProposals]]:
    """Propose regions batch by batch, in test mode.

    Args:
        model: the detector; it is put into evaluation mode.
        batches: batches from ``datasets.loading.loader.evaluation_batches``.
        offset: 1 for legacy boxes, 0 for continuous ones.
        device: the model's device.
        dtype: dtype of the computation.

    Yields:
        The images of each batch, boxes as pixel edges of the original image.
    """
    model.eval()
    for batch in batches:
        here = batch.to(device)
        with autocast(device, dtype):
            proposals = model.propose(here.images)
        yield to_image_proposals(proposals, here, offset=offset)


def to_image_proposals(
    proposals: Proposals, batch: Batch, *, offset: float
) -> list[ImageProposals]:
    """Convert to original pixels without padding and box convention.

    Args:
        proposals: proposals of the batch, in pixels of the network input.
        batch: the batch, on any device.
        offset: 1 for legacy boxes, 0 for continuous ones.

    Returns:
        One entry per image, boxes as pixel edges of the original image.
    """
    boxes, valid = proposals.boxes, proposals.valid
    original = boxes / batch.scales.to(boxes.device)[:, None, None]
    original = clip(original, batch.original_sizes.to(boxes.device), offset=offset)
    classes = torch.ones_like(valid, dtype=torch.int64)
    found = to_image_detections(
        Detections(original, proposals.scores.float(), classes, valid),
        batch.image_ids,
        batch.original_sizes,
        offset=offset,
    )
    return [ImageProposals(e.image_id, e.boxes, e.scores) for e in found]


def measure_proposals(
    model: Network,
    dataset: Dataset,
    config: Config,
    *,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    checkpoint: str,
    evaluator: Evaluator = "hotcoco",
) -> ProposalResult | None:
    """Propose, measure, and write both to ``folder``.

    Each of several processes proposes for a part of the images; the main one measures.

    Args:
        model: the detector, built ``with_many_proposals``.
        dataset: the test set.
        config: configuration of the run.
        folder: folder for proposals.npz and proposal_results.json.
        device: the model's device.
        dtype: dtype of the computation.
        checkpoint: name of the weights, for the record.
        evaluator: implementation that measures.

    Returns:
        The figures; None on processes other than the main one.

    Raises:
        ImageError: an image cannot be read.
    """
    place = collectives.process_rank()
    batches = ordered_batches(
        dataset.records,
        config,
        loading=Loading(config.data.workers, device.type == "cuda"),
        share=(place.rank, place.processes),
    )
    results = propose_images(
        model, batches, offset=config.boxes.offset, device=device, dtype=dtype
    )
    gathered = gather_results(dataset, results)
    if gathered is None:
        return None
    found, _ = gathered
    save_proposals(folder / "proposals.npz", found, dataset)
    result = evaluate_proposals(dataset, found, evaluator=evaluator)
    content = result.to_json() | {
        "settings": {
            "checkpoint": checkpoint,
            "evaluator": evaluator,
            "precision": str(dtype).removeprefix("torch."),
            "rpn": config.rpn.model_dump(mode="json"),
        }
    }
    text = json.dumps(content, indent=2, allow_nan=False)
    write_atomic(folder / "proposal_results.json", text + "\n")
    return result
