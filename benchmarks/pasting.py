#!/usr/bin/env python3
"""Compare the time of pasting masks into an image with torchvision's.

100 masks of 28 x 28 are pasted into an image of 800 x 1333 pixels, with torchvision's
rounding and with Detectron2's. Each round calls all functions in turn, so that other
work on the machine affects all of them; the figures are processor seconds of all
threads, the medians of the rounds.

    python benchmarks/pasting.py --threads 2 --docs
"""

import statistics
import time
from collections.abc import Callable

import torch
from faster_rcnn.cli.parser import Parser, count
from faster_rcnn.layer_utils.mask_pasting import paste_masks
from reporting import DOCS, machine, markdown, milliseconds, write_between
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

_COUNT, _HEIGHT, _WIDTH = 100, 800, 1333
_SIDES = {  # least and largest side of a box, as shares of the image's
    "small, 3 to 20 % of the image's sides": (0.03, 0.2),
    "medium, 10 to 50 %": (0.1, 0.5),
    "large, 50 to 100 %": (0.5, 1.0),
}


def draw(low: float, high: float, *, noise: bool) -> tuple[Tensor, Tensor]:
    """Draw masks and boxes: blobs, or noise, in which no two cells agree."""
    generator = torch.Generator().manual_seed(0)
    side = 28 if noise else 5
    masks = torch.rand(_COUNT, 1, side, side, generator=generator)
    masks = torch.nn.functional.interpolate(masks, size=28, mode="bicubic")
    image = torch.tensor([_WIDTH, _HEIGHT])
    sides = (low + (high - low) * torch.rand(_COUNT, 2, generator=generator)) * image
    first = torch.rand(_COUNT, 2, generator=generator) * (image - sides)
    return masks.clamp(0, 1), torch.cat((first, first + sides), 1)


def measure(masks: Tensor, boxes: Tensor, *, repeats: int) -> dict[str, float]:
    """Return the processor seconds of each function."""
    size = {"height": _HEIGHT, "width": _WIDTH}
    calls: dict[str, Callable[[], Tensor]] = {
        "torchvision": lambda: paste_masks_in_image(masks, boxes, (_HEIGHT, _WIDTH)),
        "ours": lambda: paste_masks(masks[:, 0], boxes, whole_pixels=True, **size),
        "ours, Detectron2's": lambda: paste_masks(masks[:, 0], boxes, **size),
    }
    # Values within rounding of a half may go either way.
    wrong = (calls["torchvision"]()[:, 0] >= 0.5) != calls["ours"]()
    assert wrong.float().mean() < 1e-5
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure and print the table."""
    parser = Parser(description=__doc__)
    parser.add_argument("--threads", type=count, default=2)
    parser.add_argument("--repeats", type=count, default=7)
    parser.add_argument("--docs", action="store_true", help="into docs/kernels.md")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name, (low, high) in _SIDES.items():
        for noise in (False, True):
            found = measure(*draw(low, high, noise=noise), repeats=arguments.repeats)
            times = [f"{found['torchvision'] / value:.1f}" for value in found.values()]
            label = f"{name}; {'noise' if noise else 'blobs'}"
            rows.append([label, *map(milliseconds, found.values()), *times[1:]])
            print(*rows[-1], sep=" | ", flush=True)
    heads = ["boxes; masks", "torchvision, ms", "ours", "ours, Detectron2's rounding"]
    table = markdown([*heads, "times as fast", "times as fast"], rows)
    if arguments.docs:
        text = f"{machine(torch.device('cpu'))}\n\n{table}"
        write_between(DOCS / "kernels.md", "pasting", text)


if __name__ == "__main__":
    main()
