#!/usr/bin/env python3
"""Compare the loader with torchvision's reference pipeline; measure worker memory.

All pipelines produce the same images from the same 500 x 375 JPEG files: mirrored at
random, 800 x 600 pixels, padded to multiples of 32. Times are CPU seconds of one
thread.

    python benchmarks/loader.py [--images FOLDER] [--skip speed memory step]
"""

import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from faster_rcnn.cli.parser import Parser
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.recipes import find_recipes
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.datasets.loading.images import image_size
from faster_rcnn.datasets.loading.loader import Inputs, Loading, training_batches
from faster_rcnn.datasets.loading.samples import Preparation
from faster_rcnn.datasets.loading.training_stream import Augmentation, Passes
from faster_rcnn.datasets.records import Dataset, Record
from faster_rcnn.engine.solver import build_optimizer
from faster_rcnn.engine.training_batches import stream_batches
from faster_rcnn.model.build import build_detector
from faster_rcnn.utils.device import autocast, keep_freed_memory, pick_dtype
from PIL import Image
from reporting import machine, markdown
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import v2

SIZE = (500, 375)  # width, height
CPU = torch.device("cpu")

PLAIN = Augmentation(short_sides=(600,))
SCALED = PLAIN._replace(scale_jitter=(0.1, 2.0))
VARIANTS = {
    "this loader": PLAIN,
    "with colour and hue jitter": PLAIN._replace(colour_jitter=0.3, hue_jitter=0.1),
    "with scale jitter 0.1 to 2": SCALED,
    "all mosaics (four files each)": PLAIN._replace(mosaic=1.0),
}


def batches_of(
    records: Sequence[Record], augmentation: Augmentation = PLAIN, *, workers: int = 0
) -> Iterator[Batch]:
    """Yield batches of one image endlessly."""
    return training_batches(
        Inputs(records, Preparation(long_side=1000, offset=1, size_multiple=32)),
        augmentation,
        passes=Passes(images=1, size=1, total=1, mine=range(1)),
        seed=3,
        loading=Loading(workers),
    )


def make_files(folder: Path, count: int) -> list[Path]:
    """Generate JPEGs of 500 x 375 pixels with detail of all sizes, about 50 KB each."""
    rng = np.random.default_rng(0)
    width, height = SIZE
    paths = []
    for number in range(count):
        pixels = np.full((height, width, 3), 128, np.float32)
        for step in (64, 16, 4, 1):
            shape = (height // step + 1, width // step + 1, 3)
            coarse = rng.normal(0, 6 * step**0.5, shape).astype(np.float32)
            pixels += cv2.resize(coarse, SIZE, interpolation=cv2.INTER_LINEAR)
        paths.append(folder / f"{number}.jpg")
        cv2.imwrite(str(paths[-1]), np.clip(pixels, 0, 255).astype(np.uint8))
    return paths


def make_records(paths: Sequence[Path]) -> tuple[Record, ...]:
    """Make records with one object per image, enough to time the loader."""
    return tuple(
        Record(
            image_id=path.stem,
            path=path,
            width=SIZE[0],
            height=SIZE[1],
            boxes=np.array([(50, 50, 250, 200)], np.float32),
            classes=np.ones(1, np.int64),
            difficult=np.zeros(1, np.bool_),
            crowd=np.zeros(1, np.bool_),
            areas=np.array([30000], np.float32),
            object_ids=np.zeros(1, np.int64),
        )
        for path in paths
    )


def reference_pipeline(paths: Sequence[Path]) -> Callable[[], None]:
    """Run torchvision's reference: its training transforms, then its model's."""
    prepare = v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    resize = GeneralizedRCNNTransform(600, 1000, mean, deviation)

    def run() -> None:
        for path in paths:
            with Image.open(path) as image:
                pixels = prepare(image.convert("RGB"))
            resize([pixels])

    return run


def bare_opencv(paths: Sequence[Path]) -> Callable[[], None]:
    """Only decode and resize, without flips, checks or batches."""

    def run() -> None:
        for path in paths:
            pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
            cv2.resize(pixels, None, fx=1.6, fy=1.6)

    return run


def our_loader(
    records: Sequence[Record], augmentation: Augmentation
) -> Callable[[], None]:
    """Yield one batch of one image per record."""
    batches = batches_of(records, augmentation)

    def run() -> None:
        for _ in islice(batches, len(records)):
            pass

    return run


def measure_speed(paths: Sequence[Path], rounds: int) -> str:
    """Measure images per CPU second in rounds of all pipelines; return a table."""
    records = make_records(paths)
    runs = {
        "torchvision's reference": reference_pipeline(paths),
        "bare OpenCV": bare_opencv(paths),
        **{name: our_loader(records, drawn) for name, drawn in VARIANTS.items()},
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = time.process_time()
            run()
            if number:  # the first round warms up
                seconds[name].append((time.process_time() - started) / len(paths))
    reference = np.array(seconds["torchvision's reference"])
    rows = []
    for name, each in seconds.items():
        low, high = np.percentile(reference / np.array(each), (25, 75))
        times = float(np.median(reference) / np.median(each))
        speed = f"{1 / np.median(each):.0f}"
        rows.append([name, speed, f"{times:.2f} ({low:.2f} to {high:.2f})"])
    return markdown(["pipeline", "images per second", "times torchvision's"], rows)


def measure_memory(paths: Sequence[Path], *, epochs: int, workers: int) -> str:
    """Measure resident and private memory of the workers after each epoch."""
    records = make_records(paths)
    batches = batches_of(records, SCALED, workers=workers)
    table = []
    for _ in range(epochs):
        for _ in islice(batches, len(records)):
            pass
        children = multiprocessing.active_children()
        table.append([_memory_mb(child.pid or 0) for child in children])
    megabytes = np.array(table)  # (epochs, workers, 2)
    rows = [
        [str(epoch), *(f"{value:.1f}" for value in megabytes[epoch - 1].mean(0))]
        for epoch in sorted({1, 2, epochs // 2, epochs})
    ]
    growth = [
        np.polyfit(np.arange(1, epochs), megabytes[1:, :, kind].mean(1), 1)[0]
        for kind in (0, 1)
    ]
    rows.append(["growth per epoch after the first", *(f"{g:+.3f}" for g in growth)])
    return markdown(["epoch", "resident MB per worker", "private MB"], rows)


def _memory_mb(process: int) -> tuple[float, float]:
    """Read resident and private memory of a process from Linux."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    kilobytes = {
        key: int(n) for key, n in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)
    }
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return kilobytes["Rss"] / 1024, private / 1024


def measure_step(paths: Sequence[Path], steps: int, *, threads: int) -> str:
    """Measure the fraction of time that a mobile_v2 run waits for batches.

    Recipe, precision and workers are those of `train.sh voc mobile_v2`. The initial
    weights are random, which does not affect the time.
    """
    config: Config = load_config(find_recipes("voc", "mobile_v2"), [])
    dataset = Dataset(
        name="synthetic",
        layout="voc",
        classes=("__background__", "object"),
        records=make_records(paths),
        drops={},
        annotation_file=None,
        category_ids=(0, 1),
    )
    torch.set_num_threads(threads)
    dtype = pick_dtype(config.train.precision, CPU)
    model = build_detector(config, 2).train()
    optimizer = build_optimizer(model, config.train)
    batches = stream_batches(dataset, config)
    waited, spent = [], []
    for step in range(steps + 2):
        started = time.perf_counter()
        batch = next(batches)
        arrived = time.perf_counter()
        with autocast(CPU, dtype):
            losses = model(batch.images, batch.ground_truth, torch.Generator()).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        if step > 1:  # the first ones start the workers and choose kernels
            waited.append(arrived - started)
            spent.append(time.perf_counter() - started)
    share = sum(waited) / sum(spent)
    return (
        f"{steps} steps of mobile_v2 in {str(dtype).removeprefix('torch.')}, "
        f"{config.train.batch_size} images of 800 x 600 each, {threads} threads, "
        f"{config.data.workers} workers: {np.median(spent):.3f} s per step (median), "
        f"{share:.2%} of the time waiting, at most {max(waited) * 1000:.1f} ms"
    )


def main() -> None:
    """Measure, and print the tables."""
    parser = Parser(description=__doc__)
    parser.add_argument("--images", type=Path, help="folder of JPEGs; 500 x 375 count")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument(
        "--threads", type=int, default=2, help="PyTorch's threads in the step"
    )
    parser.add_argument(
        "--skip", nargs="*", default=[], help="parts to skip: speed, memory, step"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_freed_memory()
    print(f"{machine(CPU)}, OpenCV {cv2.__version__}, Pillow {Image.__version__}\n")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.images is None:
            paths = make_files(Path(folder), arguments.count)
        else:
            found = sorted(arguments.images.glob("*.jpg"))
            fitting = (path for path in found if image_size(path) == SIZE)
            paths = list(islice(fitting, arguments.count))
        kilobytes = np.mean([path.stat().st_size for path in paths]) / 1000
        print(f"{len(paths)} files of {kilobytes:.0f} kB on average\n")
        if "speed" not in arguments.skip:
            print(measure_speed(paths, arguments.rounds), "\n")
        if "memory" not in arguments.skip:
            epochs, workers = arguments.epochs, arguments.workers
            print(measure_memory(paths, epochs=epochs, workers=workers), "\n")
        if "step" not in arguments.skip:
            steps, threads = arguments.steps, arguments.threads
            print(measure_step(paths, steps, threads=threads))


if __name__ == "__main__":
    main()
