"""The implementations of a step: each is one function without arguments.

A training step is upload, forward pass, losses, backward pass, clipping and the
optimizer's step; an inference goes from uint8 pixels on the host to detections there.
"""

from typing import Any

import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.engine import batch_gradient
from faster_rcnn.engine.batch_gradient import BatchGradient
from faster_rcnn.engine.graphed_updates import CudaRecorder, GraphedUpdates
from faster_rcnn.engine.profiling import Profile
from faster_rcnn.engine.schedule import share_passes
from faster_rcnn.engine.solver import build_optimizer
from faster_rcnn.inference import postprocess
from faster_rcnn.inference.image_results import to_image_detections
from faster_rcnn.inference.postprocess import detect_batch
from faster_rcnn.utils.device import autocast, pick_dtype
from faster_rcnn.utils.distributed import collectives
from torch import Tensor
from torchvision.models.detection import RetinaNet
from torchvision_data import inputs, targets
from torchvision_peer import Peer, as_ours

from .call import Step, pinned, training
from .models import Work, build_ours, build_torchvision, draw_batch

WAYS = {
    "ours": "auto",
    "ours-float32": "float32",
    "ours-compiled": "auto",
    "ours-graphed": "auto",
    "torchvision": "float32",
    "torchvision-bf16": "bfloat16",
    "mmdet": "float32",
    "mmdet-bf16": "bfloat16",
    "detectron2": "float32",
    "detectron2-bf16": "bfloat16",
}
"""The implementations and their precisions; ``-bf16`` is with channels_last."""


def build_step(way: str, work: Work, device: torch.device) -> Step:
    """Build the step of an implementation, with its model and its batch.

    Raises:
        ValueError: the implementation is unknown, or does not support the network.
        ImportError: its package is not installed.
    """
    if way not in WAYS:
        raise ValueError(f"way: expected one of {', '.join(WAYS)}; found {way!r}")
    dtype = pick_dtype(WAYS[way], device)
    config = work.config()
    who = way.partition("-")[0]
    if who == "ours":
        graphed = way == "ours-graphed"
        step = _ours(work, config, device, dtype, graphed=graphed)
        if way == "ours-compiled":
            step.model.compile()
        return step
    if who == "torchvision":
        return _torchvision(work, config, device, dtype)
    # Rarely installed packages.
    if who == "detectron2":
        from .detectron2_peer import detectron2_step

        return detectron2_step(work, config, device, dtype)
    from .mmdet_peer import mmdet_step

    return mmdet_step(work, config, device, dtype)


def _ours(
    work: Work,
    config: Config,
    device: torch.device,
    dtype: torch.dtype,
    *,
    graphed: bool,
) -> Step:
    model = build_ours(work, config).to(device)
    batch = pinned(draw_batch(work, config), device)
    step = Step(model, dtype)
    # Use the profile's list of stages, so that the two cannot differ.
    Profile.watch_detector(step, model)  # type: ignore[arg-type]
    if work.phase == "train":
        place = collectives.process_rank()
        passes = share_passes(config.train, rank=place.rank, processes=place.processes)
        generator = torch.Generator(device).manual_seed(0)
        gradient = BatchGradient(
            model, config, passes, generator, device=device, dtype=dtype
        )
        optimizer = build_optimizer(model, config.train)
        make_update: BatchGradient | GraphedUpdates = gradient
        if graphed:
            recorder = CudaRecorder(device, generator)
            make_update = GraphedUpdates(gradient, optimizer, recorder)
        step.watch(gradient, "backward", "backward")
        step.watch(batch_gradient, "clip_gradient", "optimizer")
        model.train()

        def train() -> dict[str, Tensor]:
            with step.stage("data"):
                here = batch.to(device)
            made = make_update(0, [here])
            if not made.stepped:
                with step.stage("optimizer"):
                    optimizer.step()
            return made.output.losses

        step.call = train
        return step
    model.eval()
    for function in ("_candidates", "merge_views"):
        step.watch(postprocess, function, "detections")

    def infer() -> Any:
        with step.stage("data"):
            here = batch.to(device)
        found = detect_batch(
            model, here, boxes=config.boxes, test=config.test, dtype=dtype
        )
        with step.stage("detections to the host"):
            return to_image_detections(
                found, batch.image_ids, batch.original_sizes, offset=0
            )

    step.call = infer
    return step


def _torchvision(
    work: Work, config: Config, device: torch.device, dtype: torch.dtype
) -> Step:
    in_favour = dtype == torch.bfloat16
    layout = torch.channels_last if in_favour else torch.contiguous_format
    peer = build_torchvision(work, config, layout).to(device)
    batch = pinned(draw_batch(work, config), device)
    # Masks are drawn beforehand, as by torchvision's loader.
    objects = targets(batch, torch.device("cpu"))
    step = Step(peer, dtype)
    _watch_torchvision(step, peer)
    if work.phase == "train":
        peer.train()

        def losses() -> dict[str, Tensor]:
            with step.stage("data"):
                images = inputs(batch, device)
                truth = [
                    {name: value.to(device) for name, value in image.items()}
                    for image in objects
                ]
            with autocast(device, dtype):
                found: dict[str, Tensor] = peer(images, truth)
            return found

        step.call = training(step, as_ours(peer), losses, config, fused=in_favour)
        return step
    peer.eval()

    @torch.inference_mode()
    def infer() -> list[dict[str, Tensor]]:
        with step.stage("data"):
            images = inputs(batch, device)
        with autocast(device, dtype):
            found = peer(images)
        with step.stage("detections to the host"):
            return [{key: x.cpu() for key, x in image.items()} for image in found]

    step.call = infer
    return step


def _watch_torchvision(step: Step, peer: Peer) -> None:
    """Mark the same stages as ours, under the same names."""
    step.watch(peer.backbone, "forward", "backbone")
    if isinstance(peer, RetinaNet):
        for part in (peer.head, peer.anchor_generator):
            step.watch(part, "forward", "head")
        step.watch(peer, "compute_loss", "losses")
        step.watch(peer, "postprocess_detections", "detections")
        return
    for part in (peer.rpn.head, peer.rpn.anchor_generator):
        step.watch(part, "forward", "RPN")
    step.watch(peer.rpn, "filter_proposals", "proposals")
    step.watch(peer.rpn, "assign_targets_to_anchors", "targets")
    step.watch(peer.rpn, "compute_loss", "losses")
    heads = peer.roi_heads
    step.watch(heads, "select_training_samples", "targets")
    step.watch(heads.box_roi_pool, "forward", "pooling")
    for part in (heads.box_head, heads.box_predictor):
        step.watch(part, "forward", "head")
    step.watch(heads, "postprocess_detections", "detections")
