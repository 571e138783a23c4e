#!/usr/bin/env python3
"""Time the index of annotation files of several sizes, and pycocotools' COCO().

    python benchmarks/data.py
    python benchmarks/data.py --images 1700000 --boxes 25000000 --points 0
    python benchmarks/data.py --points 30 --masks

For each size, a file in COCO's layout is generated in a temporary folder, with half the
images and boxes of the next size. Each figure comes from its own process, on one
thread: wall-clock and CPU time, and peak memory (RSS), imports included. `opening` uses
an existing index and a known hash, as every run but the first; `first epoch` reads
every record once.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from faster_rcnn.cli.parser import Parser
from faster_rcnn.datasets.records import Dataset

SECONDS_TO_SETTLE = 3.5
"""Notes are kept on files that have been left alone for three seconds."""


def main() -> None:
    """Generate files, measure, and print a table."""
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--images", type=int, default=118_000, help="images of the largest"
    )
    parser.add_argument(
        "--boxes", type=int, default=860_000, help="boxes of the largest"
    )
    parser.add_argument("--points", type=int, default=22, help="points per polygon")
    parser.add_argument(
        "--sizes", type=int, default=3, help="number of sizes, each half of the next"
    )
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder")
    parser.add_argument(
        "--masks", action="store_true", help="read the polygons, as for a mask head"
    )
    parser.add_argument("--no-rival", action="store_true", help="skip COCO()")
    # Options of the processes that this script starts.
    parser.add_argument("--measure", choices=sorted(MEASURES), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        function = MEASURES[options.measure]
        print(json.dumps(_measure(function, options.data, masks=options.masks)))
        return
    from reporting import markdown  # not in the processes measured: it loads PyTorch

    rows = []
    for halvings in reversed(range(options.sizes)):
        images, boxes = options.images >> halvings, options.boxes >> halvings
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows += _rows(Path(folder), images, boxes, options)
    header = (
        "what",
        "images",
        "boxes",
        "JSON MB",
        "seconds",
        "CPU s",
        "growth",
        "peak MB",
    )
    print(markdown(header, _with_growth(rows)))


Row = tuple[str, int, int, float, float, float, float]


def _rows(
    data: Path, images: int, boxes: int, options: argparse.Namespace
) -> list[Row]:
    """Measure one size: first the index, then the rival."""
    file = draw_annotations(data, images, boxes, options.points)
    megabytes = file.stat().st_size / 1e6
    rows: list[Row] = []
    notes = data / "annotations" / ".cache"
    wanted = ["imports", "index", "opening, hashed", "opening", "first epoch"]
    if not options.no_rival:
        wanted.append("COCO()")
    for what in wanted:
        if what == "opening, hashed":
            time.sleep(SECONDS_TO_SETTLE)
            for note in notes.glob("*.json"):
                note.unlink()
        figures = _in_process(what, data, masks=options.masks)
        rows.append((what, images, boxes, megabytes, *figures))
    (index,) = notes.glob("*.index")
    print(
        f"{images} images, {boxes} boxes: index {index.stat().st_size / 1e6:.1f} MB",
        file=sys.stderr,
    )
    return rows


def _with_growth(rows: list[Row]) -> list[list[str]]:
    """Format rows; growth is CPU time over that of half the size (2 is linear)."""
    seconds = {(row[0], row[1]): row[5] for row in rows}
    table = []
    for what, images, boxes, megabytes, spent, cpu, peak in rows:
        half = seconds.get((what, images // 2))
        growth = f"{cpu / half:.2f}" if half and half > 0.01 else ""
        numbers = [f"{images:,}", f"{boxes:,}", f"{megabytes:.0f}"]
        numbers += [f"{spent:.3g}", f"{cpu:.3g}"]
        table.append([what, *numbers, growth, f"{peak:.0f}"])
    return sorted(table, key=lambda row: list(MEASURES).index(row[0]))


def draw_annotations(folder: Path, images: int, boxes: int, points: int) -> Path:
    """Write instances_train.json in COCO's layout, and empty files for its images.

    The boxes are in random order, as in COCO; a quarter of a million of them differ.

    Args:
        folder: an existing folder.
        images: number of images.
        boxes: number of annotations.
        points: points per polygon; 0 for no polygons, as in Objects365.
    """
    rng = random.Random(0)
    (folder / "annotations").mkdir()
    file = folder / "annotations" / "instances_train.json"
    kinds = [_box(rng, points) for _ in range(min(boxes, 1 << 18))]
    with file.open("w", encoding="ascii") as out:
        out.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        for number in range(images):
            name = f"{number % 64:02d}/{number:012d}.jpg"
            out.write(
                f"{', ' if number else ''}"
                f'{{"license": 3, "file_name": "{name}", "coco_url": '
                f'"http://images.cocodataset.org/train2017/{name}", "height": 480, '
                '"width": 640, "date_captured": "2013-11-14 11:18:45", "flickr_url": '
                f'"http://farm9.staticflickr.com/8186/{name}", "id": {number}}}'
            )
        out.write('], "annotations": [')
        for number in range(boxes):
            out.write(
                f"{', ' if number else ''}{{{kinds[number % len(kinds)]}, "
                f'"iscrowd": 0, "image_id": {rng.randrange(images)}, '
                f'"category_id": {number % 80 + 1}, "id": {number + 1}}}'
            )
        out.write('], "categories": [')
        names = (f'{{"id": {n}, "name": "class {n}"}}' for n in range(1, 81))
        out.write(", ".join(names) + "]}")
    for number in range(64):
        (folder / "train" / f"{number:02d}").mkdir(parents=True)
    for number in range(images):
        path = folder / "train" / f"{number % 64:02d}" / f"{number:012d}.jpg"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    return file


def _box(rng: random.Random, points: int) -> str:
    x, y = rng.random() * 500, rng.random() * 400
    width, height = rng.random() * 139 + 1, rng.random() * 79 + 1
    text = f'"bbox": [{x:.2f}, {y:.2f}, {width:.2f}, {height:.2f}]'
    if points:
        polygon = ", ".join(f"{rng.random() * 600:.2f}" for _ in range(2 * points))
        text = f'"segmentation": [[{polygon}]], {text}'
    return f'{text}, "area": {width * height:.4f}'


def _in_process(what: str, data: Path, *, masks: bool) -> tuple[float, float, float]:
    """Return seconds, CPU seconds and peak MB of a new process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("FRCNN_INDEX", None)
    command = [sys.executable, __file__, "--measure", what, "--data", str(data)]
    command += ["--masks"] if masks else []
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    seconds, cpu_seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, cpu_seconds, peak


def _measure(
    function: Callable[[Path, bool], Callable[[], object]], data: Path, *, masks: bool
) -> list[float]:
    work = function(data, masks)
    started, started_cpu = time.perf_counter(), time.process_time()
    kept = work()
    seconds = time.perf_counter() - started
    cpu_seconds = time.process_time() - started_cpu
    # Not getrusage's: a process inherits that from the one that has started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    del kept
    return [seconds, cpu_seconds, peak]


def _imports(_: Path, masks: bool) -> Callable[[], object]:
    from faster_rcnn.datasets.formats import coco

    return lambda: coco


def _read(data: Path, masks: bool) -> Callable[[], Dataset]:
    from faster_rcnn.datasets.formats.coco import read_coco
    from faster_rcnn.datasets.records import Wanted

    file = data / "annotations" / "instances_train.json"
    wanted = Wanted(masks=masks)
    return lambda: read_coco(file, data / "train", name="drawn", wanted=wanted)


def _epoch(data: Path, masks: bool) -> Callable[[], object]:
    records = _read(data, masks)().records
    return lambda: sum(len(record.boxes) for record in records)


def _rival(data: Path, masks: bool) -> Callable[[], object]:
    from pycocotools.coco import COCO

    return lambda: COCO(str(data / "annotations" / "instances_train.json"))


MEASURES = {
    "imports": _imports,
    "index": _read,
    "opening, hashed": _read,
    "opening": _read,
    "first epoch": _epoch,
    "COCO()": _rival,
}

if __name__ == "__main__":
    main()
