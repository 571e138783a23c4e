import numpy as np
import pytest
from faster_rcnn.evaluation.voc_ap import voc_average_precision
from faster_rcnn.evaluation.voc_files import load_voc_files, save_voc_files

BOX = [10, 10, 20, 25]


@pytest.fixture
def pair(record, dataset):
    return dataset([record("000001", [BOX], [1]), record("a b")])


@pytest.fixture
def written(pair, found, tmp_path):
    detections = [
        found("000001", [BOX, [0, 0, 500, 400]], [0.9, 0.125], [1, 2]),
        found("a b", [[1.5, 2.25, 3, 4]], [0.5], [2]),
    ]
    return detections, save_voc_files(tmp_path, detections, pair)


def test_lines_by_hand(written, tmp_path):
    """Pixel edges 10..20 are the pixels 11..20, counted from 1."""
    assert [path.name for path in written[1]] == [
        "comp4_det_test_cat.txt",
        "comp4_det_test_dog.txt",
    ]
    cat, dog = (path.read_text() for path in written[1])
    score = f"{np.float32(0.9):.9g}"
    assert cat == f"000001 {score} 11.000 11.000 20.000 25.000\n"
    assert dog.splitlines() == [
        "000001 0.125 1.000 1.000 500.000 400.000",
        "a b 0.5 2.500 3.250 3.000 4.000",
    ]


def test_read_back(written, pair, tmp_path):
    for before, after in zip(written[0], load_voc_files(tmp_path, pair), strict=True):
        assert before.image_id == after.image_id
        np.testing.assert_array_equal(before.boxes, after.boxes)
        np.testing.assert_array_equal(before.scores, after.scores)
        np.testing.assert_array_equal(before.classes, after.classes)


def test_ap_survives_the_files(random_scene, tmp_path):
    dataset, detections = random_scene
    save_voc_files(tmp_path, detections, dataset)
    again = load_voc_files(tmp_path, dataset)
    for metric in ("07", "all"):
        before = voc_average_precision(dataset, detections, metric=metric)
        after = voc_average_precision(dataset, again, metric=metric)
        assert after.mean_ap == pytest.approx(before.mean_ap, abs=1e-12)


def test_competition_and_list_in_the_names(record, dataset, found, tmp_path):
    data = dataset([record("1")], name="voc_2012_val")
    paths = save_voc_files(tmp_path, [found("1")], data, comp="comp3")
    assert paths[0].name == "comp3_det_val_cat.txt" and paths[0].read_text() == ""
    assert len(load_voc_files(tmp_path, data)[0].scores) == 0
    save_voc_files(tmp_path, [found("1")], data, comp="comp4")
    with pytest.raises(ValueError, match=r"of one competition .*comp3_det_val, comp4"):
        load_voc_files(tmp_path, data)
    assert load_voc_files(tmp_path, data, comp="comp3")[0].image_id == "1"


def test_names_that_end_alike_and_that_are_no_file_names(
    record, dataset, found, tmp_path
):
    names = ("__background__", "cat", "big_cat", "a/b")
    data = dataset([record("1")], classes=names)
    detections = [found("1", [BOX] * 3, [0.9, 0.8, 0.7], [1, 2, 3])]
    save_voc_files(tmp_path, detections, data)
    assert (tmp_path / "comp4_det_test_a-b.txt").is_file()
    assert load_voc_files(tmp_path, data)[0].classes.tolist() == [1, 2, 3]
    data = dataset([record("1")], classes=("__background__", "a/b", "a-b"))
    with pytest.raises(ValueError, match=r"several for the file comp4_det_test_a-b"):
        save_voc_files(tmp_path, [found("1")], data)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("000002 0.5 1 1 9 9", "of unknown images"),
        ("000001 nan 1 1 9 9", "score or box is not finite"),
        ("000001 0.5 1 1 inf 9", "score or box is not finite"),
        ("000001 high 1 1 9 9", "score or box is no number"),
        ("000001 0.5 1 1 9", "without six words"),
        ("000001 0.5 9 1 1 9", "x2 < x1"),
    ],
)
def test_unusable_lines_are_counted_with_an_example(written, pair, line, fault):
    folder, path = written[1][0].parent, written[1][0]
    good = path.read_text()
    path.write_text(f"{good}\n{line}\n{line}\n")
    with pytest.raises(ValueError, match=rf"2 lines.*{fault}.*first .*cat\.txt:3: "):
        load_voc_files(folder, pair)


def test_missing_and_unknown_files(written, pair, tmp_path):
    written[1][1].rename(tmp_path / "comp4_det_test_cow.txt")
    with pytest.raises(ValueError, match=r"1 of 2 files .* first comp4_det_test_cow"):
        load_voc_files(tmp_path, pair)
    (tmp_path / "comp4_det_test_cow.txt").unlink()
    with pytest.raises(ValueError, match="1 of 2 classes have no file, first 'dog'"):
        load_voc_files(tmp_path, pair)
    written[1][0].unlink()
    with pytest.raises(ValueError, match="image list, found none"):
        load_voc_files(tmp_path, pair)
    written[1][0].write_bytes(b"\xff\xfe")
    written[1][1].write_text("")
    with pytest.raises(ValueError, match=r"cat\.txt: expected text"):
        load_voc_files(tmp_path, pair)


def test_detections_must_fit(pair, found, tmp_path):
    with pytest.raises(ValueError, match="no entry of detections"):
        save_voc_files(tmp_path, [found("a b")], pair)
    assert list(tmp_path.iterdir()) == []
