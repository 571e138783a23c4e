"""Compare the detections of an exported file with those of its detector.

Letters: N images, D detections per image.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..layer_utils.structures import Detections, map_tensors
from .export_error import ExportError
from .program import Inputs

BOX_TOLERANCE = 0.05
"""Pixels of the original image."""
SCORE_TOLERANCE = 1e-3


class Differences(NamedTuple):
    """Result of a comparison.

    Attributes:
        images: number of images compared.
        detections: number of the detector's detections above the threshold.
        box: largest difference of a coordinate, in original pixels.
        score: largest difference of a score.
        unmatched: detections that only one of the two has, in words.
    """

    images: int = 0
    detections: int = 0
    box: float = 0.0
    score: float = 0.0
    unmatched: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return one line of text."""
        return (
            f"{self.images} images, {self.detections} detections: boxes differ by "
            f"{self.box:.2g} px at most, scores by {self.score:.2g}, "
            f"{len(self.unmatched)} without partner"
        )


@torch.inference_mode()
def compare(
    eager: Callable[..., Sequence[Tensor]],
    exported: Callable[[Inputs], Detections],
    batches: Iterable[Inputs],
    *,
    threshold: float,
    device: torch.device,
) -> Differences:
    """Run both on the same batches and pair their detections.

    Args:
        eager: the program itself.
        exported: the loaded file.
        batches: inputs on the CPU.
        threshold: lowest score of detections that count.
        device: device of both.
    """
    total = Differences()
    for batch in batches:
        inputs = Inputs(*(tensor.to(device) for tensor in batch))
        ours, theirs = Detections(*eager(*inputs)), exported(inputs)
        for i in range(len(inputs.pixels)):
            found = pair_image(_image(ours, i), _image(theirs, i), threshold=threshold)
            name = f"image {total.images + 1}: "
            total = Differences(
                total.images + 1,
                total.detections + found.detections,
                max(total.box, found.box),
                max(total.score, found.score),
                total.unmatched + tuple(name + text for text in found.unmatched),
            )
    return total


def _image(found: Detections, i: int) -> Detections:
    return map_tensors(found, lambda field: field[i].cpu())


def pair_image(one: Detections, other: Detections, *, threshold: float) -> Differences:
    """Pair the detections of one image, whose fields lack the dimension N.

    Each is paired with the nearest unused box of its class within the tolerances. At
    the threshold, a partner's score may be lower by the tolerance of scores.
    """
    pools = [
        (d.valid & (d.scores > threshold - SCORE_TOLERANCE)).nonzero()[:, 0].tolist()
        for d in (one, other)
    ]
    box = score = 0.0
    unmatched: list[str] = []
    partners = set(pools[1])
    for i in pools[0]:
        near = [j for j in partners if other.classes[j] == one.classes[i]]
        gaps = {j: float((one.boxes[i] - other.boxes[j]).abs().max()) for j in near}
        fitting = [
            j
            for j in near
            if gaps[j] <= BOX_TOLERANCE
            and abs(float(one.scores[i] - other.scores[j])) <= SCORE_TOLERANCE
        ]
        if fitting:
            j = min(fitting, key=gaps.__getitem__)
            partners.discard(j)
            box = max(box, gaps[j])
            score = max(score, abs(float(one.scores[i] - other.scores[j])))
        elif one.scores[i] > threshold:
            text = f"only the detector found {_words(one, i)}"
            if gaps:
                j = min(gaps, key=gaps.__getitem__)
                text += f"; nearest in the file is {_words(other, j)}"
            unmatched.append(text)
    unmatched += [
        f"only the file found {_words(other, j)}"
        for j in sorted(partners)
        if other.scores[j] > threshold
    ]
    count = int((one.valid & (one.scores > threshold)).sum())
    return Differences(1, count, box, score, tuple(unmatched))


def require_equal(found: Differences) -> None:
    """Raise ExportError with the first differences, if any detection is unmatched."""
    if found.unmatched:
        shown = "\n  ".join(found.unmatched[:5])
        raise ExportError(
            f"the exported file differs from the detector ({found}; expected the same "
            f"detections within {BOX_TOLERANCE} px and {SCORE_TOLERANCE}):\n  {shown}"
        )


def _words(found: Detections, i: int) -> str:
    box: Tensor = found.boxes[i]
    corners = ", ".join(f"{x:.2f}" for x in box.tolist())
    return f"class {int(found.classes[i])} at {corners} ({float(found.scores[i]):.4f})"
