import pytest
import torch
from faster_rcnn.detector.export_error import ExportError
from faster_rcnn.detector.file_inputs import Inputs
from faster_rcnn.export.parity import (
    TOLERANCES,
    Differences,
    compare,
    pair_image,
    require_equal,
)
from faster_rcnn.layer_utils.structures import Detections, map_tensors

pytestmark = pytest.mark.slow


def detections(*rows, slots=4):
    """Detections of one image from rows of (class, score, x1)."""
    boxes, scores = torch.zeros(slots, 4), torch.zeros(slots)
    classes, valid = torch.zeros(slots, dtype=torch.int64), torch.zeros(slots).bool()
    for i, (label, score, x) in enumerate(rows):
        boxes[i] = torch.tensor([x, 2.0, x + 10, 20.0])
        scores[i], classes[i], valid[i] = score, label, True
    return Detections(boxes, scores, classes, valid)


ONE = ((1, 0.9, 5.0), (2, 0.6, 30.0), (1, 0.2, 5.0))


def test_the_same_within_tolerances():
    other = detections((2, 0.6004, 30.01), (1, 0.9, 5.04), (1, 0.2, 5.0))
    found = pair_image(detections(*ONE), other, threshold=0.3)
    assert found.images == 1 and found.detections == 2 and not found.unmatched
    assert found.box == pytest.approx(0.04, abs=1e-5)
    assert found.score == pytest.approx(4e-4, abs=1e-6)
    require_equal(found)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (((1, 0.9, 5.06), (2, 0.6, 30.0)), "nearest in the file is class 1 at 5.06"),
        (((1, 0.902, 5.0), (2, 0.6, 30.0)), "only the detector found class 1"),
        (((2, 0.9, 5.0), (2, 0.6, 30.0)), "only the file found class 2 at 5.00"),
        ((*ONE[:2], (1, 0.8, 70.0)), "only the file found class 1 at 70.00"),
        (ONE[:1], "only the detector found class 2 at 30.00, 2.00, 40.00, 20.00"),
        ((), "only the detector found class 1"),
    ],
)
def test_a_difference_is_named(other, text):
    found = pair_image(detections(*ONE), detections(*other), threshold=0.3)
    assert any(text in line for line in found.unmatched)
    with pytest.raises(ExportError, match="differs from the detector"):
        require_equal(found)


def test_bfloat16_may_round_but_not_find_something_else():
    rounded = TOLERANCES["bfloat16"]
    near = detections((1, 0.95, 8.0), (2, 0.55, 27.0))
    found = pair_image(detections(*ONE), near, threshold=0.3, tolerance=rounded)
    assert found.box == 3.0 and not found.unmatched
    require_equal(found, rounded)
    far = detections((1, 0.9, 5.0), (2, 0.6, 60.0))
    found = pair_image(detections(*ONE), far, threshold=0.3, tolerance=rounded)
    with pytest.raises(
        ExportError, match=r"within 8.0 px and 0.1.*, up to 25% of them"
    ):
        require_equal(found, rounded)


def test_at_the_threshold_a_partner_may_lie_below_it():
    one, other = detections((1, 0.3004, 5.0)), detections((1, 0.2998, 5.0))
    assert not pair_image(one, other, threshold=0.3).unmatched
    assert not pair_image(other, one, threshold=0.3).unmatched


def test_each_partner_serves_once():
    twice = detections((1, 0.9, 5.0), (1, 0.9, 5.0))
    once = detections((1, 0.9, 5.0))
    assert len(pair_image(twice, once, threshold=0.3).unmatched) == 1
    assert len(pair_image(once, twice, threshold=0.3).unmatched) == 1


def test_nothing_found_by_either():
    found = pair_image(detections(), detections(), threshold=0.3)
    assert found == Differences(images=1)


def test_batches_are_added_up():
    one = detections(*ONE)
    batch = map_tensors(one, lambda field: torch.stack((field, field)))
    moved = batch._replace(boxes=batch.boxes + torch.tensor([0.01, 0, 0, 0]))
    inputs = Inputs(*(torch.zeros(2, 1) for _ in Inputs._fields))
    found = compare(
        lambda *_: tuple(batch)[:4],
        lambda _: moved,
        [inputs, inputs],
        threshold=0.1,
        device=torch.device("cpu"),
    )
    assert found.images == 4 and found.detections == 12 and not found.unmatched
    assert found.box == pytest.approx(0.01, abs=1e-5)
