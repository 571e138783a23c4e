#!/usr/bin/env python3
"""Time our detector beside torchvision's: training steps and inference, in one run.

Both have the network, the weights and the conventions of torchvision.yml, so that they
do the same work; torchvision's as it comes (float32) and in the way that favours it
(bfloat16, channels last). The calls take turns, and medians are compared:

    python benchmarks/torchvision_speed.py path/to/bccd mobile_v2_fpn \\
        --weights mobilenet_v2.pth --threads 1

The data set only names the recipe; pictures and objects are drawn.
"""

import argparse
import math
import statistics
from collections.abc import Sequence

import torch
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.layer_utils.structures import GroundTruth, Images
from faster_rcnn.model.command_line import (
    Job,
    add_arguments,
    add_training_arguments,
    clear_errors,
    make_job,
)
from faster_rcnn.model.config import Config
from faster_rcnn.model.device import autocast, keep_freed_memory, seed_everything
from faster_rcnn.model.faster_rcnn import FasterRCNN, TrainOutput, build_detector
from faster_rcnn.model.inference import detect_batch
from faster_rcnn.model.solver import build_optimizer
from faster_rcnn.model.weights import load_initial_weights
from quality import detect_peer, inputs, targets
from reporting import machine, markdown, milliseconds
from timing import Call, ratio, time_rounds
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as Peer
from torchvision_peer import CONVENTION, TRAINING, as_ours, build_peer, copy_weights

CPU = torch.device("cpu")
OURS = "ours, bfloat16"
RIVALS = {
    "torchvision, float32": (torch.float32, torch.contiguous_format),
    "torchvision, bfloat16, channels last": (torch.bfloat16, torch.channels_last),
}
OBJECTS = 8  # of each image


def drawn_batch(images: int, size: tuple[int, int], classes: int) -> Batch:
    """Pictures of blocks, ``size`` being height and width, with random objects."""
    height, width = size
    generator = torch.Generator().manual_seed(0)
    shape = (images, 3, -(-height // 8), -(-width // 8))
    coarse = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    pixels = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    sides = 32 + 128 * torch.rand(images, OBJECTS, 2, generator=generator)
    room = torch.tensor([width, height]) - sides
    corners = room * torch.rand(images, OBJECTS, 2, generator=generator)
    labels = torch.randint(1, classes, (images, OBJECTS), generator=generator)
    sizes = torch.tensor([size] * images)
    return Batch(
        images=Images(pixels[:, :, :height, :width].contiguous(), sizes, padded=False),
        ground_truth=GroundTruth(
            boxes=torch.cat((corners, corners + sides), 2),
            classes=labels,
            valid=torch.ones(images, OBJECTS, dtype=torch.bool),
        ),
        scales=torch.ones(images),
        original_sizes=sizes,
        image_ids=tuple(map(str, range(images))),
    )


@torch.no_grad()
def spread(ours: FasterRCNN, batch: Batch) -> None:
    """Scale the output layers, so that scores vary as trained ones do."""
    features = ours.features(batch.images)
    head, predictor = ours.rpn.head, ours.box_head.predictor
    head.scores.weight *= 2 / ours.rpn(features).objectness_logits.std()
    head.deltas.weight *= 0.3 / ours.rpn(features).pred_deltas.std()
    proposals = ours.rpn.propose(ours.rpn(features), batch.images.sizes)
    logits, deltas = ours.classify(features, proposals.boxes)
    predictor.scores.weight *= 2 / logits.std()
    predictor.deltas.weight *= 1 / deltas.std()


def training_steps(
    ours: FasterRCNN, peers: dict[str, Peer], batch: Batch, config: Config
) -> dict[str, Call]:
    """A training step of each: forward, backward, clipping and the optimizer's."""

    def our_losses() -> Sequence[Tensor]:
        output = ours(batch.images, batch.ground_truth)
        assert isinstance(output, TrainOutput)
        return list(output.losses.values())

    def step_of(
        model: nn.Module, named: nn.Module, losses: Call, dtype: torch.dtype
    ) -> Call:
        # A rate of nothing: every step meets the same weights.
        train = config.train.model_copy(update={"lr": 1e-12})
        optimizer = build_optimizer(named, train)

        def step() -> tuple[Tensor, ...]:
            model.train()
            with autocast(CPU, dtype):
                loss = torch.stack(list(losses())).sum()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            limit = train.clip_norm or math.inf
            norm = nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
            return loss.detach(), norm

        return step

    def losses_of(peer: Peer) -> Call:
        return lambda: tuple(peer(inputs(batch, CPU), targets(batch, CPU)).values())

    calls = {OURS: step_of(ours, ours, lambda: tuple(our_losses()), torch.bfloat16)}
    for name, peer in peers.items():
        dtype = RIVALS[name][0]
        calls[name] = step_of(peer, as_ours(peer), losses_of(peer), dtype)
    return calls


def inferences(
    ours: FasterRCNN, peers: dict[str, Peer], batch: Batch, config: Config
) -> dict[str, Call]:
    """Detections of a batch by each."""

    def our_call() -> tuple[Tensor, ...]:
        ours.eval()
        return detect_batch(
            ours, batch, boxes=config.boxes, test=config.test, dtype=torch.bfloat16
        )

    def call_of(name: str, peer: Peer) -> Call:
        def call() -> tuple[Tensor, ...]:
            entries = detect_peer(peer, batch, device=CPU, dtype=RIVALS[name][0])
            return tuple(torch.from_numpy(entry.scores) for entry in entries)

        return call

    return {OURS: our_call} | {name: call_of(name, p) for name, p in peers.items()}


def prepare(job: Job, classes: int) -> tuple[FasterRCNN, dict[str, Peer]]:
    """Our detector, and torchvision's with the same weights in both ways."""
    seed_everything(job.config.train.seed)
    ours = build_detector(job.config, classes)
    load_initial_weights(ours, job.config.net)
    spread(ours.eval(), drawn_batch(1, (320, 480), classes))
    peers = {}
    for name, (_, memory_format) in RIVALS.items():
        peers[name] = build_peer(job.config, classes, memory_format=memory_format)
        copy_weights(ours, peers[name])
    return ours, peers


def compare(
    job: Job,
    *,
    sizes: Sequence[tuple[int, int]],
    batch_sizes: Sequence[int],
    repeats: int,
    limit: float,
    classes: int,
) -> str:
    """Time all cases; gives a table of medians and of how many times as fast we are."""
    ours, peers = prepare(job, classes)
    rows = []
    for what, make in (("training step", training_steps), ("inference", inferences)):
        for images in batch_sizes:
            for height, width in sizes:
                batch = drawn_batch(images, (height, width), classes)
                calls = make(ours, peers, batch, job.config)
                seconds = time_rounds(calls, repeats=repeats, device=CPU, limit=limit)
                row = [f"{what}, {images} x {height}x{width}"]
                row.append(milliseconds(statistics.median(seconds[OURS])))
                for name in peers:
                    found = ratio(seconds[name], seconds[OURS])
                    median = milliseconds(statistics.median(seconds[name]))
                    row.append(
                        f"{median}: {found.of_medians:.2f} "
                        f"({found.low:.2f} to {found.high:.2f})"
                    )
                rows.append(row)
                print("  ".join(row), flush=True)
    return markdown(["ms, then times as fast", OURS, *peers], rows)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


def build_parser() -> argparse.ArgumentParser:
    """The arguments: those of train.sh, and what to time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    add_training_arguments(parser)
    parser.add_argument(
        "--sizes",
        type=_size,
        nargs="+",
        default=[(320, 480), (600, 800)],
        metavar="HxW",
        help="of the pictures",
    )
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--classes", type=int, default=21, help="background included")
    parser.add_argument("--repeats", type=int, default=15, help="rounds at most")
    parser.add_argument("--limit", type=float, default=40.0, help="seconds of a case")
    parser.add_argument("--threads", type=int, help="of PyTorch; default: its own")
    return parser


def main() -> None:
    """Print the table."""
    arguments = build_parser().parse_args()
    # The user's own --set stays last.
    arguments.overrides = [*CONVENTION, *TRAINING, *arguments.overrides]
    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with clear_errors():
        job = make_job(arguments)
        table = compare(
            job,
            sizes=arguments.sizes,
            batch_sizes=arguments.batch_sizes,
            repeats=arguments.repeats,
            limit=arguments.limit,
            classes=arguments.classes,
        )
        print(f"{table}\n\n{machine(CPU)}")


if __name__ == "__main__":
    main()
