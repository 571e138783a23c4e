#!/usr/bin/env python3
"""Time each evaluator, and pycocotools, on growing numbers of generated detections.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --no-rival --sizes 1

VOC: 4952 images of 20 classes with 300,000 detections, the size of VOC 2007's test set.
COCO: 5000 images of 80 classes with 36,000 objects and 500,000 detections, or 120,000
with masks. Proposals:
1000 of COCO's images with 2000 each. Every size is half of the next. Each figure comes
from its own process, on one thread: wall-clock and CPU time, the evaluator's import
included, and peak memory (RSS), the detections included. Growth is CPU time over that
of half the size. The results of evaluators of the same metric are compared to the bit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import hotcoco.mask
import numpy as np
from faster_rcnn.cli.parser import Parser
from faster_rcnn.datasets.index.indexed_records import as_records
from faster_rcnn.datasets.records import Dataset, Record, RunLengths
from faster_rcnn.evaluation.image_detections import ImageDetections


class Size(NamedTuple):
    """Numbers of images, classes, objects and detections."""

    images: int
    classes: int
    objects: int
    detections: int


VOC = Size(4952, 20, 14976, 300_000)
COCO = Size(5000, 80, 36_000, 500_000)
MASKS = COCO._replace(detections=120_000)
PROPOSALS = Size(1000, 80, 7200, 2_000_000)
TEN = tuple(np.linspace(0.5, 0.95, 10).tolist())
Scene = tuple[Dataset, list[ImageDetections]]


def main() -> None:
    """Measure, and print a table."""
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--sizes", type=int, default=3, help="number of sizes, each half of the next"
    )
    parser.add_argument("--no-rival", action="store_true", help="skip pycocotools")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file for all figures"
    )
    # Options of the processes that this script starts.
    parser.add_argument("--measure", choices=sorted(MEASURES), help=argparse.SUPPRESS)
    parser.add_argument("--halvings", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measure(options.measure, options.halvings)))
        return
    from reporting import markdown  # not in the processes measured: it loads PyTorch

    figures = []
    for what, measured in MEASURES.items():
        if options.no_rival and "pycocotools" in what:
            continue
        for halvings in reversed(range(options.sizes)):
            figure = _in_process(what, halvings)
            half = [f for f in figures[-1:] if f["what"] == what]
            cpu = figure["cpu_seconds"]
            figure["growth"] = cpu / half[0]["cpu_seconds"] if half else None
            figures.append(figure)
            _compare(figure, [f for f in figures if f["same"] == measured.same])
    rows = [
        [
            str(figure["what"]),
            f"{figure['images']:,}",
            f"{figure['detections']:,}",
            f"{figure['seconds']:.3g}",
            f"{figure['cpu_seconds']:.3g}",
            f"{figure['growth']:.2f}" if figure["growth"] else "",
            f"{figure['peak_mb']:.0f}",
        ]
        for figure in figures
    ]
    header = ("what", "images", "detections", "seconds", "CPU s", "growth", "peak MB")
    print(markdown(header, rows))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def draw(size: Size, *, by_class: bool = True) -> Scene:
    """Generate objects, and detections half of which are near an object.

    Args:
        size: size of the scene.
        by_class: False for proposals, which are all of class 1.
    """
    rng = np.random.default_rng(0)

    def boxes(count: int) -> np.ndarray:
        corners = rng.random((count, 2)) * 400
        return np.hstack([corners, corners + np.exp(rng.normal(4, 1, (count, 2)))])

    images = np.sort(rng.integers(size.images, size=size.objects))
    objects, classes = (
        boxes(size.objects),
        rng.integers(1, size.classes + 1, size.objects),
    )
    areas = (objects[:, 2:] - objects[:, :2]).prod(axis=1) * 0.6
    ends = np.searchsorted(images, np.arange(size.images + 1))
    each = -(-size.detections // size.images)
    records, found = [], []
    for i in range(size.images):
        own = slice(ends[i], ends[i + 1])
        count = ends[i + 1] - ends[i]
        crowd = rng.random(count) < 0.01
        records.append(
            Record(
                str(i + 1),
                Path(f"{i + 1}.jpg"),
                640,
                480,
                objects[own].astype(np.float32),
                classes[own],
                np.zeros(count, np.bool_),
                crowd,
                areas[own].astype(np.float32),
                np.arange(count),
            )
        )
        drawn, labels = boxes(each), rng.integers(1, size.classes + 1, each)
        if count:
            near = rng.integers(ends[i], ends[i + 1], each // 2)
            sides = np.tile(objects[near, 2:] - objects[near, :2], 2)
            drawn[: len(near)] = objects[near] + rng.normal(0, 0.1, sides.shape) * sides
            drawn[:, 2:] = np.maximum(drawn[:, 2:], drawn[:, :2])
            labels[: len(near)] = classes[near]
        scores = np.sort(rng.random(each))[::-1].astype(np.float32)
        order = rng.permutation(each)
        labels = labels[order] if by_class else np.ones(each, np.int64)
        drawn = drawn[order].astype(np.float32)
        found.append(ImageDetections(str(i + 1), drawn, scores, labels))
    names = ("__background__", *(f"class {c}" for c in range(1, size.classes + 1)))
    dataset = Dataset(
        name="drawn",
        layout="coco",
        classes=names,
        records=as_records(records),
        drops={},
        annotation_file=None,
        category_ids=tuple(range(size.classes + 1)),
    )
    return dataset, found


def with_masks(scene: Scene) -> Scene:
    """Give every object an outline of 24 vertices, and every detection run lengths."""
    rng = np.random.default_rng(1)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def outlines(boxes: np.ndarray) -> np.ndarray:
        middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        half = (boxes[:, None, 2:] - boxes[:, None, :2]) / 2
        ragged = circle * rng.uniform(0.7, 1, (len(boxes), 24, 1))
        return (middle + half * ragged).astype(np.float32)  # (B, 24, 2)

    def run_lengths(outline: np.ndarray) -> RunLengths:
        rle = hotcoco.mask.fr_poly(outline.reshape(-1).tolist(), 480, 640)
        return RunLengths(rle["counts"], (480, 640))

    dataset, found = scene
    records = [
        replace(record, masks=tuple((outline,) for outline in outlines(record.boxes)))
        for record in dataset.records
    ]
    detections = [
        replace(entry, masks=tuple(map(run_lengths, outlines(entry.boxes))))
        for entry in found
    ]
    own = replace(dataset, records=as_records(records), has_masks=True)
    return own, detections


def _voc(scene: Scene, ious: tuple[float, ...]) -> list[float]:
    from faster_rcnn.evaluation.voc_ap import voc_average_precisions

    results = voc_average_precisions(*scene, iou_thresholds=ious)
    return [result.mean_ap for at_iou in results for result in at_iou.values()]


def _voc_files(scene: Scene) -> list[float]:
    from faster_rcnn.evaluation.voc_files import load_voc_files, save_voc_files

    with tempfile.TemporaryDirectory() as folder:
        save_voc_files(Path(folder), scene[1], scene[0])
        return [float(len(load_voc_files(Path(folder), scene[0])))]


def _coco(scene: Scene, evaluator: str, task: str = "bbox") -> list[float]:
    from faster_rcnn.evaluation.coco_ap import coco_metrics

    result = coco_metrics(*scene, evaluator=evaluator, task=task)  # type: ignore[arg-type]
    return [*result.metrics.values(), *result.per_class.values()]


def _proposals(scene: Scene, evaluator: str) -> list[float]:
    from faster_rcnn.evaluation.proposal_recall import (
        ImageProposals,
        evaluate_proposals,
    )

    dataset, found = scene
    proposals = [ImageProposals(e.image_id, e.boxes, e.scores) for e in found]
    result = evaluate_proposals(dataset, proposals, evaluator=evaluator)  # type: ignore[arg-type]
    return list(result.average_recall.values())


class Measured(NamedTuple):
    """A measurement: the size of its scene, its work, and a name for equal results."""

    size: Size
    work: Callable[[Scene], list[float]]
    same: str


MEASURES = {
    "VOC's scene alone": Measured(VOC, lambda scene: [], ""),
    "VOC, one IoU": Measured(VOC, lambda scene: _voc(scene, (0.5,)), ""),
    "VOC, ten IoUs": Measured(VOC, lambda scene: _voc(scene, TEN), ""),
    "VOC's files, there and back": Measured(VOC, _voc_files, ""),
    "COCO's scene alone": Measured(COCO, lambda scene: [], ""),
    "COCO, hotcoco": Measured(COCO, lambda s: _coco(s, "hotcoco"), "coco"),
    "COCO, pycocotools": Measured(COCO, lambda s: _coco(s, "pycocotools"), "coco"),
    "masks, hotcoco": Measured(MASKS, lambda s: _coco(s, "hotcoco", "segm"), "masks"),
    "masks, pycocotools": Measured(
        MASKS, lambda s: _coco(s, "pycocotools", "segm"), "masks"
    ),
    "proposals, hotcoco": Measured(
        PROPOSALS, lambda s: _proposals(s, "hotcoco"), "proposals"
    ),
    "proposals, pycocotools": Measured(
        PROPOSALS, lambda s: _proposals(s, "pycocotools"), "proposals"
    ),
}


def _in_process(what: str, halvings: int) -> dict[str, object]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", what, "--halvings", str(halvings)]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    figure: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return figure


def _measure(what: str, halvings: int) -> dict[str, object]:
    full, work, same = MEASURES[what]
    parts = [full.images, full.objects, full.detections]
    images, objects, detections = (part >> halvings for part in parts)
    size = Size(images, full.classes, objects, detections)
    scene = draw(size, by_class=same != "proposals")
    if same == "masks":
        scene = with_masks(scene)
    started, started_cpu = time.perf_counter(), time.process_time()
    numbers = work(scene)
    seconds = time.perf_counter() - started
    cpu_seconds = time.process_time() - started_cpu
    # Not getrusage's: a process inherits that from the one that has started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return {
        "what": what,
        "images": images,
        "detections": -(-detections // images) * images,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": int(status.partition("VmHWM:")[2].split()[0]) / 1024,
        "same": same,
        "numbers": [number.hex() for number in numbers],
    }


def _compare(figure: dict[str, object], others: list[dict[str, object]]) -> None:
    """Report whether results equal the first ones of the same size to the bit."""
    first = next(f for f in others or [figure] if f["images"] == figure["images"])
    if figure["same"] and first is not figure:
        verdict = "equal" if figure["numbers"] == first["numbers"] else "NOT EQUAL"
        print(
            f"{figure['what']}, {figure['images']} images: {verdict}", file=sys.stderr
        )


if __name__ == "__main__":
    main()
