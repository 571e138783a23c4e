"""Proposals read from files: ours, Detectron's, Detectron2's."""

import pickle

import numpy as np
import pytest
from faster_rcnn.datasets.formats.proposals import read_proposals
from faster_rcnn.evaluation.proposal_recall import ImageProposals, save_proposals
from tiny_runs import make_dataset, make_record

BOXES = np.array([(1, 2, 10, 12), (0, 0, 40, 20), (5, 5, 8, 9)], np.float32)
SCORES = np.array([0.5, -1, 3], np.float32)


@pytest.fixture
def records(tmp_path):
    """Three images of 40 x 20: 2008_000008, 000005 and 17."""
    names = ("2008_000008", "000005", "17")
    return [make_record(tmp_path / f"{name}.jpg", 40, 20) for name in names]


def write(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def check(found):
    """The first image has BOXES by score, the second none, the third the first box."""
    assert found.starts.tolist() == [0, 3, 3, 4]
    np.testing.assert_array_equal(found.of(0).boxes, BOXES[[2, 0, 1]])
    np.testing.assert_array_equal(found.of(0).scores, [3, 0.5, -1])
    assert found.of(1).boxes.shape == (0, 4) and found.of(1).scores.shape == (0,)
    np.testing.assert_array_equal(found.of(2).boxes, BOXES[:1])
    assert found.boxes.dtype == found.scores.dtype == np.float32


def test_our_own(records, tmp_path):
    parts = [(BOXES, SCORES), (BOXES[:0], SCORES[:0]), (BOXES[:1], SCORES[:1])]
    entries = [
        ImageProposals(record.image_id, *part)
        for record, part in zip(records, parts, strict=True)
    ]
    path = tmp_path / "proposals.npz"
    save_proposals(path, entries, make_dataset(records))
    check(read_proposals(path, records, most=10))
    # By their ids, whatever the order and whoever else is there.
    other = [records[2], records[0]]
    found = read_proposals(path, other, most=2)
    assert found.starts.tolist() == [0, 1, 3] and found.most == 2
    np.testing.assert_array_equal(found.of(1).boxes, BOXES[[2, 0]])


@pytest.mark.parametrize("ids", ["ids", "indexes"])
def test_detectron(records, tmp_path, ids):
    # Its far corner is the last pixel inside; ids are numbers, in any order.
    legacy = BOXES.astype(np.float64) - (0, 0, 1, 1)
    content = {
        "boxes": [legacy[:1], np.zeros((0, 4)), legacy, legacy],
        "scores": [SCORES[:1], SCORES[:0], SCORES, SCORES],
        ids: [17, 5, 2008000008, 99],
    }
    path = write(tmp_path / "rpn_proposals.pkl", content)
    check(read_proposals(path, records, most=10))


@pytest.mark.parametrize("mode", [None, 0, 1])
def test_detectron2(records, tmp_path, mode):
    boxes = BOXES.copy()
    if mode == 1:
        boxes[:, 2:] -= boxes[:, :2]
    content = {
        "boxes": [boxes, boxes[:0], boxes[:1]],
        "objectness_logits": [SCORES, SCORES[:0], SCORES[:1]],
        "ids": np.array([2008000008, 5, 17]),
    }
    if mode is not None:
        content["bbox_mode"] = mode
    path = write(tmp_path / "proposals.pkl", content)
    check(read_proposals(path, records, most=10))


def test_boxes_are_cut_at_the_border(records, tmp_path):
    boxes = np.array([(-5, 3, 50, 8), (41, 1, 60, 9), (3, 4, 2, 9)], np.float32)
    content = {"boxes": [boxes], "objectness_logits": [SCORES], "ids": [17]}
    path = write(tmp_path / "proposals.pkl", content)
    found = read_proposals(path, records[2:], most=10)
    np.testing.assert_array_equal(found.boxes, [(0, 3, 40, 8), (40, 1, 40, 9)])
    assert found.scores.tolist() == [0.5, -1]


def test_equal_scores_keep_their_order(records, tmp_path):
    content = {"boxes": [BOXES], "objectness_logits": [np.ones(3)], "ids": [17]}
    path = write(tmp_path / "proposals.pkl", content)
    found = read_proposals(path, records[2:], most=2)
    np.testing.assert_array_equal(found.boxes, BOXES[:2])


def test_missing_image_is_named_with_the_file(records, tmp_path):
    content = {"boxes": [BOXES], "scores": [SCORES], "ids": [5]}
    path = write(tmp_path / "few.pkl", content)
    with pytest.raises(
        ValueError, match=r"few\.pkl: no proposals for the image 2008_000008, nor for 1"
    ):
        read_proposals(path, records, most=10)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ids": [17, 17]}, "two entries for the image 17"),
        ({"ids": [17]}, "as many ids as boxes and scores, found 1, 2 and 2"),
        ({"boxes": [BOXES[:2], BOXES]}, "image 17: expected a score for each box"),
        ({"boxes": [BOXES * np.nan, BOXES]}, "image 17: a box or a score is not"),
        ({"bbox_mode": 4}, "expected bbox_mode 0"),
        ({"boxes": None}, "found other content"),
        ({"boxes": {5: BOXES, 17: BOXES}}, "bad.pkl, image 17: expected boxes of four"),
        ({"boxes": [BOXES[:, :3], BOXES]}, "bad.pkl, image 17: expected boxes of four"),
        ({"boxes": ["none", BOXES]}, "bad.pkl, image 17: expected boxes of four"),
    ],
)
def test_bad_content(records, tmp_path, change, problem):
    content = {"boxes": [BOXES] * 2, "scores": [SCORES] * 2, "ids": [17, 5]}
    path = write(tmp_path / "bad.pkl", content | change)
    with pytest.raises(ValueError, match=problem):
        read_proposals(path, records[2:], most=10)


class Malicious:
    def __reduce__(self):
        return print, ("executed",)


def test_bad_files(records, tmp_path, capsys):
    code = write(tmp_path / "code.pkl", {"boxes": Malicious()})
    other = write(tmp_path / "list.pkl", [1, 2])
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "other.npz", boxes=BOXES)
    for path, problem in (
        (code, "which is not executed"),
        (other, "found other content"),
        (tmp_path / "text.npz", "expected proposals saved by a test"),
        (tmp_path / "other.npz", "found no image_ids, counts, scores.; test with"),
        (tmp_path / "gone.npz", "gone.npz: expected proposals saved by a test, cannot"),
        (tmp_path / "gone.pkl", "gone.pkl: expected a file of proposals, cannot read"),
        (tmp_path / "boxes.json", "a file ending in .npz, .pkl, found .json"),
    ):
        with pytest.raises(ValueError, match=problem):
            read_proposals(path, records, most=10)
    assert capsys.readouterr().out == ""
