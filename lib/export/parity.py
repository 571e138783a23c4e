"""Compare the detections of an exported file with those of its detector.

Letters: N images, D detections per image.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..detector.export_error import ExportError
from ..detector.file_inputs import Inputs
from ..layer_utils.structures import Detections, map_tensors


class Tolerance(NamedTuple):
    """How far a detection and its partner may be apart.

    Attributes:
        box: pixels of the original image.
        score: difference of the scores.
        unmatched: share of the detections that may lack a partner.
    """

    box: float
    score: float
    unmatched: float


TOLERANCES = {
    "float32": Tolerance(0.05, 1e-3, 0.0),
    # With 8 bits of precision, a score near a threshold or a box near another one's
    # overlap falls on either side.
    "bfloat16": Tolerance(8.0, 0.1, 0.25),
}
MASK_TOLERANCE = 0.02
"""Of a probability: a mask moves with its box."""
MOVED_TOLERANCE = 1e-3
"""Share of the keypoints and of the pixels of pasted masks that may differ, since
rounding decides between equals."""
_EXACT = TOLERANCES["float32"]


class Differences(NamedTuple):
    """Result of a comparison.

    Attributes:
        images: number of images compared.
        detections: number of the detector's detections above the threshold.
        box: largest difference of a coordinate, in original pixels.
        score: largest difference of a score.
        mask: largest difference of a mask's probability.
        points: number of keypoints, and of pixels that one of two pasted masks has.
        moved: keypoints whose place differs by more than the tolerance of boxes, and
            pixels that only one of two pasted masks has.
        unmatched: detections that only one of the two has, in words.
    """

    images: int = 0
    detections: int = 0
    box: float = 0.0
    score: float = 0.0
    mask: float = 0.0
    points: int = 0
    moved: int = 0
    unmatched: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return one line of text."""
        points = f", {self.moved} of {self.points} keypoints and mask pixels"
        return (
            f"{self.images} images, {self.detections} detections: boxes differ by "
            f"{self.box:.2g} px at most, scores by {self.score:.2g}"
            + (f", masks by {self.mask:.2g}" if self.mask else "")
            + (points if self.points else "")
            + f", {len(self.unmatched)} without partner"
        )

    def __add__(self, other: "Differences") -> "Differences":  # type: ignore[override]
        """Return the differences of both comparisons."""
        return Differences(
            self.images + other.images,
            self.detections + other.detections,
            max(self.box, other.box),
            max(self.score, other.score),
            max(self.mask, other.mask),
            self.points + other.points,
            self.moved + other.moved,
            self.unmatched + other.unmatched,
        )


@torch.inference_mode()
def compare(
    eager: Callable[..., Sequence[Tensor]],
    exported: Callable[[Inputs], Detections],
    batches: Iterable[Inputs],
    *,
    threshold: float,
    device: torch.device,
    tolerance: Tolerance = _EXACT,
) -> Differences:
    """Run both on the same batches and pair their detections.

    Args:
        eager: the program itself.
        exported: the loaded file.
        batches: inputs on the CPU.
        threshold: lowest score of detections that count.
        device: device of both.
        tolerance: how far partners may be apart.
    """
    total = Differences()
    for batch in batches:
        inputs = Inputs(*(tensor.to(device) for tensor in batch))
        theirs = exported(inputs)
        given = theirs._asdict().items()
        names = [name for name, field in given if field is not None]
        ours = Detections(**dict(zip(names, eager(*inputs), strict=True)))
        for i in range(len(inputs.pixels)):
            found = pair_image(
                _image(ours, i),
                _image(theirs, i),
                threshold=threshold,
                tolerance=tolerance,
            )
            name = f"image {total.images + 1}: "
            unmatched = tuple(name + text for text in found.unmatched)
            total += found._replace(unmatched=unmatched)
    return total


def _image(found: Detections, i: int) -> Detections:
    return map_tensors(found, lambda field: field[i].cpu())


def pair_image(
    one: Detections,
    other: Detections,
    *,
    threshold: float,
    tolerance: Tolerance = _EXACT,
) -> Differences:
    """Pair the detections of one image, whose fields lack the dimension N.

    Each is paired with the nearest unused box of its class within the tolerances. At
    the threshold, a partner's score may be lower by the tolerance of scores.
    """
    pools = [
        (d.valid & (d.scores > threshold - tolerance.score)).nonzero()[:, 0].tolist()
        for d in (one, other)
    ]
    total = Differences(images=1)
    unmatched: list[str] = []
    partners = set(pools[1])
    for i in pools[0]:
        near = [j for j in partners if other.classes[j] == one.classes[i]]
        gaps = {j: float((one.boxes[i] - other.boxes[j]).abs().max()) for j in near}
        fitting = [
            j
            for j in near
            if gaps[j] <= tolerance.box
            and abs(float(one.scores[i] - other.scores[j])) <= tolerance.score
        ]
        if fitting:
            j = min(fitting, key=gaps.__getitem__)
            partners.discard(j)
            total += _pair(one, i, other, j)
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
    return total._replace(detections=count, unmatched=tuple(unmatched))


def _pair(one: Detections, i: int, other: Detections, j: int) -> Differences:
    """Compare two detections of one object."""
    mask, points, moved = 0.0, 0, 0
    if one.masks is not None and other.masks is not None:
        a, b = one.masks[i], other.masks[j]
        if a.dtype == torch.bool:
            points, moved = int((a | b).sum()), int((a ^ b).sum())
        else:
            mask = float((a - b).abs().max())
    if one.keypoints is not None and other.keypoints is not None:
        gap = (one.keypoints[i] - other.keypoints[j])[:, :2].abs().amax(1)
        points, moved = points + len(gap), moved + int((gap > _EXACT.box).sum())
    return Differences(
        box=float((one.boxes[i] - other.boxes[j]).abs().max()),
        score=abs(float(one.scores[i] - other.scores[j])),
        mask=mask,
        points=points,
        moved=moved,
    )


def require_equal(found: Differences, tolerance: Tolerance = _EXACT) -> None:
    """Raise ExportError with the first differences, if there are notable ones.

    Masks and keypoints are compared in float32 alone.
    """
    limit = MOVED_TOLERANCE * found.points
    exact = tolerance == _EXACT
    if exact and (found.mask > MASK_TOLERANCE or found.moved > limit):
        raise ExportError(
            f"the exported file differs from the detector ({found}; expected masks "
            f"within {MASK_TOLERANCE}, and {MOVED_TOLERANCE:.1%} of keypoints more "
            f"than {_EXACT.box} px away, or of pixels of pasted masks, at most)"
        )
    # A pair that is split counts twice: on either side.
    if len(found.unmatched) > 2 * tolerance.unmatched * found.detections:
        shown = "\n  ".join(found.unmatched[:5])
        raise ExportError(
            f"the exported file differs from the detector ({found}; expected the same "
            f"detections within {tolerance.box} px and {tolerance.score}"
            + (f", up to {tolerance.unmatched:.0%} of them" if not exact else "")
            + f"):\n  {shown}"
        )


def _words(found: Detections, i: int) -> str:
    box: Tensor = found.boxes[i]
    corners = ", ".join(f"{x:.2f}" for x in box.tolist())
    return f"class {int(found.classes[i])} at {corners} ({float(found.scores[i]):.4f})"
