import json

import pytest
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.records import KeypointNames
from faster_rcnn.weights.checkpoint import DamagedFileError
from faster_rcnn.weights.class_names import COCO_KEYPOINTS
from faster_rcnn.weights.stored_keypoints import store_keypoints, stored_keypoints

NAMES = KeypointNames(("head", "left_foot", "right_foot"), ((1, 2),), ((0, 1), (0, 2)))


def config(count):
    return Config.model_validate({"keypoint": {"enabled": True, "count": count}})


def test_names_survive():
    state = json.loads(json.dumps(store_keypoints(NAMES)))
    assert stored_keypoints(state, config(3)) == NAMES
    assert stored_keypoints(store_keypoints(NAMES), config(3)) == NAMES
    assert stored_keypoints(state, Config()) is None and store_keypoints(None) == {}


def test_files_of_other_programs():
    assert stored_keypoints({}, config(17)) is COCO_KEYPOINTS
    assert stored_keypoints({}, config(2)) == KeypointNames(("1", "2"))


def test_coco_persons():
    names = COCO_KEYPOINTS.names
    assert len(set(names)) == 17 and names[0] == "nose" and names[16] == "right_ankle"
    for left, right in COCO_KEYPOINTS.flip_pairs:
        assert names[left].replace("left", "right") == names[right] != names[left]
    assert len(COCO_KEYPOINTS.flip_pairs) == 8
    limbs = {frozenset((names[a], names[b])) for a, b in COCO_KEYPOINTS.skeleton}
    assert len(limbs) == 19 and {"left_hip", "right_hip"} in limbs
    assert {"left_knee", "left_ankle"} in limbs


@pytest.mark.parametrize(
    "stored",
    [
        ["head"],
        {"names": ["a", "b"], "flip_pairs": [], "skeleton": []},
        {"names": ["a", "b", "c"], "flip_pairs": [], "skeleton": [[0, 3]]},
        {"names": ["a", "b", "c"], "flip_pairs": [[0]], "skeleton": []},
        {"names": ["a", "b", "c"], "flip_pairs": [["x", 1]], "skeleton": []},
        {"names": 3, "flip_pairs": [], "skeleton": []},
    ],
)
def test_damaged_names(stored):
    with pytest.raises(DamagedFileError, match="names"):
        stored_keypoints({"keypoints": stored}, config(3))
