import json
import zipfile

import numpy as np
import pytest
from faster_rcnn.evaluation.image_detections import flatten
from faster_rcnn.evaluation.results import (
    load_detections,
    save_coco_upload,
    save_detections,
)


@pytest.fixture
def pair(record, dataset):
    return dataset([record("a"), record("b")])


def same(first, second):
    return first.image_id == second.image_id and all(
        np.array_equal(getattr(first, k), getattr(second, k))
        and getattr(first, k).dtype == getattr(second, k).dtype
        for k in ("boxes", "scores", "classes")
    )


def test_flatten_joins_in_the_order_of_the_records(pair, found):
    flat = flatten(
        pair,
        [
            found("b", [[1, 2, 3, 4]], [0.5], [2]),
            found("a", [[0, 0, 9, 9], [5, 5, 6, 6]], [0.9, 0.1]),
        ],
    )
    assert flat.images.tolist() == [0, 0, 1]
    assert flat.boxes.tolist() == [[0, 0, 9, 9], [5, 5, 6, 6], [1, 2, 3, 4]]
    assert flat.scores.tolist() == pytest.approx([0.9, 0.1, 0.5])
    assert flat.classes.tolist() == [1, 1, 2]


def test_flatten_of_nothing_keeps_shapes_and_types(pair, dataset, found):
    for data, detections in ((pair, [found("a"), found("b")]), (dataset([]), [])):
        flat = flatten(data, detections)
        assert flat.boxes.shape == (0, 4)
        types = [np.int64, np.float32, np.float32, np.int64]
        assert [a.dtype for a in flat[:4]] == types and flat[4:] == (None, None)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("a", "1 images have no entry of detections for pets_test .*first 'b'"),
        ("", "2 images have no entry"),
        ("abc", "1 images have detections but are not in pets_test .*first 'c'"),
        ("aab", "1 images have more than one entry .*first 'a'"),
    ],
)
def test_images_must_be_those_of_the_data_set(pair, found, ids, message):
    with pytest.raises(ValueError, match=message):
        flatten(pair, [found(i) for i in ids])


def test_an_image_listed_twice_in_the_data_set(record, dataset, found):
    with pytest.raises(ValueError, match=r"listed more than once in .*first 'a'"):
        flatten(dataset([record("a"), record("a")]), [found("a")])


@pytest.mark.parametrize(
    ("box", "score", "label", "message"),
    [
        ([0, 0, 5, 5], np.nan, 1, "1 of 2 detections have a score that is not finite"),
        ([0, np.inf, 5, 5], 0.5, 1, "a box that is not finite"),
        ([9, 0, 5, 5], 0.5, 1, "x2 < x1 or y2 < y1, first in image 'b'"),
        ([0, 0, 5, 5], 0.5, 0, r"a class outside 1\.\.2"),
        ([0, 0, 5, 5], 0.5, 3, r"a class outside 1\.\.2"),
    ],
)
def test_values_must_be_sane(pair, found, box, score, label, message):
    good = found("a", [[0, 0, 5, 5]], [0.5])
    with pytest.raises(ValueError, match=message):
        flatten(pair, [good, found("b", [box], [score], [label])])


def test_a_degenerate_box_inverted_by_rounding_is_taken(pair, found, tmp_path):
    detections = [found("a", [[5.00001, 0, 5, 5]], [0.5]), found("b")]
    save_detections(tmp_path / "d.json", detections, pair)
    assert load_detections(tmp_path / "d.json", pair)[0].boxes[0, 3] == 5


def test_arrays_must_have_one_length(pair, found):
    with pytest.raises(ValueError, match=r"image b: expected boxes \(D, 4\)"):
        flatten(pair, [found("a"), found("b", [[0, 0, 1, 1]], [0.5, 0.4])])


def test_the_file_is_a_coco_result_list_with_names(pair, found, tmp_path):
    path = tmp_path / "test" / "detections.json"
    save_detections(path, [found("b"), found("a", [[1, 2, 4, 8]], [0.25], [2])], pair)
    assert json.loads(path.read_text()) == [
        {
            "image_id": "a",
            "category_id": 2,
            "category": "dog",
            "bbox": [1, 2, 3, 6],
            "score": 0.25,
        }
    ]


def test_coco_layout_has_integer_image_ids_and_category_ids(
    record, dataset, found, tmp_path
):
    data = dataset([record("139")], layout="coco", category_ids=(0, 17, 18))
    detections = [found("139", [[1, 2, 4, 8]], [0.25], [2])]
    save_detections(tmp_path / "d.json", detections, data)
    (row,) = json.loads((tmp_path / "d.json").read_text())
    assert (row["image_id"], row["category_id"]) == (139, 18)
    assert same(load_detections(tmp_path / "d.json", data)[0], detections[0])


def test_saved_detections_come_back_to_the_bit(pair, found, tmp_path):
    rng = np.random.default_rng(3)
    low = rng.random((500, 2)).astype(np.float32) * 499
    boxes = np.concatenate([low, low + rng.random((500, 2)) * (500 - low)], axis=1)
    scores = np.sort(rng.random(500).astype(np.float32) ** 9)[::-1]
    detections = [found("a", boxes, scores, rng.integers(1, 3, 500)), found("b")]
    save_detections(tmp_path / "d.json", detections, pair)
    loaded = load_detections(tmp_path / "d.json", pair)
    assert all(map(same, loaded, detections))


def test_no_detections_come_back_as_empty_entries(pair, dataset, found, tmp_path):
    for data, detections in ((pair, [found("a"), found("b")]), (dataset([]), [])):
        save_detections(tmp_path / "d.json", detections, data)
        loaded = load_detections(tmp_path / "d.json", data)
        assert len(loaded) == len(detections)
        assert all(map(same, loaded, detections))


def test_loading_sorts_each_image_best_first(pair, tmp_path):
    rows = [
        {"image_id": i, "category_id": 1, "bbox": [n, 0, 1, 1], "score": s}
        for n, (i, s) in enumerate([("b", 0.1), ("a", 0.2), ("b", 0.9), ("b", 0.1)])
    ]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    first, second = load_detections(tmp_path / "d.json", pair)
    assert first.boxes[:, 0].tolist() == [1]
    assert second.boxes[:, 0].tolist() == [2, 0, 3]


GOOD = {"image_id": "a", "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": "z"}, "unknown images"),
        ({"image_id": 7}, "unknown images"),
        ({"image_id": ["a"]}, "unknown images"),
        ({"category_id": 3}, "unknown categories"),
        ({"category_id": 0}, "unknown categories"),
        ({"category_id": {}}, "unknown categories"),
        ({"category": "dog"}, "category has another name here"),
        ({"score": float("nan")}, "score is not a finite number"),
        ({"score": "high"}, "score is not a finite number"),
        ({"bbox": [0, 0, 1]}, "bbox is not four finite numbers"),
        ({"bbox": [0, 0, 1, float("inf")]}, "bbox is not four finite numbers"),
        ({"bbox": [9, 9, -1, 1]}, "negative width or height"),
        ({"bbox": None}, "bbox is not four finite numbers"),
    ],
)
def test_unusable_rows_are_counted_with_an_example(pair, tmp_path, change, message):
    path = tmp_path / "d.json"
    path.write_text(json.dumps([GOOD, GOOD | change, GOOD | change]))
    with pytest.raises(
        ValueError, match=rf"d\.json: 2 rows .*{message} \(first is row 1"
    ):
        load_detections(path, pair)


@pytest.mark.parametrize("row", [{"image_id": "a"}, None, 3, []])
def test_rows_without_the_keys(pair, tmp_path, row):
    (tmp_path / "d.json").write_text(json.dumps([row]))
    with pytest.raises(
        ValueError, match=r"1 rows without all of image_id, .* of 1 rows"
    ):
        load_detections(tmp_path / "d.json", pair)


def test_several_problems_are_all_named(pair, tmp_path):
    rows = [GOOD | {"image_id": "z"}, GOOD | {"score": None}, GOOD | {"image_id": "y"}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=r"2 rows of unknown.*; 1 rows whose score"):
        load_detections(tmp_path / "d.json", pair)


@pytest.mark.parametrize("text", ["not json", "", '{"mAP_07": 0.5}'])
def test_files_that_are_no_list(pair, tmp_path, text):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"d\.json: expected a JSON list of detections"
    ):
        load_detections(tmp_path / "d.json", pair)


def test_a_missing_file(pair, tmp_path):
    with pytest.raises(ValueError, match=r"d\.json: .*; test the checkpoint again"):
        load_detections(tmp_path / "d.json", pair)


def test_an_id_that_another_row_has(pair, tmp_path):
    ids = [{"id": 4}, {"id": "4"}, {}, {}, {"id": 4}, {"id": 4}]
    (tmp_path / "d.json").write_text(json.dumps([GOOD | row for row in ids]))
    with pytest.raises(ValueError, match=r"2 rows whose id another row has .*row 4"):
        load_detections(tmp_path / "d.json", pair)


@pytest.fixture
def coco_pair(record, dataset):
    return dataset(
        [record("7"), record("9")],
        layout="coco",
        category_ids=(0, 17, 18),
        name="coco_2017_test-dev",
    )


def test_upload_by_hand(coco_pair, found, tmp_path):
    detections = [found("7", [[1, 2, 4, 8.5]], [0.5], [2]), found("9")]
    path = save_coco_upload(tmp_path, detections, coco_pair, algorithm="mine-1")
    name = "detections_test-dev2017_mine-1_results"
    assert path == tmp_path / f"{name}.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{name}.json"]
        content = archive.read(f"{name}.json")
    assert content == (tmp_path / f"{name}.json").read_bytes()
    assert json.loads(content) == [
        {"image_id": 7, "category_id": 18, "bbox": [1, 2, 3, 6.5], "score": 0.5}
    ]
    assert same(load_detections(tmp_path / f"{name}.json", coco_pair)[0], detections[0])


def test_uploads_that_the_server_would_refuse(pair, coco_pair, found, tmp_path):
    with pytest.raises(ValueError, match="expected COCO layout"):
        save_coco_upload(tmp_path, [found("a"), found("b")], pair, algorithm="x")
    for name in ("", "my_net", "../x"):
        with pytest.raises(ValueError, match="expected the algorithm's name"):
            save_coco_upload(
                tmp_path, [found("7"), found("9")], coco_pair, algorithm=name
            )
    assert list(tmp_path.iterdir()) == []
