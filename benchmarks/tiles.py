#!/usr/bin/env python3
"""Measure what tiles find in large pictures, on pictures drawn for it.

Draws pictures of 1600 x 1200 to train on and of 4000 x 3000 to test, each with many
shapes of 12 pixels and a few of hundreds; trains one small detector on crops; and tests
it on whole reduced pictures and on tiles. Each of one picture and of all is tested in a
process of its own for the peak of its memory. Twenty minutes on one core:

    python benchmarks/tiles.py path/to/folder

Parts that are in the folder already are not repeated.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from faster_rcnn.cli.main import main as frcnn
from faster_rcnn.datasets.loading.tiling import Tile, Tiling
from reporting import markdown

CLASSES = ("disc", "square", "triangle")
SPLITS = {"train": (30, 1600, 1200, 120), "test": (3, 4000, 3000, 300)}
"""Images, width, height, small objects in each."""
LARGE = 8
TILE = 600
SETTINGS = (
    *("net.weights", "none", "anchors.scales", "[3]", "train.batch_size", "4"),
    *("data.crop", "256", "data.short_sides", "[256]", "data.long_side", "256"),
    *("data.scale_jitter", "[0.2,1.0]", "data.workers", "1", "data.flip", "true"),
    *("data.test_short_side", "600", "data.test_long_side", "800"),
    *("rpn.test_post_nms", "600", "rpn.test_pre_nms", "1000"),
    *("test.detections_per_image", "500", "test.max_detections", "500"),
    *("test.nms_threshold", "0.5", "train.picture_every", "0", "test.pictures", "2"),
)
WAYS = {
    "reduced": (),
    "tiles": ("test.tiles", str(TILE), "test.tile_whole", "false"),
    "tiles and reduced": ("test.tiles", str(TILE)),
}
SCORE = 0.5


def draw(folder: Path) -> None:
    """Write pictures and annotations in COCO's layout."""
    for number, (split, (count, *size, small)) in enumerate(SPLITS.items()):
        images: list[dict[str, Any]] = []
        objects: list[dict[str, Any]] = []
        (folder / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            rng = np.random.default_rng((number, index))
            pixels, found = _scene(rng, *size, small)
            name = f"{index}.jpg"
            cv2.imwrite(str(folder / split / name), pixels)
            facts = {"id": index, "file_name": name}
            images.append(facts | {"width": size[0], "height": size[1]})
            for kind, (x, y, side) in found:
                box = {"bbox": [x, y, side, side], "area": side * side, "iscrowd": 0}
                own = {"id": len(objects) + 1, "image_id": index}
                objects.append(own | box | {"category_id": kind + 1})
        content = {
            "images": images,
            "annotations": objects,
            "categories": [
                {"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)
            ],
        }
        (folder / split / "_annotations.coco.json").write_text(json.dumps(content))


def _scene(
    rng: np.random.Generator, width: int, height: int, small: int
) -> tuple[npt.NDArray[np.uint8], list[tuple[int, tuple[int, int, int]]]]:
    """Draw shapes that do not touch on a texture."""
    coarse = rng.integers(60, 130, (height // 40, width // 40, 3)).astype(np.uint8)
    canvas = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, 8, canvas.shape).astype(np.int16)
    canvas = (canvas.astype(np.int16) + noise).clip(0, 255).astype(np.uint8)
    taken = np.zeros((height, width), np.bool_)
    sides = np.exp(rng.uniform(np.log(100), np.log(height // 3), LARGE)).astype(int)
    found = []
    for side in [*sides.tolist(), *rng.integers(11, 14, small).tolist()]:
        for _ in range(50):
            x, y = (int(rng.integers(2, end - side - 2)) for end in (width, height))
            if taken[y - 2 : y + side + 2, x - 2 : x + side + 2].any():
                continue
            taken[y - 2 : y + side + 2, x - 2 : x + side + 2] = True
            kind = int(rng.integers(len(CLASSES)))
            colour = [int(value) for value in rng.integers(170, 255, 3)]
            middle = (x + side // 2, y + side // 2)
            if kind == 0:
                cv2.circle(canvas, middle, side // 2, colour, -1)
            elif kind == 1:
                canvas[y : y + side, x : x + side] = colour
            else:
                corners = [(x, y + side), (x + side, y + side), (middle[0], y)]
                cv2.fillConvexPoly(canvas, np.array(corners, np.int32), colour)
            found.append((kind, (x, y, side)))
            break
    return canvas, found


def score(folder: Path, found_file: Path) -> list[str]:
    """Return recall of small and large objects, and doubles of small ones.

    A double is a further detection of an object's class on more than half of it, or in
    it. They are counted where tiles overlap and where only one tile sees an object.
    """
    truth = json.loads((folder / "test" / "_annotations.coco.json").read_text())
    found = [row for row in json.loads(found_file.read_text()) if row["score"] > SCORE]
    hits = {"small": [0, 0], "large": [0, 0]}
    doubles = {True: [0, 0], False: [0, 0]}
    for image in truth["images"]:
        real, seen = (
            [row for row in rows if str(row["image_id"]) == str(image["id"])]
            for rows in (truth["annotations"], found)
        )
        if not seen:
            seen = [{"bbox": [-1, -1, 0, 0], "category_id": -1}]
        boxes, others = (
            np.array([row["bbox"] for row in rows], float) for rows in (real, seen)
        )
        boxes[:, 2:] += boxes[:, :2]
        others[:, 2:] += others[:, :2]
        low = np.maximum(boxes[:, None, :2], others[:, :2])
        high = np.minimum(boxes[:, None, 2:], others[:, 2:])
        common = (high - low).clip(0).prod(axis=2)
        areas, own = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, others))
        same = np.equal.outer(
            [row["category_id"] for row in real], [row["category_id"] for row in seen]
        )
        good = same & (common / (areas[:, None] + own - common) > 0.5)
        for row, hit in zip(real, good.any(axis=1), strict=True):
            hits["small" if row["bbox"][2] < 20 else "large"][0] += bool(hit)
            hits["small" if row["bbox"][2] < 20 else "large"][1] += 1
        on = same & (common > 0.5 * np.minimum(areas[:, None], own).clip(1e-9))
        tiles = Tiling(TILE, whole=False).tiles(image["height"], image["width"])
        for box, count in zip(boxes, on.sum(axis=1), strict=True):
            if box[2] - box[0] < 20:
                seam = sum(_sees(tile, box) for tile in tiles) > 1
                doubles[seam][0] += max(int(count) - 1, 0)
                doubles[seam][1] += 1
    rates = [f"{hit / total:.3f}" for hit, total in hits.values()]
    return [*rates, *(f"{many} of {of}" for many, of in doubles.values())]


def _sees(tile: Tile, box: npt.NDArray[np.float64]) -> bool:
    last = tile.x + tile.width, tile.y + tile.height
    return bool((box[2:] > (tile.x, tile.y)).all() and (box[:2] < np.array(last)).all())


def peak(checkpoint: Path, pictures: list[Path]) -> float:
    """Return the peak memory of a process that streams pictures, in MiB."""
    code = (
        "import resource, sys; from faster_rcnn import Detector\n"
        "detector = Detector.from_checkpoint(sys.argv[1], device='cpu')\n"
        "for _ in detector.stream(sys.argv[2:], tiles=600, batch_size=2): pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    words = [sys.executable, "-c", code, str(checkpoint), *map(str, pictures)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Draw, train, test and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--iterations", type=int, default=450)
    arguments = parser.parse_args()
    data, output = arguments.folder / "data", arguments.folder / "output"
    if not data.is_dir():
        draw(data)
    words = [str(data), "res18_fpn", "--output", str(output), "--cfg", "shapes"]
    iterations = ["train.iterations", str(arguments.iterations)]
    checkpoints = sorted(output.glob(f"**/iter_{arguments.iterations:07d}.pth"))
    if not checkpoints:
        frcnn(["train", *words, "--no-test", "--set", *SETTINGS, *iterations])
        checkpoints = sorted(output.glob(f"**/iter_{arguments.iterations:07d}.pth"))
    (checkpoint,) = checkpoints
    rows = []
    for way, settings in WAYS.items():
        found = arguments.folder / f"{way}.json"
        if not found.is_file():
            test = ["test", str(data), "--checkpoint"]
            chosen = ["--set", *settings] if settings else []
            frcnn([*test, str(checkpoint), "--out", str(found), *chosen])
        rows.append([way, *score(arguments.folder / "data", found)])
        print(rows[-1], flush=True)
    header = ["test", "recall 12 px", "recall large", "doubles: overlap", "one tile"]
    print(markdown(header, rows))
    pictures = sorted((data / "test").glob("*.jpg"))
    for several in (pictures[:1], pictures):
        print(f"{len(several)} pictures: peak {peak(checkpoint, several):.0f} MiB")


if __name__ == "__main__":
    main()
