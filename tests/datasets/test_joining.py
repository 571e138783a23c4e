import json
import pickle

import pytest
from dataset_folders import ids, load, write_coco, write_voc
from faster_rcnn.datasets.catalog import dataset_name, resolve
from yolo_folders import YoloFolder


def test_joined_sets(tmp_path):
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", trainval=["a"], test=["c"])
    write_voc(tmp_path / "VOCdevkit" / "VOC2012", trainval=["b"])
    found = load("voc0712", tmp_path)
    assert found.name == "voc_2007_trainval+voc_2012_trainval"
    assert ids(found) == ["a", "b"] and found.annotation_file is None


def test_joined_folders_whose_ids_collide(tmp_path):
    one = write_voc(tmp_path / "one", train=["a"], test=["b"])
    two = write_voc(tmp_path / "two", train=["a"], test=["c"])
    assert ids(load(f"{one}+{two}", tmp_path)) == ["one_train/a", "two_train/a"]
    assert ids(load(f"{one}+{two}", tmp_path, "test")) == ["b", "c"]


def test_join_adds_drops(tmp_path):
    folders = [write_voc(tmp_path / n, train=[n, n], test=["t"]) for n in ("p", "q")]
    found = load("+".join(map(str, folders)), tmp_path)
    assert found.drops == {"repeated line in a list": 2}


def test_join_refuses_other_classes_and_common_images(tmp_path):
    cats = write_voc(tmp_path / "cats", train=["a"], test=["b"])
    dogs = write_voc(tmp_path / "dogs", "dog", train=["c"], test=["d"])
    with pytest.raises(ValueError, match=r"cats_train\+dogs_train.*cat and voc .* dog"):
        load(f"{cats}+{dogs}", tmp_path)
    with pytest.raises(ValueError, match=r"a\.jpg twice"):
        load(f"{cats}+{cats}", tmp_path)


def test_words_and_paths_join(tmp_path):
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", trainval=["a"], test=["b"])
    own = write_voc(tmp_path / "Own", train=["c"], test=["d"])
    both = f"voc+{own}"
    assert resolve(both) == (
        *("voc+own", f"voc_2007_trainval+{own}", f"voc_2007_test+{own}"),
    )
    assert resolve("voc+voc0712")[2] == "voc_2007_test"
    assert dataset_name(both) == "voc+own"
    with pytest.raises(
        ValueError, match=r"or name the classes to use in data\.classes"
    ):
        load(both, tmp_path)
    assert ids(load(both, tmp_path, classes=["cat"])) == ["a", "c"]
    assert ids(load(both, tmp_path, "test", classes=["cat"])) == ["b", "d"]
    with pytest.raises(ValueError, match=r"unknown data set 'vco' .did you mean 'voc'"):
        resolve(f"vco+{own}")


def test_yolo_and_voc_folders_join(tmp_path):
    yolo = YoloFolder(tmp_path / "one")
    voc = write_voc(tmp_path / "two", "dog", "cat", train=["x"], test=["y"])
    found = load(f"{yolo.root}+{voc}", tmp_path)
    assert ids(found) == ["a", "x"] and found.name == "one_train+two_train"


def test_difficult_objects_count_in_diff_sets(tmp_path):
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    write_voc(folder, difficult=True, trainval=["a"], test=["b"])
    for split in ("trainval", "test"):
        plain = load(f"voc_2007_{split}", tmp_path)
        diff = load(f"voc_2007_{split}_diff", tmp_path)
        assert diff.name == f"voc_2007_{split}_diff"
        (one,), (other,) = plain.records, diff.records
        assert one.difficult.tolist() == [True] and other.difficult.tolist() == [False]
        assert one.boxes.tolist() == other.boxes.tolist()
    with pytest.raises(ValueError, match=r"found a\.jpg|a\.jpg twice"):
        load("voc_2007_trainval+voc_2007_trainval_diff", tmp_path)


def test_classes_select_and_order(tmp_path, caplog):
    own = write_voc(tmp_path / "own", "cat", "dog", "eel", train=["a", "b"], test=["c"])
    found = load(own, tmp_path, classes=["eel", "cat"])
    assert found.classes == ("__background__", "eel", "cat")
    assert found.category_ids == (0, 1, 2)
    assert [r.classes.tolist() for r in found.records] == [[2, 1], [2, 1]]
    assert found.drops == {"object of a class not in data.classes": 2}
    assert "2 x object of a class not in data.classes, first: dog in" in caplog.text
    every = load(own, tmp_path, classes=["cat", "dog", "eel"])
    assert every.drops == {} and every.classes == load(own, tmp_path).classes
    assert len(pickle.loads(pickle.dumps(found.records))[1].boxes) == 2


def test_images_without_an_object_of_the_classes_stay(tmp_path):
    write_voc(tmp_path / "one", "cat", train=["a"], test=["t"])
    write_voc(tmp_path / "two", "dog", "eel", train=["b"], test=["u"])
    found = load(f"{tmp_path}/one+{tmp_path}/two", tmp_path, classes=["eel", "cat"])
    assert [r.classes.tolist() for r in found.records] == [[2], [1]]
    found = load(f"{tmp_path}/one+{tmp_path}/two", tmp_path, classes=["dog"])
    record = found.records[0]
    assert record.boxes.shape == (0, 4) and record.areas.shape == (0,)


def test_classes_of_coco_keep_their_ids(tmp_path):
    folder = write_coco(tmp_path / "own", train=1, val=1)
    file = folder / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["categories"] = [{"id": 9, "name": "cat"}, {"id": 4, "name": "dog"}]
    content["annotations"] = [
        {"id": 5, "image_id": 0, "category_id": c, "bbox": [1, 1, 9, 9]} for c in (9, 4)
    ]
    file.write_text(json.dumps(content))
    found = load(folder, tmp_path, classes=["cat"])
    assert found.classes[1:] == ("cat",) and found.category_ids == (0, 9)
    assert found.records[0].classes.tolist() == [1]
    assert load(folder, tmp_path, classes=["cat", "dog"]).category_ids == (0, 9, 4)


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        (["cta"], r"own_train: unknown class 'cta' .did you mean 'cat'.*cat, dog"),
        (["cat", "dog", "cat"], "found 'cat' twice"),
        (["__background__"], "unknown class '__background__'"),
    ],
)
def test_wrong_classes(tmp_path, classes, problem):
    own = write_voc(tmp_path / "own", "cat", "dog", train=["a"], test=["c"])
    with pytest.raises(ValueError, match=problem):
        load(own, tmp_path, classes=classes)
