#!/usr/bin/env python3
"""Train our detector and torchvision's on the same data and compare their AP.

Both start from the same backbone weights, and use the same batches (loader,
augmentation, seed), optimizer, schedule, precision and number of RoIs;
torchvision_peer.py describes what is torchvision's own. Our evaluation measures both.
Each finished run is saved to the JSON file, and the same command skips it the next
time:

    python benchmarks/quality.py path/to/bccd mobile_v2 --cfg bccd_mobile_v2 \\
        --weights mobilenet_v2.pth --seeds 1 2 3 --json quality.json

--set, --cfg and --iters change our recipe and the settings that torchvision's detector
shares with it. They are part of a run's name.
"""

import argparse
import itertools
import json
import logging
import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from faster_rcnn.cli.arguments.shared import add_arguments, add_training_arguments
from faster_rcnn.cli.command_line import Job, get_dataset, make_job
from faster_rcnn.cli.parser import Parser
from faster_rcnn.cli.user_errors import clear_errors
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.datasets.loading.training_stream import Passes
from faster_rcnn.datasets.records import Dataset
from faster_rcnn.datasets.wanted_instances import with_keypoints_of
from faster_rcnn.engine.batch_gradient import clip_gradient
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.engine.solver import build_optimizer, learning_rate, set_learning_rate
from faster_rcnn.engine.train import check_finite, train
from faster_rcnn.engine.training_batches import stream_batches
from faster_rcnn.evaluation.image_detections import ImageDetections
from faster_rcnn.evaluation.scoring import evaluate
from faster_rcnn.evaluation.tasks import coco_parameters
from faster_rcnn.inference.ordered_batches import ordered_batches
from faster_rcnn.inference.postprocess import detect_images
from faster_rcnn.inference.test_time_augmentation import view_batches
from faster_rcnn.model.build import build_detector
from faster_rcnn.utils.device import autocast, keep_freed_memory, seed_everything
from faster_rcnn.utils.files import write_atomic
from faster_rcnn.weights import load_initial_weights
from faster_rcnn.weights.checkpoint import (
    detector_weights,
    load_checkpoint,
    read_tensors,
)
from torchvision_data import detections_of, inputs, targets
from torchvision_peer import (
    Peer,
    as_ours,
    build_peer,
    load_classification_weights,
)

logger = logging.getLogger("faster_rcnn")

Result = dict[str, Any]

COLUMNS = (
    *("mAP_07", "mAP_all", "AP", "AP75", "segm/AP", "segm/AP50", "segm/AP75"),
    *("keypoints/AP", "keypoints/AP50", "cpu_seconds"),
)
"""What the comparison shows, where it was measured."""


def run_ours(
    train_set: Dataset,
    test_set: Dataset,
    config: Config,
    device: torch.device,
    dtype: torch.dtype,
) -> list[ImageDetections]:
    """Train our detector as train.sh does, and detect."""
    seed_everything(config.train.seed)
    model = build_detector(config, len(train_set.classes))
    load_initial_weights(model, config.net)
    model.to(device)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        run.claim(config)
        train(model, train_set, config, run, dtype=dtype)
        state = load_checkpoint(run.checkpoints()[-1])
        model.load_state_dict(detector_weights(state, averaged=config.train.ema > 0))
    batches = view_batches(test_set.records, config)
    found = detect_images(
        model,
        batches,
        boxes=config.boxes,
        test=config.test,
        device=device,
        dtype=dtype,
    )
    return [entry for entries in found for entry in entries]


def run_torchvision(
    train_set: Dataset,
    test_set: Dataset,
    config: Config,
    device: torch.device,
    dtype: torch.dtype,
) -> list[ImageDetections]:
    """Train torchvision's detector under the same conditions, and detect."""
    seed_everything(config.train.seed)
    peer = build_peer(config, len(train_set.classes))
    if config.net.weights != "none":
        load_classification_weights(peer, read_tensors(Path(config.net.weights)))
    peer.to(device)
    train_peer(peer, train_set, config, device=device, dtype=dtype)
    return [
        entry
        for batch in testing(test_set, config)
        for entry in detect_peer(peer, batch, device=device, dtype=dtype)
    ]


SYSTEMS = {"ours": run_ours, "torchvision": run_torchvision}


def train_peer(
    peer: Peer,
    dataset: Dataset,
    config: Config,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Train torchvision's detector in the loop of ``faster_rcnn.engine.train``."""
    settings = config.train
    optimizer = build_optimizer(as_ours(peer), settings)
    peer.train()
    started = time.perf_counter()
    for iteration, batch in enumerate(training(dataset, config)):
        if iteration == settings.iterations:
            break
        set_learning_rate(optimizer, learning_rate(iteration, settings))
        with autocast(device, dtype):
            losses = peer(inputs(batch, device), targets(batch, device))
            loss = torch.stack(list(losses.values())).sum()
        check_finite(losses, iteration, batch.image_ids)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        clip_gradient(peer, settings.clip_norm)
        optimizer.step()
        if (iteration + 1) % settings.log_every == 0:
            parts = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
            seconds = (time.perf_counter() - started) / (iteration + 1)
            logger.info("%d  %s  %.3f s/update", iteration + 1, parts, seconds)


@torch.inference_mode()
def detect_peer(
    peer: Peer, batch: Batch, *, device: torch.device, dtype: torch.dtype
) -> list[ImageDetections]:
    """Detect with torchvision's detector, in pixels of the original images."""
    peer.eval()
    with autocast(device, dtype):
        found = peer(inputs(batch, device))
    return [detections_of(entry, batch, i) for i, entry in enumerate(found)]


def training(dataset: Dataset, config: Config) -> Iterator[Batch]:
    """Yield our detector's training batches, with pixel edges and bitmaps."""
    changes = {
        "boxes": config.boxes.model_copy(update={"offset": 0}),
        "mask": config.mask.model_copy(update={"targets": "bitmap"}),
    }
    images = config.train.batch_size
    passes = Passes(images, images, total=1, mine=range(1))
    return stream_batches(dataset, config.model_copy(update=changes), passes=passes)


def testing(dataset: Dataset, config: Config) -> Iterator[Batch]:
    """Yield every test image at the recipe's test size, with pixel edges."""
    # One image at a time, as torchvision's own scripts do: it does not mask padding.
    changes = {
        "boxes": config.boxes.model_copy(update={"offset": 0}),
        "test": config.test.model_copy(update={"batch_size": 1}),
    }
    return ordered_batches(dataset.records, config.model_copy(update=changes))


def cpu_seconds() -> float:
    """Return the processor time of this process and of its finished workers."""
    times = os.times()
    return sum(times[:4])


def with_seed(config: Config, seed: int) -> Config:
    """Return a run's configuration that saves only the last state and draws nothing."""
    changes = {
        "seed": seed,
        "snapshot_every": config.train.iterations,
        "picture_every": 0,
        "histogram_every": 0,
    }
    return config.model_copy(update={"train": config.train.model_copy(update=changes)})


def compare(
    job: Job,
    train_set: Dataset,
    test_set: Dataset,
    *,
    seeds: Sequence[int],
    systems: Sequence[str],
    file: Path,
) -> list[Result]:
    """Run the seeds that ``file`` lacks; return all its results."""
    results: list[Result] = (
        json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    )
    for seed, system in itertools.product(seeds, systems):
        key = {
            "dataset": test_set.name,
            "net": job.config.net.full_name,
            "recipe": job.tag,
            "system": system,
            "seed": seed,
        }
        if any(key.items() <= result.items() for result in results):
            continue
        logger.info("%s", key)
        started, used = time.perf_counter(), cpu_seconds()
        config = with_seed(job.config, seed)
        found = SYSTEMS[system](train_set, test_set, config, job.device, job.dtype)
        evaluation = evaluate(
            test_set,
            found,
            rules=("voc", "coco"),
            parameters=coco_parameters(config),
        )
        facts = {
            "iterations": config.train.iterations,
            "precision": str(job.dtype).removeprefix("torch."),
            "seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(cpu_seconds() - used, 1),
            "torch": torch.__version__,
            "per_class": evaluation.per_class,
        }
        results.append(key | evaluation.totals | facts)
        write_atomic(file, json.dumps(results, indent=1) + "\n")
        print(evaluation.table())
    return results


def summary(results: list[Result]) -> str:
    """Compute mean and standard deviation of each data set, recipe and system."""
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in results:
        names = ("dataset", "net", "recipe", "system")
        dataset, net, recipe, system = (result[name] for name in names)
        groups.setdefault((dataset, net, recipe, system), []).append(result)
    lines = []
    for (dataset, net, recipe, system), members in groups.items():
        columns = []
        for metric in COLUMNS:
            values = [member[metric] for member in members if metric in member]
            if len(values) < len(members):
                continue
            spread = statistics.stdev(values) if len(values) > 1 else math.nan
            columns.append(f"{metric} {statistics.mean(values):.4f} +- {spread:.4f}")
        each = " ".join(f"{m['mAP_07']:.4f}" for m in members)
        lines.append(
            f"{dataset} {net} [{recipe}] {system:11}  {'  '.join(columns)}  "
            f"(seeds {' '.join(str(m['seed']) for m in members)}: {each})"
        )
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser: the arguments of train.sh and a few more."""
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    add_training_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=SYSTEMS,
        default=list(SYSTEMS),
        help="systems to run, in order",
    )
    parser.add_argument("--json", type=Path, default=Path("quality.json"))
    parser.add_argument(
        "--threads", type=int, help="PyTorch's threads; default: its own choice"
    )
    return parser


def main() -> None:
    """Run all runs that the JSON file lacks, and print the comparison."""
    arguments = build_parser().parse_args()
    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with clear_errors():
        job = make_job(arguments)
        train_set = get_dataset(job.dataset, job.config, "train")
        test_set = get_dataset(job.dataset, job.config, "test")
        config = with_keypoints_of(train_set, job.config, job.given)
        results = compare(
            job._replace(config=config),
            train_set,
            test_set,
            seeds=arguments.seeds,
            systems=arguments.systems,
            file=arguments.json,
        )
        print(summary(results))


if __name__ == "__main__":
    main()
