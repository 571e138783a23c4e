import pytest
from faster_rcnn.datasets.records import KeypointNames, Wanted
from helpers.yolo_folders import YoloFolder

ALL = Wanted(masks=True, keypoints=True)
POSE = "names: [cat, dog]\ntrain: images/train\nval: images/val\n"


@pytest.fixture
def folder(tmp_path):
    return YoloFolder(tmp_path / "own")


def test_polygons_and_boxes_together(folder):
    folder.labels("train/a", "0 0.5 0.5 0.25 0.5\n1 0.25 0.5 0.5 0.1 0.75 0.5\n")
    found = folder.read(wanted=ALL)
    (record,) = found.records
    assert found.has_masks and found.keypoints is None
    assert found.drops == {"object without a mask": 1}
    nothing, (part,) = record.masks
    assert nothing == () and part.tolist() == [[10, 10], [20, 2], [30, 10]]
    assert record.boxes.tolist() == [[15, 5, 25, 15], [10, 2, 30, 10]]
    assert not folder.read().has_masks and folder.read().drops == {}
    assert not folder.read("val", wanted=ALL).has_masks  # boxes alone


def test_keypoints(folder):
    folder.settings(POSE + "kpt_shape: [3, 3]\nflip_idx: [0, 2, 1]\n")
    row = "0 0.5 0.5 0.25 0.5  0.5 0.25 2  0.125 0.5 1  0.9 0.9 0"
    folder.labels("train/a", f"{row}\n1 0.5 0.5 0.25 0.5\n")
    found = folder.read(wanted=ALL)
    names = ("keypoint 1", "keypoint 2", "keypoint 3")
    assert found.keypoints == KeypointNames(names, ((1, 2),))
    assert found.records[0].keypoints.tolist() == [
        [[20, 5, 2], [5, 10, 1], [0, 0, 0]],
        [[0, 0, 0]] * 3,
    ]
    # A run on boxes reads the boxes of the same rows.
    assert folder.read().records[0].boxes.tolist() == [[15, 5, 25, 15]] * 2
    assert folder.read().keypoints is None


def test_keypoints_without_visibility(folder):
    names = "kpt_names: {0: [l_ear, r_ear, tail]}\n"
    folder.settings(POSE + "kpt_shape: [3, 2]\n" + names)
    folder.labels("train/a", "0 0.5 0.5 0.25 0.5  0.5 0.25  0 0  -0.1 0.5\n")
    found = folder.read(wanted=ALL)
    assert found.keypoints == KeypointNames(("l_ear", "r_ear", "tail"), ((0, 1),))
    assert found.records[0].keypoints.tolist() == [[[20, 5, 2], [0] * 3, [0] * 3]]


def test_wrong_number_of_keypoints(folder):
    folder.settings(POSE + "kpt_shape: [2, 3]\n")
    folder.labels("train/a", "0 0.5 0.5 0.25 0.5 0.5 0.25 2 0.5 0.5\n")
    folder.refuses(r"a.txt: line 1: .* 6 numbers of keypoints")


def test_faults_are_counted(folder, caplog):
    folder.labels("train/a", "0 nan 0.5 0.5 0.1 0.75 0.5\n1 0.2 0.5 0.5 0.1 0.7 0.5\n")
    drops = folder.read(wanted=ALL).drops
    assert drops["polygon with a NaN or infinite coordinate"] == 1
    assert f"first: line 1 of {folder.root / 'labels/train/a.txt'}" in caplog.text
    folder.settings(POSE + "kpt_shape: [1, 3]\n")
    folder.labels("train/a", "0 0.5 0.5 0.25 0.5 nan 0.5 2\n")
    assert folder.read(wanted=ALL).drops == {"keypoint with a NaN or infinite value": 1}
