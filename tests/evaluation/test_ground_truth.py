import json

import pytest
from faster_rcnn.evaluation.ground_truth import read_annotations

GOOD = {
    "images": [
        {"id": 7, "width": 60, "height": 50},
        {"id": 8, "width": 9, "height": 9},
    ],
    "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 5, "bbox": [1, 2, 10, 20], "area": 90},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5], "iscrowd": 1},
    ],
}


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        path = tmp_path / "instances_mine.json"
        path.write_text(json.dumps(GOOD | changes))
        return path

    return write


def test_columns_by_hand(write):
    dataset = read_annotations(write())
    assert (dataset.name, dataset.layout) == ("mine", "coco")
    assert dataset.classes == ("__background__", "cat", "dog")
    assert dataset.category_ids == (0, 2, 5)
    first, second = dataset.records
    assert (first.image_id, first.width, len(second.boxes)) == ("7", 60, 0)
    assert first.boxes.tolist() == [[1, 2, 11, 22], [0, 0, 5, 5]]
    assert first.classes.tolist() == [2, 1]
    assert first.areas.tolist() == [90, 25] and first.crowd.tolist() == [False, True]


def test_numbers_and_flags_as_text(write):
    rows = [
        {key: str(value) for key, value in row.items() if key != "bbox"}
        | {"bbox": [str(number) for number in row["bbox"]]}
        for row in GOOD["annotations"]
    ]
    images = [image | {"id": str(image["id"])} for image in GOOD["images"]]
    found = read_annotations(write(annotations=rows, images=images))
    for ours, theirs in zip(
        found.records, read_annotations(write()).records, strict=True
    ):
        assert ours.image_id == theirs.image_id
        assert ours.boxes.tolist() == theirs.boxes.tolist()
        assert ours.classes.tolist() == theirs.classes.tolist()
        assert ours.crowd.tolist() == theirs.crowd.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [GOOD["annotations"][0] | {"image_id": 9}]}, "1 of 1 annot"),
        ({"annotations": [GOOD["annotations"][0] | {"category_id": 9}]}, "1 of 1 ann"),
        ({"annotations": [GOOD["annotations"][0] | {"bbox": [1, 2, 3]}]}, "1 of 1 an"),
        ({"annotations": [{"image_id": 7}]}, "KeyError: 'category_id'"),
        ({"images": [{"id": 7}]}, "expected COCO images, categories"),
        ({"categories": 3}, "expected COCO images, categories"),
    ],
)
def test_malformed(write, changes, message):
    with pytest.raises(ValueError, match=rf"instances_mine\.json: .*{message}"):
        read_annotations(write(**changes))


def test_missing(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.json: expected COCO annotations"):
        read_annotations(tmp_path / "gone.json")
